"""The SQL of the hourly rollups: count runs, and find the hours that can be closed."""

from __future__ import annotations

from typing import NamedTuple

from tasks_api.domain.states import UNDELIVERED_STATES
from tasks_api.domain.tallies import LATE_BOUNDS
from tasks_api.storage.group_statements import (
    group_crons,
    group_intervals,
    group_on_calendars,
)
from tasks_api.storage.turn_statements import tenants_with_rows

_UNDELIVERED = ", ".join(f"'{state.value}'" for state in sorted(UNDELIVERED_STATES))
_BOUNDS = ", ".join(map(str, LATE_BOUNDS))
# Less than the time for which an hour stays open after its end.
MIN_LATENESS = "1 minute"


def hour_of(moment: str) -> str:
    return f"date_trunc('hour', {moment}, 'UTC')"


class RunGroup(NamedTuple):
    """Runs of an hour that count for the same sums."""

    owner_id: int
    state: str
    by_hand: bool
    is_one_time: bool
    # The bucket of the lateness of a request that was the only one of its run.
    late: int | None
    # Empty for runs that were delivered or are unfinished.
    reason: str
    size: int


# Whether a run is unfinished, in an index of the few runs that are.
IS_UNFINISHED = "run.stage = 'live' AND run.wake_at IS NOT NULL"
# The runs with ids of a range of fire times: an id begins with its fire time.
HAS_ID_IN_RANGE = "run.id >= %(first_id)s::uuid AND run.id < %(until_id)s::uuid"

_MILLISECONDS_LATE = (
    "(extract(epoch FROM run.started_at - run.scheduled_for) * 1000)::float8"
)
# The reason of a run as the sums name it: cut off before what differs from run to run.
REASON_OF_RUN = """
    CASE WHEN run.covers_until IS NOT NULL THEN 'Passed while nobody could fire it'
        ELSE left(split_part(run.reason, ';', 1), 100) END
"""
# The columns of RunGroup but for the size, as SQL over a run.
_RUN_COLUMNS = f"""
    CASE WHEN run.state IN ('succeeded', 'failed') AND run.attempt_count = 1
            AND NOT run.by_hand AND run.started_at IS NOT NULL
        THEN width_bucket({_MILLISECONDS_LATE}, ARRAY[{_BOUNDS}]::float8[])
        END AS late,
    CASE WHEN run.state IN ({_UNDELIVERED}) THEN {REASON_OF_RUN} ELSE '' END AS reason
"""
# The same over a run and its task.
RUN_GROUP = f"""
    task.owner_id, run.state, run.by_hand,
    task.is_one_off AND NOT run.by_hand AS is_one_time, {_RUN_COLUMNS}
"""
# The same without the task, for all users together and without what was planned.
RUN_GROUP_OF_TENANT = f"""
    0 AS owner_id, run.state, run.by_hand, false AS is_one_time, {_RUN_COLUMNS}
"""
_RUNS_AND_TASKS = """
    FROM tasks_api_run run JOIN tasks_api_task task
        ON task.id = run.task_id AND task.surface <> 'notices'
"""

_IN_HOURS = f"""
    run.tenant_id = %(tenant)s AND {HAS_ID_IN_RANGE}
    AND run.scheduled_for >= %(first)s::timestamptz
    AND run.scheduled_for < %(until)s::timestamptz
"""
_HOUR = hour_of("run.scheduled_for")
# Counts the runs of hours that are over, and notes those that are not as late. It is
# one statement, so that no run finishes between the two.
CLOSE_HOURS = f"""
    WITH late AS (
        INSERT INTO tasks_api_laterun (run_id, task_id, tenant_id, hour)
        SELECT run.id, run.task_id, run.tenant_id, {_HOUR}
        {_RUNS_AND_TASKS} WHERE {_IN_HOURS} AND {IS_UNFINISHED}
        ON CONFLICT (run_id) DO NOTHING
    )
    SELECT {_HOUR} AS hour, {RUN_GROUP}, count(*) AS size
    {_RUNS_AND_TASKS} WHERE {_IN_HOURS} AND run.finished_at IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5, 6, 7
"""

# Forgets the late runs of an hour, before it is counted again.
FORGET_LATE_RUNS = """
    DELETE FROM tasks_api_laterun WHERE tenant_id = %(tenant)s AND hour = %(hour)s
"""

