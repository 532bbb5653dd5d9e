"""The SQL of a beat; the comment above each statement says what it does."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from tasks_api.storage import (
    run_rows,
    schedule_statements,
    sending_rules,
    stored_schedules,
)
from tasks_api.storage.id_statements import READ_RUN_KEY, free_id_of_fire_time


class FromMoment(NamedTuple):
    """A statement that reads its index from the beginning, and one from a moment on.

    A caller uses the second if only dead rows lie before the moment. There are two
    texts because PostgreSQL plans an optional condition for the worse case.
    """

    beginning: str
    moment: str

    def since(self, since: datetime | None) -> str:
        return self.beginning if since is None else self.moment


def _from_moment(statement: str, condition: str) -> FromMoment:
    return FromMoment(
        statement.replace("{since}", ""), statement.replace("{since}", condition)
    )


# Finds out what a beat has to do, and reads the first entry of each index only. It uses
# min(), because EXISTS reads the whole table when many rows were due at the time of the
# last ANALYZE. OFFSET 0 keeps PostgreSQL from reading each index twice.
FIND_WORK = f"""
    SELECT clock_timestamp(), ({schedule_statements.LAST_EDIT}),
        coalesce(fire_at <= now() + make_interval(secs => %(ahead)s), false),
        coalesce(wake_at <= now(), false),
        change_id IS NOT NULL,
        coalesce(ends_at < now(), false),
        coalesce((
            SELECT extract(epoch FROM min(next_fire_at) - now()) FROM tasks_api_task
            WHERE overlap <> 'allow' AND next_fire_at IS NOT NULL
                AND next_fire_at > now()
                AND next_fire_at < now() + make_interval(secs => %(at_most)s)
        ), %(at_most)s)::float,
        least(fire_at, past), least(wake_at, past), least(ends_at, past),
        coalesce(change_id, (SELECT max(id) FROM tasks_api_schedulechange), 0)
    FROM (
        SELECT now() - make_interval(secs => %(margin)s) AS past, (
            SELECT min(next_fire_at) FROM tasks_api_task
            WHERE next_fire_at IS NOT NULL AND next_fire_at >= %(fire_at)s::timestamptz
        ) AS fire_at, (
            SELECT min(wake_at) FROM tasks_api_run_live
            WHERE wake_at IS NOT NULL AND wake_at >= %(wake_at)s::timestamptz
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

# Makes runs whose `wake_at` has passed ready for a worker, or ends them if their task
# may not be sent any more. The next ring for a run that no worker took comes after as
# long as it has waited, so the waits double. A run that becomes ready here has not
# waited yet.
_WAKE_RUNS = f"""
    WITH waiting AS (
        SELECT run.id, run.state AS was, run.attempt_count, run.started_at,
            run.state = 'running' AS is_lost,
            CASE WHEN run.reason = %(unsent)s THEN %(unseen)s
                ELSE 'The worker was lost.' END AS lost_error,
            run.state = 'running' AND run.attempt_count = 1
                AND run.first_started_at IS NULL AS is_first_lost,
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
                    ) - (run.first_error = %(unseen)s)::int >= %(most_lost)s THEN 'poison'
                WHEN run.is_next THEN 'held'
                ELSE 'ready'
            END AS fate, task.overlap = 'queue_one' AS is_in_line,
            CASE WHEN periodic.enabled AND {sending_rules.IS_SUSPENDED}
                THEN task.owner_id END AS inactive_owner_id
        FROM tasks_api_run_live run {sending_rules.JOINS}
        WHERE run.wake_at <= now() {{since}} AND run.state <> 'open' AND (run.state <> 'running'
            OR run.wake_at <= coalesce(%(leases_until)s::timestamptz, now()))
        ORDER BY run.wake_at LIMIT {{limit}}
        FOR UPDATE OF run SKIP LOCKED
    ), lost AS (
        INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, error,
            answer)
        SELECT id, attempt_count, started_at,
            extract(epoch FROM now() - started_at) * 1000,
            lost_error, ''
        FROM waiting WHERE is_lost AND attempt_count > 1
        ON CONFLICT (run_id, number) DO NOTHING
    )
    UPDATE tasks_api_run_live run SET
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
        first_started_at = CASE WHEN is_first_lost
            THEN run.started_at ELSE run.first_started_at END,
        first_duration_ms = CASE WHEN is_first_lost
            THEN extract(epoch FROM now() - run.started_at) * 1000
            ELSE run.first_duration_ms END,
        first_error = CASE WHEN is_first_lost THEN lost_error ELSE run.first_error END,
        wake_at = CASE WHEN waiting.fate IN ('ready', 'held') THEN
            now() + least(
                greatest(CASE WHEN waiting.was = 'pending'
                    THEN now() - greatest(run.scheduled_for, run.started_at) END,
                    make_interval(secs => %(soonest)s)),
                -- A beat looks at a waiting run at least every 30 seconds.
                CASE WHEN run.is_next THEN '30s'::interval
                    ELSE make_interval(secs => %(latest)s) END)
            END,
        finished_at = CASE WHEN waiting.fate NOT IN ('ready', 'held') THEN now() END
    FROM waiting WHERE run.id = waiting.id
    RETURNING run.id AS run_id,
        CASE waiting.fate WHEN 'held' THEN 'held' ELSE run.state END AS state,
        waiting.was,
        CASE WHEN waiting.is_in_line AND waiting.fate <> 'ready' THEN run.task_id END
            AS queued_task_id,
        waiting.inactive_owner_id
"""
WAKE_RUNS = _from_moment(_WAKE_RUNS, "AND run.wake_at >= %(since)s::timestamptz")

_IS_DUE = """
    task.next_fire_at <= now() + make_interval(secs => %(look_ahead)s) {since}
        AND (task.overlap = 'allow' OR task.next_fire_at <= now())
"""
_FIRE_SINCE = "AND task.next_fire_at >= %(since)s::timestamptz"
_EARLIEST = f"{_IS_DUE} ORDER BY task.next_fire_at LIMIT {{limit}}"

# Finds due tasks, earliest first, also tasks that another beat has locked.
FIND_DUE = f"SELECT task.id FROM tasks_api_task task WHERE {_EARLIEST}".replace(
    "{since}", ""
)

# Returns one row if more tasks are due than the limit.
IS_CROWDED = _from_moment(
    """
    SELECT FROM tasks_api_task task
    WHERE next_fire_at <= now() + make_interval(secs => %(look_ahead)s) {since}
    ORDER BY next_fire_at OFFSET {limit} LIMIT 1
    """,
    _FIRE_SINCE,
)

# Finds how many more runs each tenant with due tasks may have waiting.
FIND_ROOM = _from_moment(
    """
    WITH waiting AS (
        SELECT tenant_id, count(*) AS runs FROM tasks_api_run_live
        WHERE wake_at IS NOT NULL AND state = 'pending'
        GROUP BY tenant_id
    )
    SELECT tenant.id, %(most)s - coalesce(waiting.runs, 0)
    FROM accounts_tenant tenant LEFT JOIN waiting ON waiting.tenant_id = tenant.id
    WHERE EXISTS (
            SELECT FROM tasks_api_task task
            WHERE task.tenant_id = tenant.id AND task.next_fire_at
                <= now() + make_interval(secs => %(look_ahead)s) {since})
        AND coalesce(waiting.runs, 0) <= %(most)s - %(least)s
    """,
    _FIRE_SINCE,
)

# Locks the earliest unlocked due tasks of each tenant, up to its share. The limit tells
# the planner how few they are; without it, PostgreSQL reads all tasks.
_CHOOSE_SHARES = f"""
    chosen AS MATERIALIZED (
        SELECT of_tenant.id
        FROM unnest(%(tenants)s::bigint[], %(shares)s::int[]) AS share(tenant_id, most)
        CROSS JOIN LATERAL (
            SELECT task.id FROM tasks_api_task task
            WHERE task.tenant_id = share.tenant_id AND {_IS_DUE}
            ORDER BY task.next_fire_at LIMIT share.most
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS of_tenant
        LIMIT {{limit}}
    ),
"""

# Locks due tasks, fires the plain ones, and returns the others locked. If the run of a
# fire time exists already, for instance in a restored database, the task moves on and
# the fire time is not counted. A one-off is counted when it ends, by the write that
# disables it. The constraint decides whether a run would overlap.
_FIRE = f"""
    WITH {{chosen}} due AS MATERIALIZED (
        SELECT task.id, task.tenant_id, task.periodic_task_id, task.next_fire_at,
            task.last_fire_at, NOT {schedule_statements.IS_UNEDITED} AS is_edited, task.overlap,
            task.misfire, task.catchup_window, task.surface, now() AS at, {READ_RUN_KEY} AS run_key,
            {schedule_statements.COLUMNS},
            task.overlap IN ('allow', 'skip')
                -- A fire time within the catch-up window needs no decision.
                AND task.next_fire_at >= now() - make_interval(secs => CASE
                    WHEN task.misfire = 'skip' THEN 1 ELSE task.catchup_window END)
                    IS NOT false AS is_undisputed
        FROM tasks_api_task task {schedule_statements.JOINS}
        WHERE {{due}}
        FOR NO KEY UPDATE OF task SKIP LOCKED
    ), plain AS MATERIALIZED (
        SELECT id, tenant_id, periodic_task_id, next_fire_at,
            CASE WHEN upcoming <= ends_at OR ends_at IS NULL THEN upcoming END AS upcoming,
            is_one_off, overlap = 'skip' AS is_exclusive
        FROM due, LATERAL (SELECT CASE WHEN NOT is_one_off
            THEN next_fire_at + make_interval(secs => interval_every) END AS upcoming) AS grid
        WHERE is_undisputed AND NOT is_edited AND CASE
            WHEN once_at IS NOT NULL THEN is_one_off
            WHEN interval_period = 'seconds' THEN NOT is_one_off AND interval_every > 0
                AND extract(epoch FROM next_fire_at - coalesce(starts_at, created_at))
                    %% interval_every = 0
                AND upcoming > at AND upcoming < '9999-01-01'
                AND (ends_at IS NULL OR at <= ends_at + make_interval(secs => %(end_grace)s))
            ELSE false END
    ), named AS MATERIALIZED (
        SELECT plain.*, {{id}} AS run_id FROM plain
    ), made AS (
        INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
            wake_at, exclusive, attempt_count, lost_count)
        SELECT run_id, id, tenant_id, next_fire_at, 'pending', '',
            greatest(next_fire_at, now()) + make_interval(secs => %(ring_again)s),
            is_exclusive, 0, 0
        FROM named WHERE run_id IS NOT NULL
        ON CONFLICT DO NOTHING
        RETURNING id, task_id, scheduled_for
    ), skipped AS (
        INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
            finished_at, exclusive, attempt_count, lost_count, stage)
        SELECT run_id, id, tenant_id, next_fire_at, 'skipped', '{run_rows.SKIPPED_REASON}', now(),
            true, 0, 0, 'over'
        FROM named WHERE is_exclusive AND run_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM made WHERE made.task_id = named.id)
        ON CONFLICT DO NOTHING
        RETURNING task_id
    ), moved AS (
        UPDATE tasks_api_task task SET
            next_fire_at = plain.upcoming, last_fire_at = plain.next_fire_at,
            pause_reason = ''
        FROM plain WHERE task.id = plain.id
    ), counted AS (
        UPDATE django_celery_beat_periodictask periodic SET
            last_run_at = greatest(made.scheduled_for, now()),
            total_run_count = total_run_count + 1
        FROM made JOIN plain ON plain.id = made.task_id AND NOT plain.is_one_off
        WHERE periodic.id = plain.periodic_task_id
    )
    SELECT made.id AS run_id, skipped.task_id IS NOT NULL AS is_skipped, other.* FROM due
    LEFT JOIN plain ON plain.id = due.id
    LEFT JOIN made ON made.task_id = plain.id
    LEFT JOIN skipped ON skipped.task_id = plain.id
    LEFT JOIN LATERAL (
        SELECT due.id AS task_id, due.tenant_id, due.periodic_task_id, due.next_fire_at,
            due.last_fire_at, due.is_edited, due.overlap, due.misfire,
            due.catchup_window, due.surface, due.at AS now, due.run_key,
            {", ".join(f"due.{name}" for name in stored_schedules.StoredSchedule._fields)}
        WHERE plain.id IS NULL
    ) AS other ON true
""".replace(
    "{id}",
    free_id_of_fire_time(
        moment="plain.next_fire_at", tenant_id="plain.tenant_id", task_id="plain.id"
    ),
)


def _fire(condition: str, chosen: str = "") -> FromMoment:
    statement = _FIRE.replace("{chosen}", chosen).replace("{due}", condition)
    return _from_moment(statement, _FIRE_SINCE)


FIRE_EARLIEST = _fire(_EARLIEST)
FIRE_SHARES = _fire("task.id IN (SELECT id FROM chosen)", _CHOOSE_SHARES)
FIRE_TASK = _fire(f"task.id = %(task)s::uuid AND {_IS_DUE}")

# Writes the new states of dispatched tasks.
UPDATE_TASKS = """
    UPDATE tasks_api_task task SET
        next_fire_at = move.next_fire_at, last_fire_at = move.last_fire_at,
        pause_reason = move.pause_reason
    FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::text[])
        AS move(id, next_fire_at, last_fire_at, pause_reason)
    WHERE task.id = move.id
"""

# Writes when schedules last ran and how often, for the admin to show.
COUNT_RUNS = """
    UPDATE django_celery_beat_periodictask periodic SET
        last_run_at = fired.at, total_run_count = total_run_count + fired.runs
    FROM (
        SELECT id, max(at) AS at, count(*) AS runs
        FROM unnest(%s::int[], %s::timestamptz[]) AS run(id, at) GROUP BY id
    ) AS fired
    WHERE periodic.id = fired.id
"""
