"""The SQL that takes due tasks, and plans their following fire times."""

from __future__ import annotations

from typing import NamedTuple

from tasks_api.storage import (
    run_rows,
    schedule_statements,
    sending_rules,
)
from tasks_api.storage.calendar_rules import HOLD_MARK
from tasks_api.storage.id_statements import ID_OF_FIRE_TIME, READ_RUN_KEY
from tasks_api.storage.run_statements import stage_in_history
from tasks_api.taking.lane_statements import WAITING_REASON
from tasks_api.taking.statements import (
    BYTES,
    FROM_TASK,
    HAS_ROOM,
    HAS_RUNS_IN_LANES,
    HAS_WAITING_RUNS,
    NEXT_FIRE,
    NEXT_WAKE,
    ROOMS,
    FromMoment,
    claimed_run,
    from_moment,
    unknown_tenant,
)

_IS_DUE = "task.next_fire_at <= now() {since}"
_FIRE_SINCE = "AND task.next_fire_at >= %(since)s::timestamptz"
_EARLIEST = f"{_IS_DUE} ORDER BY task.next_fire_at LIMIT {{limit}}"

# Finds due tasks, earliest first, also tasks that another worker has locked.
FIND_DUE_TASKS = f"SELECT task.id FROM tasks_api_task task WHERE {_EARLIEST}".replace(
    "{since}", ""
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
            task.calendars,
            periodic.one_off AS is_one_off, clocked.clocked_time AS once_at,
            every.every AS interval_every,
            -- An interval that stands in for rules is not followed.
            CASE task.rules WHEN '' THEN every.period END AS interval_period,
            coalesce(periodic.start_time, task.created_at) AS starts_at,
            periodic.expires AS ends_at, now() AS at, {READ_RUN_KEY} AS run_key,
            {FROM_TASK}, {BYTES} AS bytes,
            task.overlap IN ('allow', 'skip')
                -- A fire time within the catch-up window needs no decision.
                AND task.next_fire_at >= now() - make_interval(secs => CASE
                    WHEN task.misfire = 'skip' THEN 1 ELSE task.catchup_window END)
                    IS NOT false
                AND NOT {sending_rules.IS_SUSPENDED}
                -- A quota or a bound may make its run wait.
                AND task.bounds_id IS NULL
                AND task.tenant_id <> ALL(%(over_quota)s::bigint[])
                -- Python knows whether a calendar holds runs back.
                AND strpos(task.calendars, '{HOLD_MARK}') = 0
                -- A fire time that is repeated may have a run in history.
                AND (task.last_fire_at IS NULL OR task.next_fire_at > task.last_fire_at)
                -- Python counts the runs of a task that may make so many only.
                AND task.max_runs IS NULL
                AND {schedule_statements.IS_UNEDITED} {{undisputed}} AS is_undisputed
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
            WHEN interval_period = 'seconds' AND calendars = ''
                THEN next_fire_at + make_interval(secs => interval_every)
            WHEN following_version = version AND following_rules = %(rules)s
                THEN following_fire_times[1]
            END AS upcoming
        FROM weighed LEFT JOIN {ROOMS} ON room.tenant_id = weighed.tenant_id
        WHERE {HAS_ROOM}
    ), plain AS MATERIALIZED (
        SELECT fitting.*, overlap = 'skip' AS is_exclusive,
            CASE WHEN upcoming <= ends_at OR ends_at IS NULL THEN upcoming END AS next_at,
            wanted.id AS run_id {{turn}}
        FROM fitting
        CROSS JOIN LATERAL (SELECT {
    ID_OF_FIRE_TIME.format(
        moment="next_fire_at", tenant_id="tenant_id", task_id="fitting.id"
    )
} AS id OFFSET 0) AS wanted
        WHERE is_undisputed AND CASE
            WHEN once_at IS NOT NULL THEN is_one_off
            WHEN is_one_off THEN false
            WHEN interval_period = 'seconds' AND calendars = '' AND (interval_every <= 0
                OR extract(epoch FROM next_fire_at - starts_at) %% interval_every <> 0)
                THEN false
            ELSE upcoming > at AND upcoming < '9999-01-01'
                AND (ends_at IS NULL OR at <= ends_at + make_interval(secs => %(end_grace)s))
            END
    ), made AS (
        {{made}}
        ON CONFLICT DO NOTHING
        RETURNING id, task_id, scheduled_for, lease
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
        plain.next_at IS NOT NULL AND plain.following_fire_times[2] IS NULL
            AND (plain.interval_period IS DISTINCT FROM 'seconds' OR plain.calendars <> '')
            AS ends_following,
        made.id IS NOT NULL AND NOT plain.is_one_off AS is_recurring,
        made.id IS NOT NULL AND made.lease IS NULL AS is_waiting, due.lane_id AS lane,
        {unknown_tenant("due")},
        {
    claimed_run(
        "plain",
        run_id="CASE WHEN made.lease IS NOT NULL THEN made.id END",
        task_id="due.id",
        tenant_id="plain.tenant_id",
        scheduled_for="plain.next_fire_at",
        number="1",
        lost_count="0",
        slot="NULL::timestamptz",
        redrive_of="NULL::uuid",
        backfill_id="NULL::uuid",
    )
}
        {{seen}}
    FROM due
    LEFT JOIN fitting ON fitting.id = due.id
    LEFT JOIN plain ON plain.id = due.id
    LEFT JOIN made ON made.task_id = plain.id
    LEFT JOIN skipped ON skipped.task_id = plain.id
"""


# A plain task has no lane: in a lane, it may have to wait.
_IS_UNLANED = "AND task.lane_id IS NULL"
# Makes a running run of each plain task.
_MAKE_RUNNING = """
    INSERT INTO tasks_api_run_live (id, task_id, tenant_id, scheduled_for, state, reason,
        wake_at, started_at, lease, exclusive, attempt_count, lost_count)
    SELECT run_id, id, tenant_id, next_fire_at, 'running', '',
        at + make_interval(secs => %(term)s), at, %(lease)s, is_exclusive, 1, 0
    FROM plain
"""

# What there is to do after these tasks, as FIND_DUE says it. A task may fire again before
# all others do.
_SEEN = f"""
    , clock_timestamp() AS now, {HAS_WAITING_RUNS} AS has_waiting_runs,
    {HAS_RUNS_IN_LANES} AS has_runs_in_lanes,
    least({NEXT_FIRE}, (SELECT min(next_at) FROM plain)) AS next_fire_at,
    {NEXT_WAKE} AS next_wake_at
"""


# Makes a run of each plain task. In a lane, the first ones get its slots, and the others
# wait.
_MAKE_IN_LANES = f"""
    INSERT INTO tasks_api_run_live (id, task_id, tenant_id, scheduled_for, state, reason,
        wake_at, started_at, lease, exclusive, attempt_count, lost_count, lane_id)
    SELECT run_id, plain.id, plain.tenant_id, next_fire_at,
        CASE WHEN starts THEN 'running' ELSE 'pending' END,
        CASE WHEN starts THEN '' ELSE {WAITING_REASON} END,
        CASE WHEN starts THEN at + make_interval(secs => %(term)s)
            ELSE coalesce(slots.line_begins_at, lane.line_ends_at, at)
                + make_interval(secs => coalesce(slots.spacing, 0)
                    * (turn - coalesce(slots.count, 0) - 1)) END,
        CASE WHEN starts THEN at END, CASE WHEN starts THEN %(lease)s::uuid END,
        is_exclusive, starts::int, 0, plain.lane_id
    FROM plain
    LEFT JOIN unnest(%(lanes)s::bigint[], %(slots)s::int[], %(lines)s::timestamptz[],
        %(spacings)s::float[]) AS slots(lane_id, count, line_begins_at, spacing)
        ON slots.lane_id = plain.lane_id
    LEFT JOIN tasks_api_lane lane ON lane.id = plain.lane_id AND turn > slots.count
    CROSS JOIN LATERAL (
        SELECT plain.lane_id IS NULL OR turn <= coalesce(slots.count, 0) AS starts
    ) AS admission
"""
_TURN = """
    , row_number() OVER (PARTITION BY lane_id ORDER BY next_fire_at, fitting.id) AS turn
"""
# A task whose lane is not among those that were locked is left for another statement.
_IS_IN_LANE = "AND (task.lane_id IS NULL OR task.lane_id = ANY(%(lanes)s::bigint[]))"


class TakeStatements(NamedTuple):
    """The ways to find tasks. `look` says in each row what there is to do after them."""

    earliest: FromMoment
    look: FromMoment
    shares: FromMoment
    one: FromMoment


def _take_tasks(condition: str, *, in_lanes: bool, **parts: str) -> FromMoment:
    makes = {
        "undisputed": _IS_IN_LANE if in_lanes else _IS_UNLANED,
        "turn": _TURN if in_lanes else "",
        "made": _MAKE_IN_LANES if in_lanes else _MAKE_RUNNING,
    }
    statement = _TAKE_TASKS
    for name, part in {"chosen": "", "seen": "", **makes, **parts}.items():
        statement = statement.replace(f"{{{name}}}", part)
    return from_moment(statement.replace("{due}", condition), _FIRE_SINCE)


def _take_statements(*, in_lanes: bool) -> TakeStatements:
    return TakeStatements(
        earliest=_take_tasks(_EARLIEST, in_lanes=in_lanes),
        look=_take_tasks(_EARLIEST, in_lanes=in_lanes, seen=_SEEN),
        shares=_take_tasks(
            "task.id IN (SELECT id FROM chosen)",
            in_lanes=in_lanes,
            chosen=_CHOOSE_TASKS,
        ),
        one=_take_tasks(f"task.id = %(task)s::uuid AND {_IS_DUE}", in_lanes=in_lanes),
    )


# Without lanes, and with the slots of some lanes.
TAKE_TASKS = _take_statements(in_lanes=False)
TAKE_TASKS_IN_LANES = _take_statements(in_lanes=True)
# Takes some tasks with lanes.
TAKE_THESE_TASKS = _take_tasks(
    f"task.id = ANY(%(tasks)s::uuid[]) AND {_IS_DUE}", in_lanes=True
).beginning

# Locks those of some tasks that are due and not locked, for Python to decide.
LOCK_DUE_TASKS = f"""
    SELECT task.id AS task_id, task.tenant_id, task.periodic_task_id, task.next_fire_at,
        task.last_fire_at, NOT {schedule_statements.IS_UNEDITED} AS is_edited, task.overlap,
        task.misfire, task.catchup_window, task.surface, task.bounds_id, task.max_runs,
        task.runs_made, now() AS now,
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