# Marks late runs of a tenant that are over, or were deleted, as counted, and counts
# them by hour.
COUNT_LATE_RUNS = f"""
    WITH late AS MATERIALIZED (
        SELECT late.run_id FROM tasks_api_laterun late
        LEFT JOIN tasks_api_run run ON run.id = late.run_id
        WHERE late.tenant_id = %(tenant)s AND late.counted_at IS NULL
            AND (run.id IS NULL OR run.finished_at IS NOT NULL)
        LIMIT %(limit)s
    ), counted AS (
        UPDATE tasks_api_laterun late SET counted_at = now()
        WHERE late.run_id IN (SELECT run_id FROM late) AND late.counted_at IS NULL
        RETURNING late.run_id, late.hour
    )
    SELECT counted.hour, {RUN_GROUP}, count(*) AS size
    FROM counted JOIN tasks_api_run run ON run.id = counted.run_id
        JOIN tasks_api_task task ON task.id = run.task_id
    GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
FIND_TENANTS_WITH_LATE_RUNS = f"""
    WITH RECURSIVE {tenants_with_rows("tasks_api_laterun WHERE counted_at IS NULL")}
    SELECT id FROM seen
"""

# Finds tenants that are newer than all whose runs are counted.
FIND_NEWER_TENANTS = """
    SELECT id FROM accounts_tenant
    WHERE id > coalesce((SELECT max(tenant_id) FROM tasks_api_rollupprogress), 0)
    ORDER BY id LIMIT %(most)s
"""
# Finds the tenants of a turn, and whether their runs are not counted yet. The range keeps
# PostgreSQL from reading the progress of all tenants.
FIND_TENANTS_TO_BEGIN = """
    WITH seen AS MATERIALIZED (
        SELECT id FROM accounts_tenant WHERE id > %(after)s ORDER BY id LIMIT %(most)s
    )
    SELECT id, id NOT IN (
        SELECT tenant_id FROM tasks_api_rollupprogress
        WHERE tenant_id > %(after)s AND tenant_id <= (SELECT max(id) FROM seen)
    ) AS is_new
    FROM seen
"""
# The waiting runs of a tenant that are looked at. Other live runs are in no index by
# tenant, and those of a tenant that has just come are of the hours since then.
_MAX_WAITING = 100
_FIRST_FIRE_TIME = f"""
    coalesce(least(
        CASE WHEN new.created_at > %(now)s::timestamptz - '1 day'::interval
            THEN new.created_at END,
        (SELECT min(next_fire_at) FROM tasks_api_task task
            WHERE task.tenant_id = new.id AND task.next_fire_at IS NOT NULL),
        (SELECT min(scheduled_for) FROM (
            SELECT run.scheduled_for FROM tasks_api_run_live run
            WHERE run.tenant_id = new.id AND run.state IN ('pending', 'retrying')
                AND NOT run.is_next AND run.lane_id IS NULL
            ORDER BY run.wake_at LIMIT {_MAX_WAITING}) AS waiting),
        (SELECT run.scheduled_for FROM tasks_api_run run
            WHERE run.tenant_id = new.id AND run.stage <> 'live'
            ORDER BY run.scheduled_for LIMIT 1)), %(now)s::timestamptz)
"""
_KEPT_SINCE = """
    %(now)s::timestamptz - make_interval(days => coalesce(new.retention_days, %(days)s))
"""
_FIRST_MOMENT = (
    f"least(%(now)s::timestamptz, greatest({_KEPT_SINCE}, {_FIRST_FIRE_TIME}))"
)
# Begins to count the runs of some tenants, from the hour of their first fire time that
# retention keeps for long enough. It looks into each partition of history for each of them.
BEGIN_ROLLUPS = f"""
    INSERT INTO tasks_api_rollupprogress
        (tenant_id, closed_from, closed_until, ended_until)
    SELECT new.id, first.hour, first.hour, %(now)s::timestamptz
    FROM accounts_tenant new
    CROSS JOIN LATERAL (SELECT {hour_of(_FIRST_MOMENT)} AS hour) AS first
    WHERE new.id = ANY(%(tenants)s::bigint[])
    ON CONFLICT DO NOTHING
