"""Tokens, users, secrets and the audit log of a tenant, over HTTP.

Its rules live in `accounts`.
"""
