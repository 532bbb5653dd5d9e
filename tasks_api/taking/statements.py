"""The SQL that all of taking shares: fragments, polls, leases and counts.

A statement calls a task `task` and a run `run`.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from accounts.statements import has_delivery_limits
from tasks_api.delivery.request import ClaimedRun


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
    "backfill_id": "run.backfill_id",
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


FROM_TASK = ", ".join(f"task.{name}" for name in TASK_COLUMNS)
# What a run takes up in the memory of its worker, as room.count_bytes() counts it.
BYTES = "octet_length(task.body) + octet_length(task.request) + octet_length(task.url)"
# The places that a worker has for a tenant.
ROOMS = "unnest(%(tenants)s::bigint[], %(places)s::int[]) AS room(tenant_id, places)"
# Where a worker asks for limits, a tenant that has some and is not known has no room: the
# worker asks for them, and takes its rows then. So it need not know all tenants.
HAS_ROOM = f"""
    nth <= coalesce(room.places, %(places_each)s) AND before < %(bytes)s
    AND (room.tenant_id IS NOT NULL OR NOT %(asks)s
        OR {has_delivery_limits("weighed.tenant_id")} IS NULL)
"""


def unknown_tenant(table: str) -> str:
    """The tenant of a row that was left because of that, as SQL over the row."""
    tenant = f"{table}.tenant_id"
    return f"""
        CASE WHEN fitting.id IS NULL AND %(asks)s
            AND {tenant} <> ALL(%(tenants)s::bigint[])
            AND {has_delivery_limits(tenant)} THEN {tenant} END AS unknown_tenant
    """


# The first moment after now at which a task fires, and at which a run is to be taken.
NEXT_FIRE = """
    (SELECT min(next_fire_at) FROM tasks_api_task
        WHERE next_fire_at IS NOT NULL AND next_fire_at > now())
"""
WAITS = "state IN ('pending', 'retrying') AND NOT is_next AND lane_id IS NULL"
NEXT_WAKE = f"""
    (SELECT min(wake_at) FROM tasks_api_run_live WHERE wake_at > now() AND {WAITS})
"""
HAS_WAITING_RUNS = f"""
    coalesce((SELECT min(wake_at) FROM tasks_api_run_live WHERE {WAITS}) <= now(), false)
"""
IN_LANE = "state IN ('pending', 'retrying') AND NOT is_next AND lane_id IS NOT NULL"
HAS_RUNS_IN_LANES = f"""
    (SELECT min(lane_id) FROM tasks_api_run_live WHERE {IN_LANE}) IS NOT NULL
"""

# Finds the first due task, the first waiting run, and the next moment at which one of
# either becomes due. It uses min(), because EXISTS reads the whole table when many rows
# were due at the time of the last ANALYZE. OFFSET 0 keeps PostgreSQL from reading each
# index twice.
FIND_DUE = f"""
    SELECT clock_timestamp() AS now,
        coalesce(fire_at <= now(), false) AS has_due_tasks,
        coalesce(wait_at <= now(), false) AS has_waiting_runs,
        {HAS_RUNS_IN_LANES} AS has_runs_in_lanes,
        CASE WHEN fire_at > now() THEN fire_at ELSE {NEXT_FIRE} END AS next_fire_at,
        CASE WHEN wait_at > now() THEN wait_at ELSE {NEXT_WAKE} END AS next_wake_at,
        least(fire_at, past) AS fire_at, least(wait_at, past) AS wake_at
    FROM (
        SELECT now() - make_interval(secs => %(margin)s) AS past, (
            SELECT min(next_fire_at) FROM tasks_api_task
            WHERE next_fire_at IS NOT NULL AND next_fire_at >= %(fire_at)s::timestamptz
        ) AS fire_at, (
            SELECT min(wake_at) FROM tasks_api_run_live
            WHERE wake_at >= %(wake_at)s::timestamptz AND {WAITS}
        ) AS wait_at
        OFFSET 0
    ) AS first
"""

# Why a run is not sent any more, by its fate.
REASON_OF_END = """
    CASE fate
        WHEN 'removed' THEN 'The task was removed.'
        WHEN 'over' THEN 'The end of the task was moved to before this run.'
        WHEN 'paused' THEN 'The task was paused.'
        WHEN 'replaced' THEN 'The task was replaced.'
        WHEN 'cancelled' THEN 'Cancelled by ' || cancelled_by || '.'
        ELSE 'Its worker was lost too often.' END
"""

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

# Prolongs leases, and returns the runs that are still under them, with the user who
# asked to cancel each.
RENEW_LEASES = """
    UPDATE tasks_api_run_live run SET wake_at = now() + make_interval(secs => %s)
    FROM unnest(%s::uuid[], %s::uuid[]) AS held(id, lease)
    WHERE run.id = held.id AND run.lease = held.lease
    RETURNING run.id, run.cancelled_by
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
