"""The SQL that stores runs, and lets waiting runs move up."""

from __future__ import annotations

# Store the runs that no constraint forbids.
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

# Let waiting runs of tasks move up if the exclusive run has ended.
START_WAITING_RUNS = """
    UPDATE tasks_api_run run SET exclusive = true, is_next = false, reason = '',
        wake_at = now()
    WHERE run.task_id = ANY(%s::uuid[]) AND run.is_next
        AND run.finished_at IS NULL AND NOT EXISTS (
            SELECT FROM tasks_api_run earlier
            WHERE earlier.task_id = run.task_id AND earlier.exclusive
                AND earlier.finished_at IS NULL)
    RETURNING run.id
"""

# Lock tasks, in the order that every statement uses.
LOCK_TASKS = """
    SELECT FROM tasks_api_task WHERE id = ANY(%s::uuid[])
    ORDER BY id FOR NO KEY UPDATE
"""
