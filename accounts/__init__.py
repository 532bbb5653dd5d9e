"""Tenants, their users, tokens, secrets and roles, how they log in, and the audit log.

It knows nothing about tasks, and imports nothing of `tasks_api`.
"""
