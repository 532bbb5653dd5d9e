"""The SQL of a beat; the comment above each statement says what it does."""

from __future__ import annotations

from tasks_api.storage import schedule_statements, sending_rules
from tasks_api.taking.statements import from_moment

# Finds out what a beat has to do, and reads the first entry of each index only. It uses
# min(), because EXISTS reads the whole table when many rows were due at the time of the
# last ANALYZE. OFFSET 0 keeps PostgreSQL from reading each index twice.
FIND_WORK = f"""
    SELECT clock_timestamp() AS now, ({schedule_statements.LAST_EDIT}) AS edited_at,
        least(fire_at, wait_at) AS due_at,
        coalesce(wake_at <= now(), false) AS has_stuck_runs,
        change_id IS NOT NULL AS has_open_changes,
        coalesce(ends_at < now(), false) AS has_past_tasks,
        least(fire_at, past) AS fire_at, least(wait_at, past) AS wait_at,
        least(wake_at, past) AS wake_at, least(ends_at, past) AS ends_at,
        coalesce(change_id, (SELECT max(id) FROM tasks_api_schedulechange), 0) AS change_id
    FROM (
        SELECT now() - make_interval(secs => %(margin)s) AS past, (
            SELECT min(next_fire_at) FROM tasks_api_task
            WHERE next_fire_at IS NOT NULL AND next_fire_at >= %(fire_at)s::timestamptz
        ) AS fire_at, (
            SELECT min(wake_at) FROM tasks_api_run
            WHERE wake_at >= %(wait_at)s::timestamptz
                AND state IN ('pending', 'retrying') AND NOT is_next
        ) AS wait_at, (
            SELECT min(wake_at) FROM tasks_api_run
            WHERE wake_at >= %(wake_at)s::timestamptz
                AND (state IN ('running', 'open') OR is_next)
        ) AS wake_at, (
            SELECT min(ends_at) FROM tasks_api_task
            WHERE ended_at IS NULL AND next_fire_at IS NULL AND ends_at IS NOT NULL
                AND ends_at >= %(ends_at)s::timestamptz
        ) AS ends_at, (
            SELECT min(id) FROM tasks_api_schedulechange
            WHERE open_from IS NOT NULL AND id >= %(change_id)s::bigint
        ) AS change_id
        OFFSET 0
    ) AS first
"""

# Counts what is due within some seconds, up to a limit.
COUNT_DUE = """
    SELECT (SELECT count(*) FROM (
            SELECT FROM tasks_api_task
            WHERE next_fire_at <= now() + make_interval(secs => %(ahead)s)
            ORDER BY next_fire_at LIMIT {limit}) AS task)
        + (SELECT count(*) FROM (
            SELECT FROM tasks_api_run
            WHERE wake_at <= now() + make_interval(secs => %(ahead)s)
                AND state IN ('pending', 'retrying') AND NOT is_next
            ORDER BY wake_at LIMIT {limit}) AS run)
"""

# Lets workers take runs again whose lease is over, because their worker was lost, and looks
# after runs that wait in line. A run whose task may not be sent any more ends instead.
_RESCUE_RUNS = f"""
    WITH waiting AS (
        SELECT run.id, run.state AS was, run.attempt_count, run.started_at,
            run.state = 'running' AS is_lost,
            run.state = 'running' AND run.reason = %(unsent)s AS is_unseen,
            CASE
                WHEN {sending_rules.IS_REMOVED} THEN 'removed'
                WHEN {sending_rules.IS_PAST_END} THEN 'over'
                WHEN {sending_rules.IS_PAUSED} AND NOT periodic.one_off THEN 'paused'
                WHEN {sending_rules.IS_PAUSED} THEN 'held'
                WHEN run.attempt_count > (
                        run.state = 'running' AND run.reason = %(unsent)s)::int
                    AND task.replaced_at > run.started_at
                    THEN 'replaced'
                WHEN run.state = 'running' AND run.reason <> %(unsent)s
                    AND run.lost_count + 1 >= %(most_lost)s
                    AND run.lost_count + 1 - (
                        SELECT count(*) FROM tasks_api_attempt attempt
                        WHERE attempt.run_id = run.id AND attempt.error = %(unseen)s
                    ) >= %(most_lost)s THEN 'poison'
                WHEN run.is_next THEN 'held'
                ELSE 'ready'
            END AS fate, task.overlap = 'queue_one' AS is_in_line,
            CASE WHEN periodic.enabled AND {sending_rules.IS_SUSPENDED}
                THEN task.owner_id END AS inactive_owner_id
        FROM tasks_api_run run {sending_rules.JOINS}
        WHERE run.wake_at <= now() {{since}} AND CASE WHEN run.is_next THEN true
            ELSE run.state = 'running'
                AND run.wake_at <= coalesce(%(leases_until)s::timestamptz, now()) END
            AND (run.state IN ('running', 'open') OR run.is_next)
        ORDER BY run.wake_at LIMIT {{limit}}
        FOR UPDATE OF run SKIP LOCKED
    ), lost AS (
        INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, error,
            answer)
        SELECT id, attempt_count, started_at,
            extract(epoch FROM now() - started_at) * 1000,
            CASE WHEN is_unseen THEN %(unseen)s ELSE 'The worker was lost.' END, ''
        FROM waiting WHERE is_lost
        ON CONFLICT (run_id, number) DO NOTHING
    )
    UPDATE tasks_api_run run SET
        state = CASE waiting.fate
            WHEN 'ready' THEN 'pending' WHEN 'held' THEN 'pending'
            WHEN 'poison' THEN 'failed' ELSE 'cancelled' END,
        reason = CASE waiting.fate
            WHEN 'removed' THEN 'The task was removed.'
            WHEN 'over' THEN 'The end of the task was moved to before this run.'
            WHEN 'paused' THEN 'The task was paused.'
            WHEN 'replaced' THEN 'The task was replaced.'
            WHEN 'poison' THEN 'Its worker was lost too often.'
            ELSE CASE WHEN waiting.was = 'pending' THEN run.reason ELSE '' END END,
        lease = NULL,
        lost_count = run.lost_count + waiting.is_lost::int,
        -- A beat looks at a run in line every 30 seconds.
        wake_at = CASE WHEN waiting.fate = 'ready' THEN now()
            WHEN waiting.fate = 'held' THEN now() + '30s'::interval END,
        finished_at = CASE WHEN waiting.fate NOT IN ('ready', 'held') THEN now() END
    FROM waiting WHERE run.id = waiting.id
    RETURNING run.id AS run_id,
        CASE waiting.fate WHEN 'held' THEN 'held' ELSE run.state END AS state,
        waiting.was,
        CASE WHEN waiting.is_in_line AND waiting.fate <> 'ready' THEN run.task_id END
            AS queued_task_id,
        waiting.inactive_owner_id
"""
RESCUE_RUNS = from_moment(_RESCUE_RUNS, "AND run.wake_at >= %(since)s::timestamptz")
