"""Commands about tenants, users, tokens and secrets, and their shared code.

Commands about tasks live in `tasks_api`.
"""
