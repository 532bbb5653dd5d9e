"""Django's backend for PostgreSQL, on sessions that this service can work in.

Only what Django asks a backend for lives here.
"""
