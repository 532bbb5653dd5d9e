"""Commands that start, stop and prepare the processes of the project.

Commands about tenants and tasks live in their apps.
"""
