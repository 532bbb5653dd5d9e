"""The statements of a worker: record results, and end long work.

A statement calls the run `run` and its task `task`.
"""

from __future__ import annotations

from tasks_api.storage import count_statements, sending_rules
from tasks_api.taking.statements import claimed_run

# Ends one-off tasks with their runs, in statements that judge runs as `judged`: id,
# task_id, scheduled_for, is_final.
_END_ONE_OFFS = f"""
    ended AS (
        UPDATE tasks_api_task task SET
            ended_at = now(), end_reason = 'completed', next_fire_at = NULL
        FROM judged, django_celery_beat_periodictask periodic
        WHERE task.id = judged.task_id AND judged.is_final
            AND task.last_fire_at = judged.scheduled_for AND task.ended_at IS NULL
            AND periodic.id = task.periodic_task_id AND periodic.one_off
        RETURNING task.periodic_task_id, {count_statements.ENDED_COLUMNS}
    ), {count_statements.COUNT_OUT_ENDED}, disabled AS (
        UPDATE django_celery_beat_periodictask periodic SET
            enabled = false, last_run_at = now(), total_run_count = total_run_count + 1
        FROM ended WHERE periodic.id = ended.periodic_task_id
    )
"""

# Writes verdicts and attempts, and returns the runs that were still under their leases.
# An attempt is written in any case, because it was made.
RECORD_RESULTS = f"""
    WITH verdict AS (
        SELECT *, state IN ('succeeded', 'failed') AS is_final
        FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::float[],
            %s::bool[], %s::int[], %s::timestamptz[], %s::int[], %s::smallint[], %s::text[],
            %s::text[])
            AS v(run_id, lease, state, reason, delay, is_lost, number, started_at,
                duration_ms, status_code, error, answer)
    ), judged AS (
        UPDATE tasks_api_run run SET
            state = verdict.state, reason = verdict.reason, lease = NULL,
            wake_at = CASE WHEN NOT verdict.is_final
                THEN now() + make_interval(secs => verdict.delay) END,
            finished_at = CASE WHEN verdict.is_final THEN now() END,
            attempt_count = run.attempt_count
                - (verdict.state = 'pending' AND NOT verdict.is_lost)::int,
            lost_count = run.lost_count + verdict.is_lost::int
        FROM verdict
        WHERE run.id = verdict.run_id AND run.lease = verdict.lease
        RETURNING run.id, run.task_id, run.scheduled_for, verdict.is_final
    ), {_END_ONE_OFFS}, attempts AS (
        INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms,
            status_code, error, answer)
        SELECT run_id, number, started_at, duration_ms, status_code, error, answer
        FROM verdict WHERE state <> 'pending' OR is_lost
        ON CONFLICT (run_id, number) DO NOTHING
    )
    SELECT id FROM judged
"""

# Cancels retries of tasks that were removed or replaced while the request was in flight.
CANCEL_OVERTAKEN = f"""
    UPDATE tasks_api_run run SET
        state = 'cancelled', wake_at = NULL, finished_at = now(),
        reason = run.reason || '; not tried again, the task was ' ||
            CASE WHEN task.ended_at IS NULL THEN 'replaced' ELSE 'removed' END || '.'
    FROM tasks_api_task task
    WHERE run.id = ANY(%s::uuid[]) AND run.state = 'retrying' AND task.id = run.task_id
        AND ({sending_rules.IS_REMOVED} OR task.replaced_at > run.started_at)
"""

# Locks the tasks whose streak of failures changes, in the order in which every process
# locks tasks. Where all goes well, there are none.
LOCK_STREAKS = """
    SELECT id FROM tasks_api_task WHERE id = ANY(%s::uuid[])
        AND (failure_streak > 0 OR id = ANY(%s::uuid[]))
    ORDER BY id FOR NO KEY UPDATE
"""

# Adds to the streaks of tasks, and returns those that have too many failures now.
COUNT_FAILURES = """
    WITH counted AS (
        UPDATE tasks_api_task task SET failure_streak = run.failures
            + CASE WHEN run.begins_anew THEN 0 ELSE task.failure_streak END
        FROM unnest(%s::uuid[], %s::bool[], %s::int[])
            AS run(task_id, begins_anew, failures)
        WHERE task.id = run.task_id AND (run.failures > 0 OR task.failure_streak > 0)
        RETURNING task.id, task.failure_streak, task.pause_after_failures
    )
    SELECT id, failure_streak FROM counted WHERE failure_streak >= pause_after_failures
"""

