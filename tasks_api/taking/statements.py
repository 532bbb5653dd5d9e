"""The SQL that takes what is due; the comment above each statement says what it does.

A statement calls a task `task` and a run `run`.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from tasks_api.delivery.request import ClaimedRun
from tasks_api.storage import (
    run_rows,
    schedule_statements,
    sending_rules,
)
from tasks_api.storage.id_statements import ID_OF_FIRE_TIME, READ_RUN_KEY
from tasks_api.storage.run_statements import insert_into_history, stage_in_history


class FromMoment(NamedTuple):
    """A statement that reads its index from the beginning, and one from a moment on.

    A caller uses the second if only dead rows lie before the moment. There are two
    texts because PostgreSQL plans an optional condition for the worse case.
    """

    beginning: str
    moment: str

    def since(self, since: datetime | None) -> str:
        return self.beginning if since is None else self.moment


def from_moment(statement: str, condition: str) -> FromMoment:
    return FromMoment(
        statement.replace("{since}", ""), statement.replace("{since}", condition)
    )


# The fields of a ClaimedRun that are columns of its run. All others are columns of its task,
# so a new one of those needs no change here.
RUN_COLUMNS = {
    "run_id": "run.id",
    "task_id": "run.task_id",
    "tenant_id": "run.tenant_id",
    "scheduled_for": "run.scheduled_for",
    "number": "run.attempt_count",
    "lost_count": "run.lost_count",
    "slot": "run.slot",
    "redrive_of": "run.redrive_of",
}
# The worker itself knows the lease under which it takes.
CLAIMED_RUN_COLUMNS = tuple(name for name in ClaimedRun._fields if name != "lease")
TASK_COLUMNS = [name for name in CLAIMED_RUN_COLUMNS if name not in RUN_COLUMNS]


def claimed_run(task: str, **replaced: str) -> str:
    """The columns of a ClaimedRun in their order, those of its task from table `task`."""
    columns = {
        **{name: f"{task}.{name}" for name in TASK_COLUMNS},
        **RUN_COLUMNS,
        **replaced,
    }
    return ", ".join(f"{columns[name]} AS {name}" for name in CLAIMED_RUN_COLUMNS)


_FROM_TASK = ", ".join(f"task.{name}" for name in TASK_COLUMNS)
# What a run takes up in the memory of its worker, as leases.count_bytes() counts it.
_BYTES = "octet_length(task.body) + octet_length(task.request) + octet_length(task.url)"
# The places that a worker has for a tenant.
_ROOMS = "unnest(%(tenants)s::bigint[], %(places)s::int[]) AS room(tenant_id, places)"
_HAS_ROOM = """
    nth <= coalesce(room.places, %(places_each)s) AND before < %(bytes)s
"""

# Finds the first due task, the first waiting run, and the next moment at which one of
# either becomes due. It uses min(), because EXISTS reads the whole table when many rows
# were due at the time of the last ANALYZE. OFFSET 0 keeps PostgreSQL from reading each
# index twice.
FIND_DUE = """
    SELECT clock_timestamp() AS now,
        coalesce(fire_at <= now(), false) AS has_due_tasks,
        coalesce(wait_at <= now(), false) AS has_waiting_runs,
        least(
            CASE WHEN fire_at > now() THEN fire_at ELSE (
                SELECT min(next_fire_at) FROM tasks_api_task
                WHERE next_fire_at IS NOT NULL AND next_fire_at > now()) END,
            CASE WHEN wait_at > now() THEN wait_at ELSE (
                SELECT min(wake_at) FROM tasks_api_run_live
                WHERE wake_at > now() AND state IN ('pending', 'retrying')
                    AND NOT is_next) END
        ) AS next_at,
        least(fire_at, past) AS fire_at, least(wait_at, past) AS wake_at
    FROM (
        SELECT now() - make_interval(secs => %(margin)s) AS past, (
            SELECT min(next_fire_at) FROM tasks_api_task
            WHERE next_fire_at IS NOT NULL AND next_fire_at >= %(fire_at)s::timestamptz
        ) AS fire_at, (
            SELECT min(wake_at) FROM tasks_api_run_live
            WHERE wake_at >= %(wake_at)s::timestamptz
                AND state IN ('pending', 'retrying') AND NOT is_next
        ) AS wait_at
        OFFSET 0
    ) AS first
