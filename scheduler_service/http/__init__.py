"""The layer around Django that reads request bodies and adds security headers.

Nothing here knows a URL, a tenant or a format.
"""