"""
# The fire times of a frozen tenant get their runs where it moves.
_IS_AT_HOME = """
    tenant_id <> ALL(ARRAY(SELECT id FROM accounts_tenant WHERE frozen_at IS NOT NULL))
"""
# Finds tenants with an hour that is over, those that are furthest behind first. Where a task
# is due, the hour stays open, so a look at the tenant would be for nothing.
FIND_TENANTS_TO_CLOSE = f"""
    WITH behind AS MATERIALIZED (
        SELECT tenant_id, closed_until FROM tasks_api_rollupprogress
        WHERE closed_until < {hour_of("%(now)s::timestamptz - %(margin)s::interval")}
            AND {_IS_AT_HOME}
        ORDER BY closed_until LIMIT %(most)s
    )
    SELECT tenant_id FROM behind CROSS JOIN LATERAL (
        SELECT min(next_fire_at) AS at FROM tasks_api_task task
        WHERE task.tenant_id = behind.tenant_id AND next_fire_at IS NOT NULL
    ) AS first
    WHERE first.at IS NULL OR first.at >= closed_until + '1 hour'::interval
    ORDER BY closed_until
"""
# How long the oldest hour that is over has waited to be closed.
READ_LAG = f"""
    SELECT coalesce(extract(epoch FROM
        {hour_of("%(now)s::timestamptz - %(margin)s::interval")} - min(closed_until)),
        0)::float
    FROM tasks_api_rollupprogress WHERE {_IS_AT_HOME}
"""
# Finds the hours of a tenant that can be closed: all of their fire times have runs. A
# task that is due, or a change that is open, has fire times without runs.
FIND_OPEN_HOURS = f"""
    SELECT closed_until, {
    hour_of('''
        least(%(now)s::timestamptz - %(margin)s::interval,
            (SELECT min(next_fire_at) FROM tasks_api_task
             WHERE tenant_id = %(tenant)s AND next_fire_at IS NOT NULL),
            (SELECT min(change.open_from) FROM tasks_api_schedulechange change
             JOIN tasks_api_task task ON task.id = change.task_id
             WHERE change.open_from IS NOT NULL AND task.tenant_id = %(tenant)s))
    ''')
} AS until
    FROM tasks_api_rollupprogress WHERE tenant_id = %(tenant)s
"""
_FIRST_OPEN = """
    (SELECT min(change.open_from) FROM tasks_api_schedulechange change
        JOIN tasks_api_task task ON task.id = change.task_id
        WHERE change.open_from IS NOT NULL AND task.tenant_id = progress.tenant_id)
"""
FIND_TENANTS_WITH_REOPENED_HOURS = f"""
    WITH RECURSIVE {tenants_with_rows("tasks_api_reopenedhours WHERE true")}
    SELECT id FROM seen
"""
# Has hours of a tenant counted again.
REOPEN_HOURS = """
    INSERT INTO tasks_api_reopenedhours (tenant_id, since, until)
    SELECT %(tenant)s, hour, hour FROM unnest(%(hours)s::timestamptz[]) AS late(hour)
"""
# Finds the closed hours of a tenant that are to be counted again and have all of their
# runs, at most so many in a row and the oldest first.
FIND_REOPENED_HOURS = f"""
    SELECT first.hour, least(first.hour + make_interval(hours => %(most)s),
        {hour_of("reopened.until")} + '1 hour'::interval, progress.closed_until,
        {hour_of(_FIRST_OPEN)}) AS until
    FROM tasks_api_rollupprogress progress CROSS JOIN LATERAL (
        SELECT since, until FROM tasks_api_reopenedhours
        WHERE tenant_id = progress.tenant_id ORDER BY since LIMIT 1
    ) AS reopened CROSS JOIN LATERAL (
        SELECT greatest({hour_of("reopened.since")}, progress.closed_from) AS hour
    ) AS first
    WHERE progress.tenant_id = %(tenant)s
"""
# Marks the reopened hours of a tenant before a moment as counted.
ADVANCE_REOPENED_HOURS = """
    WITH gone AS (
        DELETE FROM tasks_api_reopenedhours
        WHERE tenant_id = %(tenant)s AND until < %(until)s::timestamptz
    )
    UPDATE tasks_api_reopenedhours SET since = %(until)s::timestamptz
    WHERE tenant_id = %(tenant)s AND since < %(until)s::timestamptz
        AND until >= %(until)s::timestamptz
