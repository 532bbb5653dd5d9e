"""The SQL that keeps the gaps in the heartbeats of workers, beats and the broker."""

from __future__ import annotations

# Notes that a process of a kind is at work now. The open gap of the kind begins here, or
# ends here if it has become long or PostgreSQL was started in it, and the next one is
# opened. If another process has just ended it, there is nothing to do: the constraint
# lets one open gap in.
NOTE_WORK = """
    WITH open AS MATERIALIZED (
        SELECT id, began_at, clock_timestamp() AS at FROM tasks_api_heartbeatgap
        WHERE kind = %(kind)s::text AND ended_at IS NULL
        FOR UPDATE
    ), long AS MATERIALIZED (
        SELECT id, at FROM open
        WHERE at - began_at > make_interval(secs => %(shortest)s::float)
            OR pg_postmaster_start_time() > began_at
    ), moved AS (
        UPDATE tasks_api_heartbeatgap gap SET began_at = greatest(gap.began_at, open.at)
        FROM open WHERE gap.id = open.id AND gap.id NOT IN (SELECT id FROM long)
    ), ended AS (
        UPDATE tasks_api_heartbeatgap gap SET ended_at = long.at,
            is_survived = %(is_survived)s::bool,
            is_restart = pg_postmaster_start_time() > gap.began_at
        FROM long WHERE gap.id = long.id
        RETURNING gap.id
    )
    INSERT INTO tasks_api_heartbeatgap (kind, began_at)
    SELECT %(kind)s::text, clock_timestamp()
    WHERE NOT EXISTS (SELECT FROM open) OR EXISTS (SELECT FROM ended)
    ON CONFLICT DO NOTHING
"""

# Opens the gap of a kind, unless it is open.
OPEN_GAP = """
    INSERT INTO tasks_api_heartbeatgap (kind, began_at)
    VALUES (%(kind)s::text, clock_timestamp()) ON CONFLICT DO NOTHING
"""

# Ends the open gap of a kind, if there is one.
END_GAP = """
    UPDATE tasks_api_heartbeatgap SET ended_at = clock_timestamp(), is_survived = true
    WHERE kind = %(kind)s::text AND ended_at IS NULL
"""
