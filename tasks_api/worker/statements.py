"""The statements of a worker: record results, and end long work.

A statement calls the run `run` and its task `task`.
"""

from __future__ import annotations

from tasks_api.domain.states import EndReason
from tasks_api.storage import count_statements, sending_rules
from tasks_api.storage.run_statements import end_live_runs, insert_into_history
from tasks_api.storage.waiting_reasons import reason_after
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

# What a verdict says of a run that is over, beside the columns of the run.
_NEW_VALUES = """
    is_first, verdict.state AS new_state, verdict.reason AS new_reason,
    verdict.started_at AS new_started_at, verdict.duration_ms, verdict.status_code,
    verdict.error, verdict.answer
"""
_BY_VERDICT = {
    "state": "new_state",
    # A run that waited says so when it is over, too.
    "reason": reason_after("reason", "new_reason"),
    "first_started_at": "CASE WHEN is_first THEN new_started_at ELSE first_started_at END",
    "first_duration_ms": "CASE WHEN is_first THEN duration_ms ELSE first_duration_ms END",
    "first_status_code": "CASE WHEN is_first THEN status_code ELSE first_status_code END",
    "first_error": "CASE WHEN is_first THEN error ELSE first_error END",
    "first_answer": "CASE WHEN is_first THEN answer ELSE first_answer END",
}

# Writes verdicts and attempts, and returns the runs that were still under their leases.
# A run that is over moves into history, with its first attempt. Further attempts are
# written in any case, because they were made; whoever takes a lease away has written the
# first one.
RECORD_RESULTS = f"""
    WITH verdict AS (
        SELECT *, state IN ('succeeded', 'failed', 'cancelled') AS is_final,
            number = 1 AND (state <> 'pending' OR is_lost) AS is_first
        FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::float[],
            %s::bool[], %s::int[], %s::timestamptz[], %s::int[], %s::smallint[], %s::text[],
            %s::text[], %s::bigint[])
            AS v(run_id, lease, state, reason, delay, is_lost, number, started_at,
                duration_ms, status_code, error, answer, tenant_id)
    ), over AS (
        DELETE FROM tasks_api_run_live run USING verdict
        WHERE run.id = verdict.run_id AND run.lease = verdict.lease AND verdict.is_final
        RETURNING run.*, {_NEW_VALUES}
    ), history AS ({insert_into_history("over", **_BY_VERDICT)}), kept AS (
        UPDATE tasks_api_run_live run SET
            state = verdict.state, lease = NULL,
            reason = {reason_after("run.reason", "verdict.reason")},
            wake_at = now() + make_interval(secs => verdict.delay),
            attempt_count = run.attempt_count
                - (verdict.state = 'pending' AND NOT verdict.is_lost)::int,
            lost_count = run.lost_count + verdict.is_lost::int,
            first_started_at = CASE WHEN is_first
                THEN verdict.started_at ELSE run.first_started_at END,
            first_duration_ms = CASE WHEN is_first
                THEN verdict.duration_ms ELSE run.first_duration_ms END,
            first_status_code = CASE WHEN is_first
                THEN verdict.status_code ELSE run.first_status_code END,
            first_error = CASE WHEN is_first THEN verdict.error ELSE run.first_error END,
            first_answer = CASE WHEN is_first
                THEN verdict.answer ELSE run.first_answer END
        FROM verdict WHERE run.id = verdict.run_id AND run.lease = verdict.lease
            AND NOT verdict.is_final
        RETURNING run.id, run.task_id, run.scheduled_for
    ), judged AS (
        SELECT id, task_id, scheduled_for, true AS is_final FROM over
        UNION ALL SELECT *, false FROM kept
    ), {_END_ONE_OFFS}, attempts AS (
        INSERT INTO tasks_api_attempt (tenant_id, run_id, number, started_at, duration_ms,
            status_code, error, answer)
        SELECT tenant_id, run_id, number, started_at, duration_ms, status_code, error,
            answer
        FROM verdict WHERE number > 1 AND (state <> 'pending' OR is_lost)
        ON CONFLICT (run_id, number) DO NOTHING
    )
    SELECT id FROM judged
"""

# Cancels unfinished runs that a user cancelled while the request was in flight, and
# retries of tasks that were removed or replaced meanwhile.
CANCEL_OVERTAKEN = end_live_runs(
    f"""
    run.id = ANY(%s::uuid[]) AND task.id = run.task_id
        AND run.state IN ('pending', 'retrying', 'open')
        AND (run.cancelled_by <> '' OR run.state = 'retrying'
            AND ({sending_rules.IS_REMOVED} OR task.replaced_at > run.started_at))
    """,
    tables="USING tasks_api_task task",
    reason=f"""
        CASE WHEN run.cancelled_by <> '' THEN 'Cancelled by ' || run.cancelled_by || '.'
            ELSE run.reason || '; not tried again, the task was ' ||
                CASE WHEN task.ended_at IS NULL THEN 'replaced'
                    WHEN task.end_reason = '{EndReason.SUCCEEDED}' THEN 'done'
                    ELSE 'removed' END || '.'
        END
    """,
)

# Locks the tasks whose streak of failures changes, and others that may end, in the order
# in which every process locks tasks.
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

# Locks a live run when its target or a user reports on its work.
LOCK_RUN = f"""
    SELECT {_LONG_RUN}
    FROM tasks_api_run_live run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = %s FOR UPDATE OF run
"""