"""

_IS_DUE = "task.next_fire_at <= now() {since}"
_FIRE_SINCE = "AND task.next_fire_at >= %(since)s::timestamptz"
_EARLIEST = f"{_IS_DUE} ORDER BY task.next_fire_at LIMIT {{limit}}"

# Finds due tasks, earliest first, also tasks that another worker has locked.
FIND_DUE_TASKS = f"SELECT task.id FROM tasks_api_task task WHERE {_EARLIEST}".replace(
    "{since}", ""
)

# Finds tenants in the order of their ids, after one of them, whose rows meet a condition.
# It steps from tenant to tenant in an index, so rows of the same tenant cost nothing.
_FIND_TENANTS = """
    WITH RECURSIVE tenant AS (
        (SELECT tenant_id AS id FROM {table} WHERE {in_index} AND tenant_id > %(after)s
            ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT tenant_id FROM {table} WHERE {in_index} AND tenant_id > tenant.id
            ORDER BY tenant_id LIMIT 1)
        FROM tenant WHERE tenant.id IS NOT NULL
    ), seen AS (
        SELECT id FROM tenant WHERE id IS NOT NULL LIMIT {limit}
    )
    SELECT id, EXISTS (SELECT FROM {table} WHERE tenant_id = seen.id AND {is_due})
    FROM seen
