"""The SQL that identifies the server, and finds its oldest transaction."""

from __future__ import annotations

# Tells whether the server takes writes, and its place in the history of promotions.
LOAD_SERVER_STATE = """
    SELECT pg_backend_pid() AS backend_pid, pg_is_in_recovery() AS is_standby,
        current_setting('transaction_read_only') = 'on' AS is_read_only,
        (SELECT system_identifier FROM pg_control_system()) AS system,
        CASE WHEN NOT pg_is_in_recovery() THEN
            ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
        END AS timeline
"""

# The same without what only PostgreSQL itself knows, and no compatible server.
LOAD_BASIC_STATE = """
    SELECT pg_backend_pid() AS backend_pid, pg_is_in_recovery() AS is_standby,
        current_setting('transaction_read_only') = 'on' AS is_read_only,
        NULL AS system, NULL AS timeline
"""

# Whether the database can say of which cell it is, and what it says; empty: nothing.
HAS_CELL = "SELECT to_regclass('accounts_owncell') IS NOT NULL AS is_there"
LOAD_CELL = "SELECT coalesce((SELECT name FROM accounts_owncell), '') AS name"

# Identifies the database among all databases of all servers.
LOAD_DATABASE_IDENTITY = """
    SELECT (SELECT system_identifier FROM pg_control_system()), oid
    FROM pg_database WHERE datname = current_database()
"""

# Finds the transaction that has been open for the longest time, except for our own.
FIND_OLDEST_TRANSACTION = """
    SELECT pid, coalesce(nullif(application_name, ''), 'a client') AS client,
        extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND xact_start IS NOT NULL
    ORDER BY xact_start LIMIT 1
"""
