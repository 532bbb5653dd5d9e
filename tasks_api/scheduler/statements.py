"""The SQL of a beat; the comment above each statement says what it does."""

from __future__ import annotations

from scheduler_service.db.locks import HAS_TURN
from tasks_api.storage import schedule_statements, sending_rules
from tasks_api.storage.run_statements import insert_into_history
from tasks_api.taking.statements import REASON_OF_END, from_moment

# The time that workers have for taking a task before a beat makes its run.
PATIENCE = "1 s"
# Waiting runs of a tenant that beats make; a recurring task may have several.
MAX_WAITING = 5000
# The tenants whose waiting runs are counted in one statement.
MAX_COUNTED_TENANTS = 200

# Finds out what a beat has to do, and reads the first entry of each index only. It uses
# min(), because EXISTS reads the whole table when many rows were due at the time of the
# last ANALYZE. OFFSET 0 keeps PostgreSQL from reading each index twice.
FIND_WORK = f"""
    SELECT clock_timestamp() AS now, ({schedule_statements.LAST_EDIT}) AS edited_at,
        least(fire_at, wait_at) AS due_at,
        coalesce(again_at <= now() - '{PATIENCE}'::interval, false) AS has_overdue_tasks,
        coalesce(wake_at <= now(), false) AS has_stuck_runs,
        change_id IS NOT NULL AS has_open_changes,
        coalesce(ends_at < now(), false) AS has_past_tasks,
        coalesce(resume_at <= now(), false) AS has_pauses_that_are_over,
        coalesce((SELECT min(send_at) FROM tasks_api_pendingnotice) <= now(), false)
            AS has_due_notices,
        coalesce((SELECT min(ends_at) FROM accounts_tokenbounds
            WHERE ends_at IS NOT NULL AND lapsed_at IS NULL) <= now(), false)
            AS has_lapsed_bounds,
        coalesce(wait_at < now() - '{PATIENCE}'::interval AND (
            SELECT max(next_release_at) FROM tasks_api_calendar
            WHERE next_release_at IS NOT NULL
        ) > now() - '7 days'::interval, false) AS has_late_runs_on_calendars,
        least(fire_at, past) AS fire_at, least(wait_at, past) AS wait_at,
        least(wake_at, past) AS wake_at, least(ends_at, past) AS ends_at,
        least(resume_at, past) AS resume_at,
        coalesce(change_id, (SELECT max(id) FROM tasks_api_schedulechange), 0) AS change_id
    FROM (
        SELECT now() - make_interval(secs => %(margin)s) AS past, (
            SELECT min(next_fire_at) FROM tasks_api_task
            WHERE next_fire_at IS NOT NULL AND next_fire_at >= %(fire_at)s::timestamptz
        ) AS fire_at, (
            SELECT min(next_fire_at) FROM tasks_api_task
            WHERE next_fire_at IS NOT NULL AND NOT is_one_off
                AND next_fire_at >= %(fire_at)s::timestamptz
        ) AS again_at, (
            SELECT min(wake_at) FROM tasks_api_run_live
            WHERE wake_at >= %(wait_at)s::timestamptz
                AND state IN ('pending', 'retrying') AND NOT is_next
                AND lane_id IS NULL
        ) AS wait_at, (
            SELECT min(wake_at) FROM tasks_api_run_live
            WHERE wake_at >= %(wake_at)s::timestamptz
                AND (state IN ('running', 'open') OR is_next)
        ) AS wake_at, (
            SELECT min(ends_at) FROM tasks_api_task
            WHERE ended_at IS NULL AND next_fire_at IS NULL AND ends_at IS NOT NULL
                AND ends_at >= %(ends_at)s::timestamptz
        ) AS ends_at, (
            SELECT min(resume_at) FROM tasks_api_task
            WHERE ended_at IS NULL AND resume_at IS NOT NULL
                AND resume_at >= %(resume_at)s::timestamptz
        ) AS resume_at, (
            SELECT min(id) FROM tasks_api_schedulechange
            WHERE open_from IS NOT NULL AND id >= %(change_id)s::bigint
        ) AS change_id
        OFFSET 0
    ) AS first
"""

