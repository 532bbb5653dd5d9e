"""Commands about tenants, users, tokens and secrets, and what these commands share.

Commands about tasks live in `tasks_api`.
"""
