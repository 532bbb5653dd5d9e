"""The SQL that stores runs, and lets those begin that waited for others."""

from __future__ import annotations

# Store runs as far as no constraint forbids them.
INSERT_RUNS = """
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state,
        reason, wake_at, finished_at, exclusive, is_next, covers_until,
        attempt_count, lost_count)
    SELECT *, 0, 0 FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[],
        %s::timestamptz[], %s::text[], %s::text[], %s::timestamptz[],
        %s::timestamptz[], %s::bool[], %s::bool[], %s::timestamptz[])
    ON CONFLICT DO NOTHING
    RETURNING id
"""

# Let the next runs of tasks begin whose exclusive run is over.
START_WAITING_RUNS = """
    UPDATE tasks_api_run run SET exclusive = true, is_next = false, reason = '',
        wake_at = now() + make_interval(secs => %s)
    WHERE run.task_id = ANY(%s::uuid[]) AND run.is_next
        AND run.finished_at IS NULL AND NOT EXISTS (
            SELECT FROM tasks_api_run earlier
            WHERE earlier.task_id = run.task_id AND earlier.exclusive
                AND earlier.finished_at IS NULL)
    RETURNING run.id
"""

# Lock tasks, in one order everywhere.
LOCK_TASKS = """
    SELECT FROM tasks_api_task WHERE id = ANY(%s::uuid[])
    ORDER BY id FOR NO KEY UPDATE
"""

# Let runs be rung for again after a short while.
SCHEDULE_RING = """
    UPDATE tasks_api_run SET wake_at = now() + make_interval(secs => %s)
    WHERE id = ANY(%s::uuid[]) AND state = 'pending'
"""