# Whether a task has following fire times; those of a plain interval need none.
_FOLLOWS = (
    "(task.interval_period <> 'seconds' OR task.rules <> '' OR task.calendars <> '')"
)
# Recurring tasks that no worker has taken, and whose fire time would be lost: the next one
# comes, the task ends, or its misfire policy counts.
_OVERDUE = f"""
    SELECT task.id, task.tenant_id, task.next_fire_at,
        {_FOLLOWS} AND task.following_fire_times[1] IS NULL AS is_unplanned
    FROM tasks_api_task task
    WHERE task.next_fire_at IS NOT NULL AND NOT task.is_one_off
        AND task.next_fire_at <= now() - '{PATIENCE}'::interval {{since}}
        AND (task.misfire = 'skip'
            OR task.next_fire_at + make_interval(secs => task.catchup_window)
                <= now() + '{PATIENCE}'::interval
            OR task.ends_at <= now() + '{PATIENCE}'::interval
            OR CASE WHEN {_FOLLOWS} THEN coalesce(task.following_fire_times[1], now())
                ELSE task.next_fire_at + make_interval(secs => task.interval_every) END
                <= now() + '{PATIENCE}'::interval)
"""
# Finds overdue tasks but for those of tenants that are known to be full, and says of which
# nobody knows when they fire next. Of the tenants with the earliest ones it says whether
# they are full; null: there are more tenants than one look counts for.
FIND_OVERDUE = from_moment(
    f"""
    WITH overdue AS MATERIALIZED (
        {_OVERDUE} AND task.tenant_id <> ALL(%(full)s::bigint[])
        ORDER BY task.next_fire_at LIMIT {{limit}}
    ), counted AS MATERIALIZED (
        SELECT tenant_id, (SELECT count(*) FROM (
            SELECT FROM tasks_api_run_live run
            WHERE run.tenant_id = earliest.tenant_id
                AND run.state IN ('pending', 'retrying') AND NOT run.is_next
                AND run.wake_at <= now() AND run.lane_id IS NULL
            LIMIT {MAX_WAITING}) AS waiting) = {MAX_WAITING} AS is_full
        FROM (
            SELECT tenant_id FROM overdue
            GROUP BY tenant_id ORDER BY min(next_fire_at) LIMIT {MAX_COUNTED_TENANTS}
        ) AS earliest
    )
    SELECT overdue.id AS task_id, tenant_id, is_unplanned, is_full
    FROM overdue LEFT JOIN counted USING (tenant_id)
    """,
    "AND task.next_fire_at >= %(since)s::timestamptz",
)
# Finds those of some tasks that are overdue.
FIND_OVERDUE_AMONG = f"SELECT id FROM ({_OVERDUE.format(since='')} AND task.id = ANY(%(tasks)s::uuid[])) AS overdue"

# Counts what is due within some seconds, up to a limit.
COUNT_DUE = """
    SELECT (SELECT count(*) FROM (
            SELECT FROM tasks_api_task
            WHERE next_fire_at <= now() + make_interval(secs => %(ahead)s)
            ORDER BY next_fire_at LIMIT {limit}) AS task)
        + (SELECT count(*) FROM (
            SELECT FROM tasks_api_run_live
            WHERE wake_at <= now() + make_interval(secs => %(ahead)s)
                AND state IN ('pending', 'retrying') AND NOT is_next
                AND lane_id IS NULL
            ORDER BY wake_at LIMIT {limit}) AS run)
"""