"""
# A one-time task that ended so long after its moment that the hour of it may be closed.
IS_ENDED_LATE = f"""
    is_one_off AND ended_at - coalesce(once_at, last_fire_at) > '{MIN_LATENESS}'::interval
"""
_LATE_TASKS = f"""
    SELECT id, tenant_id, ended_at, coalesce(once_at, last_fire_at) AS at
    FROM tasks_api_task WHERE {IS_ENDED_LATE} AND surface <> 'notices'
"""
# Finds closed hours with runs that were made after they were closed: those of one-time
# tasks whose moment had passed when somebody created or resumed them.
FIND_LATE_HOURS = f"""
    SELECT DISTINCT progress.tenant_id, {hour_of("task.at")} AS hour
    FROM (
        {_LATE_TASKS}
            AND ended_at >= (
                SELECT ended_until FROM tasks_api_rollupsearch) - '30 seconds'::interval
    ) task JOIN tasks_api_rollupprogress progress ON progress.tenant_id = task.tenant_id
    WHERE task.at >= progress.closed_from AND task.at < progress.closed_until
        AND NOT EXISTS (
            SELECT FROM tasks_api_laterun late WHERE late.task_id = task.id)
"""
# Has such hours of a tenant that came from another database counted again: the search there
# may not have found them yet. It had found all those that ended before the last closed hour.
REOPEN_LATE_HOURS = f"""
    INSERT INTO tasks_api_reopenedhours (tenant_id, since, until)
    SELECT DISTINCT progress.tenant_id, {hour_of("task.at")}, {hour_of("task.at")}
    FROM tasks_api_rollupprogress progress JOIN (
        {_LATE_TASKS} AND tenant_id = %(tenant)s
    ) task ON task.tenant_id = progress.tenant_id
    WHERE task.ended_at >= progress.closed_until
        AND task.at >= progress.closed_from AND task.at < progress.closed_until
"""
# Begins the search for these tasks, where the release before has left off.
BEGIN_SEARCH = """
    INSERT INTO tasks_api_rollupsearch (id, ended_until)
    SELECT 1, coalesce((SELECT min(ended_until) FROM tasks_api_rollupprogress), %(now)s)
    WHERE NOT EXISTS (SELECT FROM tasks_api_rollupsearch)
    ON CONFLICT DO NOTHING
"""
# Marks the tasks that ended before a moment as searched.
ADVANCE_SEARCH = """
    UPDATE tasks_api_rollupsearch SET ended_until = %(now)s WHERE ended_until < %(now)s
"""

# Reads the sums of users in an hour, or of a user in all hours.
READ_ROLLUPS = """
    SELECT owner_id, hour, counts::text FROM tasks_api_hourrollup
    WHERE tenant_id = %(tenant)s
        AND (%(owners)s::bigint[] IS NULL OR owner_id = ANY(%(owners)s::bigint[]))
        AND (%(hours)s::timestamptz[] IS NULL OR hour = ANY(%(hours)s::timestamptz[]))
"""
WRITE_ROLLUPS = """
    INSERT INTO tasks_api_hourrollup (tenant_id, owner_id, hour, counts)
    SELECT %s, owner_id, hour, counts::jsonb
    FROM unnest(%s::bigint[], %s::timestamptz[], %s::text[]) AS new(owner_id, hour, counts)
    ON CONFLICT (tenant_id, owner_id, hour) DO UPDATE SET counts = excluded.counts
"""
DELETE_ROLLUPS_OF_OWNER = """
    DELETE FROM tasks_api_hourrollup WHERE tenant_id = %s AND owner_id = %s
"""
ADVANCE_PROGRESS = """
    UPDATE tasks_api_rollupprogress SET closed_until = %s WHERE tenant_id = %s