"""
FIND_TENANTS_OF_TASKS = (
    _FIND_TENANTS.replace("{table}", "tasks_api_task")
    .replace("{in_index}", "next_fire_at IS NOT NULL")
    .replace("{is_due}", "next_fire_at <= now()")
)
_WAITS = "state IN ('pending', 'retrying') AND NOT is_next"
FIND_TENANTS_OF_RUNS = (
    _FIND_TENANTS.replace("{table}", "tasks_api_run_live")
    .replace("{in_index}", _WAITS)
    .replace("{is_due}", f"{_WAITS} AND wake_at <= now()")
)

# Locks the earliest unlocked due tasks of each tenant, up to its share. The limit tells
# the planner how few they are; without it, PostgreSQL reads all tasks.
_CHOOSE_TASKS = f"""
    chosen AS MATERIALIZED (
        SELECT of_tenant.id
        FROM unnest(%(sharers)s::bigint[], %(shares)s::int[]) AS share(tenant_id, most)
        CROSS JOIN LATERAL (
            SELECT task.id FROM tasks_api_task task
            WHERE task.tenant_id = share.tenant_id AND {_IS_DUE}
            ORDER BY task.next_fire_at LIMIT share.most
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS of_tenant
        LIMIT {{limit}}
    ),
"""

# Locks due tasks, takes the plain ones for which there is room, and returns the ids of
# the others. The constraint decides whether a run would overlap.
_TAKE_TASKS = f"""
    WITH {{chosen}} due AS MATERIALIZED (
        SELECT task.id, task.tenant_id, task.next_fire_at, task.version,
            task.following_fire_times, task.following_version, task.following_rules,
            periodic.one_off AS is_one_off, clocked.clocked_time AS once_at,
            every.every AS interval_every, every.period AS interval_period,
            coalesce(periodic.start_time, task.created_at) AS starts_at,
            periodic.expires AS ends_at, now() AS at, {READ_RUN_KEY} AS run_key,
            {_FROM_TASK}, {_BYTES} AS bytes,
            task.overlap IN ('allow', 'skip')
                -- A fire time within the catch-up window needs no decision.
                AND task.next_fire_at >= now() - make_interval(secs => CASE
                    WHEN task.misfire = 'skip' THEN 1 ELSE task.catchup_window END)
                    IS NOT false
                AND NOT {sending_rules.IS_SUSPENDED}
                -- A fire time that is repeated may have a run in history.
                AND (task.last_fire_at IS NULL OR task.next_fire_at > task.last_fire_at)
                AND {schedule_statements.IS_UNEDITED} AS is_undisputed
        FROM tasks_api_task task {schedule_statements.JOINS}
        JOIN accounts_user owner ON owner.id = task.owner_id
        WHERE {{due}}
        FOR NO KEY UPDATE OF task SKIP LOCKED
    ), weighed AS (
        SELECT *, row_number() OVER (
                PARTITION BY tenant_id ORDER BY next_fire_at, id) AS nth,
            sum(bytes) OVER (ORDER BY next_fire_at, id) - bytes AS before
        FROM due
    ), fitting AS MATERIALIZED (
        SELECT weighed.*, CASE
            WHEN is_one_off THEN NULL
            WHEN interval_period = 'seconds'
                THEN next_fire_at + make_interval(secs => interval_every)
            WHEN following_version = version AND following_rules = %(rules)s
                THEN following_fire_times[1]
            END AS upcoming
        FROM weighed LEFT JOIN {_ROOMS} ON room.tenant_id = weighed.tenant_id
        WHERE {_HAS_ROOM}
    ), plain AS MATERIALIZED (
        SELECT fitting.*, overlap = 'skip' AS is_exclusive,
            CASE WHEN upcoming <= ends_at OR ends_at IS NULL THEN upcoming END AS next_at,
            wanted.id AS run_id
        FROM fitting
        CROSS JOIN LATERAL (SELECT {
    ID_OF_FIRE_TIME.format(
        moment="next_fire_at", tenant_id="tenant_id", task_id="fitting.id"
    )
} AS id OFFSET 0) AS wanted
        WHERE is_undisputed AND CASE
            WHEN once_at IS NOT NULL THEN is_one_off
            WHEN is_one_off THEN false
            WHEN interval_period = 'seconds' AND (interval_every <= 0
                OR extract(epoch FROM next_fire_at - starts_at) %% interval_every <> 0)
                THEN false
            ELSE upcoming > at AND upcoming < '9999-01-01'
                AND (ends_at IS NULL OR at <= ends_at + make_interval(secs => %(end_grace)s))
            END
    ), made AS (
        INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
            wake_at, started_at, lease, exclusive, attempt_count, lost_count)
        SELECT run_id, id, tenant_id, next_fire_at, 'running', '',
            at + make_interval(secs => %(term)s), at, %(lease)s, is_exclusive, 1, 0
        FROM plain
        ON CONFLICT DO NOTHING
        RETURNING id, task_id, scheduled_for
    ), skipped AS (
        INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
            finished_at, exclusive, attempt_count, lost_count, stage)
        SELECT run_id, id, tenant_id, next_fire_at, 'skipped',
            '{run_rows.SKIPPED_REASON}', at, true, 0, 0,
            {stage_in_history("at").replace("scheduled_for", "next_fire_at")}
        FROM plain WHERE is_exclusive
            AND NOT EXISTS (SELECT FROM made WHERE made.task_id = plain.id)
        ON CONFLICT DO NOTHING
        RETURNING task_id
    ), moved AS (
        UPDATE tasks_api_task task SET
            next_fire_at = plain.next_at, last_fire_at = plain.next_fire_at,
            following_fire_times = plain.following_fire_times[2:], pause_reason = ''
        FROM plain LEFT JOIN made ON made.task_id = plain.id
        WHERE task.id = plain.id AND (made.id IS NOT NULL OR plain.is_exclusive)
    )
    SELECT fitting.id IS NOT NULL AND made.id IS NULL AND plain.is_exclusive IS NOT TRUE
            AS is_disputed,
        fitting.id IS NULL AS is_left, skipped.task_id IS NOT NULL AS is_skipped,
        plain.next_at IS NOT NULL AND plain.interval_period IS DISTINCT FROM 'seconds'
            AND plain.following_fire_times[2] IS NULL AS ends_following,
        made.id IS NOT NULL AND NOT plain.is_one_off AS is_recurring,
        {
    claimed_run(
        "plain",
        run_id="made.id",
        task_id="due.id",
        tenant_id="plain.tenant_id",
        scheduled_for="plain.next_fire_at",
        number="1",
        lost_count="0",
        slot="NULL::timestamptz",
        redrive_of="NULL::uuid",
    )
}
    FROM due
    LEFT JOIN fitting ON fitting.id = due.id
    LEFT JOIN plain ON plain.id = due.id
    LEFT JOIN made ON made.task_id = plain.id
    LEFT JOIN skipped ON skipped.task_id = plain.id
"""


def _take_tasks(condition: str, chosen: str = "") -> FromMoment:
    statement = _TAKE_TASKS.replace("{chosen}", chosen).replace("{due}", condition)
    return from_moment(statement, _FIRE_SINCE)


TAKE_EARLIEST_TASKS = _take_tasks(_EARLIEST)
TAKE_SHARES_OF_TASKS = _take_tasks("task.id IN (SELECT id FROM chosen)", _CHOOSE_TASKS)
TAKE_TASK = _take_tasks(f"task.id = %(task)s::uuid AND {_IS_DUE}")

# Locks those of some tasks that are due and not locked, for Python to decide.
LOCK_DUE_TASKS = f"""
    SELECT task.id AS task_id, task.tenant_id, task.periodic_task_id, task.next_fire_at,
        task.last_fire_at, NOT {schedule_statements.IS_UNEDITED} AS is_edited, task.overlap,
        task.misfire, task.catchup_window, task.surface, now() AS now,
        {READ_RUN_KEY} AS run_key, {schedule_statements.COLUMNS}
    FROM tasks_api_task task {schedule_statements.JOINS}
    WHERE task.id = ANY(%(tasks)s::uuid[]) AND task.next_fire_at <= now()
    FOR NO KEY UPDATE OF task SKIP LOCKED
