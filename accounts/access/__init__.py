"""Authentication and permissions: tokens, logins, scopes and roles.

Nothing is changed here but the audit log and the counts of wrong credentials.
"""