"""

# Delete sums that are older than the runs that retention keeps, and late runs that were
# counted a day ago.
DELETE_OLD_ROLLUPS = """
    WITH seen AS MATERIALIZED (
        SELECT tenant_id AS id FROM tasks_api_rollupprogress
        WHERE tenant_id > %(after)s ORDER BY tenant_id LIMIT %(most)s
    ), old AS MATERIALIZED (
        SELECT rollup.id FROM seen JOIN accounts_tenant tenant ON tenant.id = seen.id
        CROSS JOIN LATERAL (
            SELECT id FROM tasks_api_hourrollup
            WHERE tenant_id = tenant.id AND hour < %(now)s::timestamptz
                - make_interval(days => coalesce(tenant.retention_days, %(days)s), hours => 1)
            LIMIT %(limit)s
        ) rollup LIMIT 10 * %(limit)s
    ), gone AS (
        DELETE FROM tasks_api_hourrollup WHERE id = ANY(ARRAY(SELECT id FROM old))
    )
    SELECT id FROM seen
"""
DELETE_OLD_LATE_RUNS = """
    DELETE FROM tasks_api_laterun
    WHERE run_id IN (
        SELECT run_id FROM tasks_api_laterun
        WHERE counted_at < %(now)s::timestamptz - '1 day'::interval LIMIT %(limit)s)
"""

# The tasks whose one schedule held from `first` on, or since they were created. Those
# of one-offs are counted by their runs.
_IS_PLAIN = """
    NOT task.is_one_off AND NOT task.is_paused AND NOT EXISTS (
        SELECT FROM tasks_api_schedulechange change
        WHERE change.task_id = task.id AND change.at >= %(first)s::timestamptz)
"""
_LIVING = f"""
    FROM tasks_api_task task
    WHERE task.owner_id = %(owner)s AND task.surface = %(surface)s
        AND task.ended_at IS NULL AND task.tenant_id = %(tenant)s
        AND task.id > %(after)s::uuid AND task.id <= %(until)s::uuid AND {_IS_PLAIN}
"""
_ENDED = f"""
    FROM tasks_api_task task
    WHERE task.tenant_id = %(tenant)s AND task.ended_at >= %(first)s::timestamptz
        AND {_IS_PLAIN} AND task.surface <> 'notices'
"""
_BY_OWNER = {"owner_id": "task.owner_id"}
# Group the recurring tasks that have not changed, a page of a user's living ones and
# all that have ended since.
LIVING_INTERVALS = group_intervals(_BY_OWNER, _LIVING)
LIVING_CRONS = group_crons(_BY_OWNER, _LIVING)
ENDED_INTERVALS = group_intervals(_BY_OWNER, _ENDED)
ENDED_CRONS = group_crons(_BY_OWNER, _ENDED)
LIVING_ON_CALENDARS = group_on_calendars(_BY_OWNER, _LIVING)
ENDED_ON_CALENDARS = group_on_calendars(_BY_OWNER, _ENDED)
# Finds the users and surfaces with living tasks, from the first task of each.
FIND_USED_SURFACES = """
    SELECT owner.id, surface.name
    FROM unnest(%(owners)s::bigint[]) AS owner(id)
    CROSS JOIN unnest(%(surfaces)s::text[]) AS surface(name)
    CROSS JOIN LATERAL (
        SELECT FROM tasks_api_task task
        WHERE task.owner_id = owner.id AND task.surface = surface.name
            AND task.ended_at IS NULL
        LIMIT 1
    ) AS first
"""
# Finds the last task of a page.
FIND_PAGE_END = """
    SELECT id FROM tasks_api_task
    WHERE owner_id = %(owner)s AND surface = %(surface)s AND ended_at IS NULL
        AND id > %(after)s::uuid
    ORDER BY id OFFSET %(size)s - 1 LIMIT 1
"""
# Finds the recurring tasks whose schedules changed in or after a window.
FIND_CHANGED_TASKS = """
    SELECT DISTINCT task.id FROM tasks_api_schedulechange change
    JOIN tasks_api_task task ON task.id = change.task_id
    WHERE change.at >= %(first)s::timestamptz AND task.tenant_id = %(tenant)s
        AND NOT task.is_one_off AND task.surface <> 'notices'
"""
# Finds the fire times that one run covers with its own, task by task.
FIND_COVERED_RANGES = """
    SELECT run.task_id, run.scheduled_for, run.covers_until
    FROM tasks_api_run run
    WHERE run.tenant_id = %(tenant)s AND run.covers_until IS NOT NULL
        AND run.covers_until >= %(first)s::timestamptz
        AND run.scheduled_for <= %(last)s::timestamptz
"""
