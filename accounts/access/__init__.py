"""Who is calling, and what they may do: tokens of requests, logins, scopes and roles.

Nothing is changed here but the audit log and the counts of wrong credentials.
"""
