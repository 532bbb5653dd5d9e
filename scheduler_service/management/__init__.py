"""What commands of the project share; the commands that start, stop and prepare its processes.

Commands about tenants and tasks live in their apps.
"""