"""

# Writes the new states of tasks that Python decided.
UPDATE_TASKS = """
    UPDATE tasks_api_task task SET
        next_fire_at = move.next_fire_at, last_fire_at = move.last_fire_at,
        following_fire_times = NULL, pause_reason = move.pause_reason
    FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::text[])
        AS move(id, next_fire_at, last_fire_at, pause_reason)
    WHERE task.id = move.id
"""

# Reads the schedules of tasks whose following fire times are to be computed.
READ_UNPLANNED_TASKS = f"""
    SELECT task.id AS task_id, task.next_fire_at, task.version, {schedule_statements.COLUMNS}
    FROM tasks_api_task task {schedule_statements.JOINS}
    WHERE task.id = ANY(%(tasks)s::uuid[]) AND task.next_fire_at IS NOT NULL
        AND {schedule_statements.IS_UNEDITED}
"""

# Writes following fire times, unless the task has changed or fired meanwhile. They are
# written as one text for each task.
WRITE_FOLLOWING = """
    UPDATE tasks_api_task task SET
        following_fire_times = planned.following::timestamptz[],
        following_version = planned.version, following_rules = %s
    FROM unnest(%s::uuid[], %s::timestamptz[], %s::int[], %s::text[])
        AS planned(id, next_fire_at, version, following)
    WHERE task.id = planned.id AND task.version = planned.version
        AND task.next_fire_at = planned.next_fire_at
"""

# Why a run is not sent any more, by its fate.
REASON_OF_END = """
    CASE fate
        WHEN 'removed' THEN 'The task was removed.'
        WHEN 'over' THEN 'The end of the task was moved to before this run.'
        WHEN 'paused' THEN 'The task was paused.'
        WHEN 'replaced' THEN 'The task was replaced.'
        ELSE 'Its worker was lost too often.' END
"""

_CHOOSE_RUNS = """
    chosen AS MATERIALIZED (
        SELECT of_tenant.id
        FROM unnest(%(sharers)s::bigint[], %(shares)s::int[]) AS share(tenant_id, most)
        CROSS JOIN LATERAL (
            SELECT run.id FROM tasks_api_run_live run
            WHERE run.tenant_id = share.tenant_id AND run.wake_at <= now()
                AND run.state IN ('pending', 'retrying') AND NOT run.is_next
                AND run.scheduled_for <= now()
            ORDER BY run.wake_at LIMIT share.most
            FOR UPDATE SKIP LOCKED
        ) AS of_tenant
        LIMIT {limit}
    ),
"""
# A release before makes runs ahead of their moments, and may ask for a look at them.
_RUN_WAITS = """
    run.wake_at <= now() AND run.state IN ('pending', 'retrying') AND NOT run.is_next
        AND run.scheduled_for <= now() {since}
