"""Django's PostgreSQL, on sessions that this service can work in."""