# Lets workers take runs again whose lease is over, because their worker was lost, and looks
# after runs that wait in line. A run whose task may not be sent any more ends instead. One
# beat at a time does so: others would step over the rows that it has locked.
# A first attempt stands in the row of its run.
_LOST_FIRST = {
    "first_started_at": "CASE WHEN is_first_lost THEN run.started_at ELSE run.first_started_at END",
    "first_duration_ms": """
        CASE WHEN is_first_lost THEN (extract(epoch FROM now() - run.started_at) * 1000)::int
            ELSE run.first_duration_ms END
    """,
    "first_error": "CASE WHEN is_first_lost THEN lost_error ELSE run.first_error END",
}
_RESCUE_RUNS = f"""
    WITH waiting AS MATERIALIZED (
        SELECT run.id, run.tenant_id, run.task_id, run.state AS was, run.attempt_count, run.started_at,
            run.state = 'running' AS is_lost,
            CASE WHEN run.reason = %(unsent)s THEN %(unseen)s
                ELSE 'The worker was lost.' END AS lost_error,
            run.state = 'running' AND run.attempt_count = 1
                AND run.first_started_at IS NULL AS is_first_lost,
            CASE
                WHEN run.cancelled_by <> '' THEN 'cancelled'
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
                    ) - (run.first_error = %(unseen)s)::int >= %(most_lost)s THEN 'poison'
                WHEN run.is_next THEN 'held'
                ELSE 'ready'
            END AS fate, task.overlap = 'queue_one' AS is_in_line,
            CASE WHEN periodic.enabled AND {sending_rules.IS_SUSPENDED}
                THEN task.owner_id END AS inactive_owner_id
        FROM tasks_api_run_live run {sending_rules.JOINS}
        WHERE {HAS_TURN}
            AND run.wake_at <= now() {{since}} AND CASE WHEN run.is_next THEN true
            ELSE run.state = 'running'
                AND run.wake_at <= coalesce(%(leases_until)s::timestamptz, now()) END
            AND (run.state IN ('running', 'open') OR run.is_next)
        ORDER BY run.wake_at LIMIT {{limit}}
        FOR UPDATE OF run SKIP LOCKED
    ), lost AS (
        INSERT INTO tasks_api_attempt (tenant_id, run_id, number, started_at, duration_ms,
            error, answer)
        SELECT tenant_id, id, attempt_count, started_at,
            extract(epoch FROM now() - started_at) * 1000, lost_error, ''
        FROM waiting WHERE is_lost AND attempt_count > 1
        ON CONFLICT (run_id, number) DO NOTHING
    ), kept AS (
        UPDATE tasks_api_run_live run SET
            state = 'pending', lease = NULL,
            reason = CASE WHEN waiting.was = 'pending' THEN run.reason ELSE '' END,
            lost_count = run.lost_count + waiting.is_lost::int,
            {", ".join(f"{name} = {value}" for name, value in _LOST_FIRST.items())},
            -- A beat looks at a run in line every 30 seconds.
            wake_at = now() + CASE waiting.fate
                WHEN 'ready' THEN '0s' ELSE '30s' END::interval
        FROM waiting WHERE run.id = waiting.id AND waiting.fate IN ('ready', 'held')
    ), ended AS (
        DELETE FROM tasks_api_run_live run USING waiting
        WHERE run.id = waiting.id AND waiting.fate NOT IN ('ready', 'held')
        RETURNING run.*, waiting.fate, waiting.is_lost,
            {", ".join(f"{value} AS new_{name}" for name, value in _LOST_FIRST.items())}
    ), history AS ({
    insert_into_history(
        "ended",
        state="CASE fate WHEN 'poison' THEN 'failed' ELSE 'cancelled' END",
        reason=REASON_OF_END,
        lost_count="lost_count + is_lost::int",
        **{name: f"new_{name}" for name in _LOST_FIRST},
    )
})
    SELECT id AS run_id, CASE fate WHEN 'held' THEN 'held' WHEN 'ready' THEN 'pending'
            WHEN 'poison' THEN 'failed' ELSE 'cancelled' END AS state,
        was, CASE WHEN is_in_line AND fate <> 'ready' THEN task_id END AS queued_task_id,
        inactive_owner_id
    FROM waiting
"""
RESCUE_RUNS = from_moment(_RESCUE_RUNS, "AND run.wake_at >= %(since)s::timestamptz")