"""

# Takes waiting runs for which there is room: new ones that a user or Python made, and
# those whose retry is due. A run whose task may not be sent any more ends instead, and
# the run of a paused one-off is held. The rows of task and schedule are read now, so
# that a pause, a removal or an end wins.
_TAKE_RUNS = f"""
    WITH {{chosen}} waiting AS MATERIALIZED (
        SELECT run.id, run.task_id, run.tenant_id, run.wake_at, {_FROM_TASK}, {
    _BYTES
} AS bytes, CASE
                WHEN {sending_rules.IS_REMOVED} THEN 'removed'
                WHEN {sending_rules.IS_PAST_END} THEN 'over'
                WHEN {sending_rules.IS_PAUSED} AND NOT periodic.one_off THEN 'paused'
                WHEN {sending_rules.IS_PAUSED} THEN 'held'
                WHEN run.attempt_count > 0 AND task.replaced_at > run.started_at
                    THEN 'replaced'
                ELSE 'ready'
            END AS fate,
            CASE WHEN periodic.enabled AND {sending_rules.IS_SUSPENDED}
                THEN task.owner_id END AS inactive_owner_id
        FROM tasks_api_run_live run {sending_rules.JOINS}
        WHERE {{waits}}
        FOR UPDATE OF run SKIP LOCKED
    ), weighed AS (
        SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY wake_at, id) AS nth,
            sum(bytes) OVER (ORDER BY wake_at, id) - bytes AS before
        FROM waiting
    ), fitting AS MATERIALIZED (
        SELECT weighed.* FROM weighed LEFT JOIN {_ROOMS}
            ON room.tenant_id = weighed.tenant_id
        WHERE fate <> 'ready' OR {_HAS_ROOM}
    ), taken AS (
        UPDATE tasks_api_run_live run SET
            state = CASE fitting.fate WHEN 'ready' THEN 'running' ELSE 'pending' END,
            lease = CASE fitting.fate WHEN 'ready' THEN %(lease)s::uuid END,
            wake_at = now() + CASE fitting.fate
                WHEN 'ready' THEN make_interval(secs => %(term)s) ELSE '30s'::interval END,
            attempt_count = run.attempt_count + (fitting.fate = 'ready')::int,
            started_at = CASE fitting.fate WHEN 'ready' THEN now() ELSE run.started_at END,
            reason = CASE fitting.fate WHEN 'ready' THEN '' ELSE run.reason END
        FROM fitting WHERE run.id = fitting.id AND fitting.fate IN ('ready', 'held')
        RETURNING {claimed_run("fitting")}
    ), ended AS (
        DELETE FROM tasks_api_run_live run USING fitting
        WHERE run.id = fitting.id AND fitting.fate NOT IN ('ready', 'held')
        RETURNING run.*, fitting.fate
    ), history AS ({
    insert_into_history(
        "ended",
        state="'cancelled'",
        reason=REASON_OF_END,
    )
})
    SELECT coalesce(fitting.fate, 'left') AS fate, fitting.inactive_owner_id,
        CASE WHEN fitting.overlap = 'queue_one' THEN fitting.task_id END AS queued_task_id,
        {", ".join(f"taken.{name}" for name in CLAIMED_RUN_COLUMNS)}
    FROM waiting
    LEFT JOIN fitting ON fitting.id = waiting.id
    LEFT JOIN taken ON taken.run_id = waiting.id
"""


def _take_runs(condition: str, chosen: str = "") -> FromMoment:
    statement = _TAKE_RUNS.replace("{chosen}", chosen).replace("{waits}", condition)
    return from_moment(statement, "AND run.wake_at >= %(since)s::timestamptz")


TAKE_EARLIEST_RUNS = _take_runs(f"{_RUN_WAITS} ORDER BY run.wake_at LIMIT {{limit}}")
TAKE_SHARES_OF_RUNS = _take_runs("run.id IN (SELECT id FROM chosen)", _CHOOSE_RUNS)
TAKE_RUNS = _take_runs(f"run.id = ANY(%(runs)s::uuid[]) AND {_RUN_WAITS}")

# Gives back the runs of a statement that may have succeeded though its answer did not
# arrive.
UNDO_TAKE = """
    UPDATE tasks_api_run_live SET state = 'pending', lease = NULL, wake_at = now(),
        attempt_count = attempt_count - 1
    WHERE lease = %s AND state = 'running'
"""

# Says on held runs whether their requests have not begun.
MARK_UNSENT = """
    UPDATE tasks_api_run_live run SET reason = %s
    FROM unnest(%s::uuid[], %s::uuid[]) AS held(id, lease)
    WHERE run.id = held.id AND run.lease = held.lease
"""

# Prolongs leases, and returns the runs that are still under them.
RENEW_LEASES = """
    UPDATE tasks_api_run_live run SET wake_at = now() + make_interval(secs => %s)
    FROM unnest(%s::uuid[], %s::uuid[]) AS held(id, lease)
    WHERE run.id = held.id AND run.lease = held.lease
    RETURNING run.id
"""

# Ends the leases within some bounds, which are those of workers that are gone.
END_LEASES = """
    UPDATE tasks_api_run_live run SET wake_at = now()
    FROM unnest(%s::uuid[], %s::uuid[]) AS gone(first, last)
    WHERE run.state = 'running' AND run.wake_at > now()
        AND run.lease BETWEEN gone.first AND gone.last
"""

# Writes when the schedules of tasks last ran and how often, for the admin to show. A
# one-off is counted when it ends, by the statement that disables it.
COUNT_RUNS = """
    UPDATE django_celery_beat_periodictask periodic SET
        last_run_at = greatest(fired.at, periodic.last_run_at),
        total_run_count = total_run_count + fired.runs
    FROM unnest(%s::uuid[], %s::timestamptz[], %s::int[]) AS fired(task_id, at, runs)
    JOIN tasks_api_task task ON task.id = fired.task_id
    WHERE periodic.id = task.periodic_task_id AND NOT periodic.one_off
"""
