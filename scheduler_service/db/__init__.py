"""The connection to PostgreSQL: sessions, statements, timeouts, locks and its clock.

Nothing here knows a table of ours, an app, or what is done with the rows.
"""
