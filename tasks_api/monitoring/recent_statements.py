"""The SQL of what a cell did lately, for those who watch several."""

from __future__ import annotations

# So many runs at most are read, the newest ones.
MAX_RUNS = 5000
# Runs of the last minute for each second, their p99 of lateness in seconds, and about how
# many tasks are stored. The ids of runs begin with their fire times.
LOAD_RECENT = f"""
    WITH recent AS (
        SELECT scheduled_for,
            extract(epoch FROM first_started_at - scheduled_for)::float AS late
        FROM tasks_api_run
        WHERE id >= %(first)s::uuid AND id < %(last)s::uuid
            AND first_started_at IS NOT NULL AND NOT by_hand
        ORDER BY id DESC LIMIT {MAX_RUNS}
    )
    SELECT
        count(*) / greatest(1, CASE WHEN count(*) < {MAX_RUNS} THEN 60 ELSE
            extract(epoch FROM now() - min(scheduled_for)) END)::float,
        coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY greatest(late, 0)), 0),
        (SELECT greatest(reltuples, 0)::bigint FROM pg_class
         WHERE oid = 'tasks_api_task'::regclass)
    FROM recent
"""