# A run with open work, and by what it is judged. Nothing is sent for it, so its task's
# body, which may be large, is not read.
_LONG_RUN = f"""
    {claimed_run("task", body="''")},
    run.state, run.started_at, run.wake_at <= now() AS is_late, now() AS now
"""
_IS_EXPIRED = "run.wake_at <= now() AND run.state = 'open'"

# Locks a run when its target or a user reports on its work.
LOCK_RUN = f"""
    SELECT {_LONG_RUN}
    FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = %s FOR UPDATE OF run
"""

# Locks the tasks of some runs that count their failures, because they are written together
# with their runs. Tasks are locked before runs, as in removal and in dispatch.
LOCK_COUNTED_TASKS = """
    SELECT FROM tasks_api_task task WHERE task.pause_after_failures IS NOT NULL
        AND task.id IN (SELECT task_id FROM tasks_api_run WHERE id = ANY(%s))
    ORDER BY task.id FOR NO KEY UPDATE
"""

# Finds open runs whose deadlines have passed, the oldest first.
FIND_EXPIRED = f"""
    SELECT run.id FROM tasks_api_run run
    WHERE {_IS_EXPIRED} ORDER BY run.wake_at LIMIT {{limit}}
"""

# Finds open runs whose deadlines have passed since a moment, the oldest first.
FIND_EXPIRED_SINCE = f"""
    SELECT run.id FROM tasks_api_run run
    WHERE {_IS_EXPIRED} AND run.wake_at >= %(since)s::timestamptz
    ORDER BY run.wake_at LIMIT {{limit}}
"""

# Locks those of some runs that are expired still, and that no other process has locked.
LOCK_EXPIRED = f"""
    SELECT {_LONG_RUN}
    FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = ANY(%s) AND {_IS_EXPIRED}
    FOR UPDATE OF run SKIP LOCKED
"""

# Moves the deadline of a run.
SET_DEADLINE = "UPDATE tasks_api_run SET wake_at = %s WHERE id = %s::uuid"

# Reads what a run is now.
READ_STATE = "SELECT state FROM tasks_api_run WHERE id = %s::uuid"

# Writes how the work of locked runs ended. If the target's answer is not written yet, the
# attempt is written here, and the worker that comes with the answer finds it.
RECORD_ENDS = f"""
    WITH verdict AS (
        SELECT *, state IN ('succeeded', 'failed') AS is_final
        FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::float[], %s::int[],
            %s::timestamptz[], %s::text[], %s::text[])
            AS v(run_id, state, reason, delay, number, started_at, error, answer)
    ), judged AS (
        UPDATE tasks_api_run run SET
            state = verdict.state, reason = verdict.reason, lease = NULL,
            wake_at = CASE WHEN NOT verdict.is_final
                THEN now() + make_interval(secs => verdict.delay) END,
            finished_at = CASE WHEN verdict.is_final THEN now() END
        FROM verdict WHERE run.id = verdict.run_id
        RETURNING run.id, run.task_id, run.scheduled_for, verdict.is_final
    ), {_END_ONE_OFFS}
    INSERT INTO tasks_api_attempt AS attempt (run_id, number, started_at, duration_ms,
        error, answer)
    SELECT run_id, number, started_at,
        least(extract(epoch FROM now() - started_at) * 1000, 2147483647), error, answer
    FROM verdict
    ON CONFLICT (run_id, number) DO UPDATE SET
        error = coalesce(nullif(excluded.error, ''), attempt.error),
        answer = coalesce(nullif(excluded.answer, ''), attempt.answer)
"""

# Reads how some runs ended that were open.
FETCH_ENDED = f"""
    SELECT {_LONG_RUN}, run.reason,
        extract(epoch FROM coalesce(run.finished_at, now()) - run.started_at) AS seconds,
        extract(epoch FROM run.wake_at - now()) AS delay
    FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = ANY(%s::uuid[]) AND run.state IN ('succeeded', 'failed', 'retrying')
"""