# Reads a run that is over, which nobody changes any more.
READ_ENDED_RUN = f"""
    SELECT {_LONG_RUN}
    FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = %s
"""

# Finds a tenant that is frozen, or has moved away, by the bits with which its runs' ids end.
FIND_FROZEN_TENANT = """
    SELECT id FROM accounts_tenant WHERE frozen_at IS NOT NULL AND mod(id, %s) = %s LIMIT 1
"""

# Locks the tasks of some runs that these may pause or end, because they are written together
# with their runs. Tasks are locked before runs, as in removal and in taking.
LOCK_COUNTED_TASKS = """
    SELECT FROM tasks_api_task task
    WHERE (task.pause_after_failures IS NOT NULL OR task.stop_on_success) AND task.id IN (SELECT task_id FROM tasks_api_run_live WHERE id = ANY(%s))
    ORDER BY task.id FOR NO KEY UPDATE
"""

# Finds open runs whose deadlines have passed, the oldest first.
FIND_EXPIRED = f"""
    SELECT run.id FROM tasks_api_run_live run
    WHERE {_IS_EXPIRED} ORDER BY run.wake_at LIMIT {{limit}}
"""

# Finds open runs whose deadlines have passed since a moment, the oldest first.
FIND_EXPIRED_SINCE = f"""
    SELECT run.id FROM tasks_api_run_live run
    WHERE {_IS_EXPIRED} AND run.wake_at >= %(since)s::timestamptz
    ORDER BY run.wake_at LIMIT {{limit}}
"""

# Locks those of some runs that are expired still, and that no other process has locked.
LOCK_EXPIRED = f"""
    SELECT {_LONG_RUN}
    FROM tasks_api_run_live run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = ANY(%s) AND {_IS_EXPIRED}
    FOR UPDATE OF run SKIP LOCKED
"""

# Moves the deadline of a run.
SET_DEADLINE = "UPDATE tasks_api_run_live SET wake_at = %s WHERE id = %s::uuid"

# Reads what a run is now.
READ_STATE = "SELECT state FROM tasks_api_run WHERE id = %s::uuid"

# Writes how the work of locked runs ended. If the target's answer is not written yet, the
# attempt is written here, and the worker that comes with the answer finds it. A first
# attempt stands in the run's row.
_DURATION = """
    least(extract(epoch FROM now() - {started_at}) * 1000, 2147483647)::int
"""
_FIRST_OF_END = {
    "first_started_at": "coalesce(run.first_started_at, verdict.started_at)",
    "first_duration_ms": f"""
        coalesce(run.first_duration_ms, {_DURATION.format(started_at="verdict.started_at")})
    """,
    "first_status_code": "run.first_status_code",
    "first_error": "coalesce(nullif(verdict.error, ''), run.first_error)",
    "first_answer": "coalesce(nullif(verdict.answer, ''), run.first_answer)",
}
_FIRST_COLUMNS = {
    name: f"CASE WHEN verdict.number = 1 THEN {value} ELSE run.{name} END"
    for name, value in _FIRST_OF_END.items()
}
RECORD_ENDS = f"""
    WITH verdict AS (
        SELECT *, state IN ('succeeded', 'failed') AS is_final
        FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::float[], %s::int[],
            %s::timestamptz[], %s::text[], %s::text[], %s::bigint[])
            AS v(run_id, state, reason, delay, number, started_at, error, answer, tenant_id)
    ), over AS (
        DELETE FROM tasks_api_run_live run USING verdict
        WHERE run.id = verdict.run_id AND verdict.is_final
        RETURNING run.*, verdict.state AS new_state, verdict.reason AS new_reason,
            {
    ", ".join(f"{value} AS new_{name}" for name, value in _FIRST_COLUMNS.items())
}
    ), history AS ({
    insert_into_history(
        "over",
        state="new_state",
        reason=reason_after("reason", "new_reason"),
        **{name: f"new_{name}" for name in _FIRST_COLUMNS},
    )
}), kept AS (
        UPDATE tasks_api_run_live run SET
            state = verdict.state, reason = verdict.reason, lease = NULL,
            wake_at = now() + make_interval(secs => verdict.delay),
            {", ".join(f"{name} = {value}" for name, value in _FIRST_COLUMNS.items())}
        FROM verdict WHERE run.id = verdict.run_id AND NOT verdict.is_final
        RETURNING run.id, run.task_id, run.scheduled_for
    ), judged AS (
        SELECT id, task_id, scheduled_for, true AS is_final FROM over
        UNION ALL SELECT *, false FROM kept
    ), {_END_ONE_OFFS}
    INSERT INTO tasks_api_attempt AS attempt (tenant_id, run_id, number, started_at,
        duration_ms, error, answer)
    SELECT tenant_id, run_id, number, started_at, {
    _DURATION.format(started_at="started_at")
}, error,
        answer
    FROM verdict WHERE number > 1
    ON CONFLICT (run_id, number) DO UPDATE SET
        error = coalesce(nullif(excluded.error, ''), attempt.error),
        answer = coalesce(nullif(excluded.answer, ''), attempt.answer)
"""

# Reads how some runs ended that were open, or were cancelled.
FETCH_ENDED = f"""
    SELECT {_LONG_RUN}, run.reason,
        extract(epoch FROM coalesce(run.finished_at, now()) - run.started_at) AS seconds,
        extract(epoch FROM run.wake_at - now()) AS delay
    FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = ANY(%s::uuid[]) AND run.state IN ('succeeded', 'failed', 'retrying',
        'cancelled')
"""
