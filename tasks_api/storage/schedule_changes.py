"""Remember each change of a task's schedule, and settle the fire times that it cut off.

Whoever changes when a task fires calls `close` first, in the same transaction and with
the task locked. So the account of a task can be computed for any time, and no fire time
that has passed is without a run, also where no beat was alive to make one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.ids import READ_RUN_KEY, free_id, id_of_fire_time
from tasks_api.domain.schedules import (
    FireTimeCrowd,
    Schedule,
    find_crowd,
    first_after,
)
from tasks_api.domain.specs import Misfire
from tasks_api.domain.states import RunState
from tasks_api.metrics import counters
from tasks_api.models import ScheduleChange
from tasks_api.storage import stored_schedules
from tasks_api.storage.stored_schedules import (
    SCHEDULE_COLUMNS,
    StoredSchedule,
    fetch_with_schedule,
)

ChangeKind = ScheduleChange.ChangeKind
logger = logging.getLogger(__name__)

# Rows of runs in one transaction, and changes looked at in it.
BATCH_SIZE = 1000
MAX_CHANGES = 100
# Seconds of computing in it.
TIME_TO_COMPUTE = 0.25

MISSED = "Passed while nobody could fire it."
# What became of the newest fire time, which would have been sent if a beat had come by.
# After an end, or with a schedule that cannot be computed, it would not.
CANCELLED = {
    ChangeKind.PAUSED: "The task was paused before anybody fired it.",
    ChangeKind.EDITED: "The schedule was changed before anybody fired it.",
    ChangeKind.REPLACED: "The task was replaced before anybody fired it.",
    ChangeKind.REMOVED: "The task was removed before anybody fired it.",
}


def record_change(
    task_ids: Collection[UUID], what: ScheduleChange.ChangeKind
) -> datetime:
    """End the schedules that tasks have; returns the moment, by the database's clock.

    Fire times up to that moment are the old schedule's, and what comes next is the first
    one after it. Runs that were dispatched ahead of the moment are taken back; they are
    locked before the clock is read, so none begins in between. A one-off waits through a
    pause, its run included, and takes its moment along through an edit.

    The tasks must be locked, and the change must follow in the same transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, {"tasks": array(task_ids), "what": what})
        moment: datetime = cursor.fetchone()[0]
    return moment


_NAMES = ", ".join(SCHEDULE_COLUMNS)
# An end needs a row only for what is open: otherwise the task itself says all of it.
_CLOSE = f"""
    WITH closed AS MATERIALIZED (
        SELECT id, {_NAMES},
            -- A one-off that waits in a pause has none, and its moment all the same.
            CASE WHEN %(what)s = 'removed' AND last_fire_at IS NULL
                    AND is_paused AND is_one_off
                THEN once_at ELSE next_fire_at END AS next_fire_at,
            %(what)s IN ('removed', 'over') OR NOT is_one_off AS is_cut_off
        FROM tasks_api_task WHERE id = ANY(%(tasks)s::uuid[])
    ), ahead AS MATERIALIZED (
        SELECT run.id FROM tasks_api_run run JOIN closed ON closed.id = run.task_id
        WHERE closed.is_cut_off AND run.state = 'pending' AND run.scheduled_for > now()
            AND NOT run.by_hand
        FOR UPDATE OF run
    ), moment AS MATERIALIZED (
        SELECT count(*) AS runs, clock_timestamp() AS at FROM ahead
    ), taken_back AS (
        DELETE FROM tasks_api_run run USING moment
        WHERE run.id IN (SELECT id FROM ahead) AND run.scheduled_for > moment.at
    ), noted AS (
        INSERT INTO tasks_api_schedulechange (task_id, at, what, {_NAMES}, open_from)
        SELECT id, at, %(what)s, {_NAMES}, open_from
        FROM moment, closed, LATERAL (SELECT CASE WHEN is_cut_off AND next_fire_at <= at
            THEN next_fire_at END AS open_from) AS cut_off
        WHERE %(what)s NOT IN ('removed', 'over') OR open_from IS NOT NULL
    )
    SELECT at FROM moment
"""  # noqa: S608 (names of columns)


class _OpenChange(NamedTuple):
    """A change that cut off fire times."""

    id: int
    task_id: UUID
    tenant_id: int
    at: datetime
    what: str
    open_from: datetime
    misfire: str
    run_key: bytes
    stored: StoredSchedule

    def schedule(self) -> Schedule:
        return stored_schedules.to_schedule(self.stored)


class _PassedFireTime(NamedTuple):
    """A fire time's row; the order is that of _SETTLE's columns."""

    run_id: UUID
    task_id: UUID
    tenant_id: int
    scheduled_for: datetime
    state: str
    reason: str
    covers_until: datetime | None = None


@transaction.atomic(durable=True)
def settle_open_changes(*, limit: int = BATCH_SIZE, since: int | None = None) -> bool:
    """Write down what became of fire times that a change cut off; True for more to do.

    As if a beat had come by right before the change: the older ones are missed, and the
    newest is cancelled by the change. Any number of processes may do so at once. Changes
    whose id is less than `since` are left alone.
    """
    with prepared() as cursor:
        begin = "" if since is None else "AND change.id >= %(since)s::bigint"
        cursor.execute(_OPEN.replace("{since}", begin), {"since": since})
        rows = fetch_with_schedule(cursor, _OpenChange)
    if not rows:
        return False
    until = time.thread_time() + TIME_TO_COMPUTE
    runs: list[_PassedFireTime] = []
    left: list[tuple[int, datetime | None]] = []
    for change in rows:
        if left and (len(runs) >= limit or time.thread_time() > until):
            break
        left.append((change.id, _settle_change(change, runs, until, limit=limit)))
    _insert_runs(runs)
    with prepared() as cursor:
        cursor.execute(_LEFT, columns(left))
    is_whole = len(left) == len(rows) and left[-1][1] is None
    return not is_whole or len(rows) == MAX_CHANGES


_OPEN = f"""
    SELECT change.id, change.task_id, task.tenant_id, change.at, change.what,
        change.open_from, task.misfire, {READ_RUN_KEY} AS run_key,
        {", ".join(f"change.{name}" for name in SCHEDULE_COLUMNS)}, task.created_at
    FROM tasks_api_schedulechange change JOIN tasks_api_task task
        ON task.id = change.task_id
    WHERE change.open_from IS NOT NULL {{since}}
    ORDER BY change.id LIMIT {MAX_CHANGES}
    FOR NO KEY UPDATE OF change SKIP LOCKED
"""  # noqa: S608 (a constant)
_LEFT = """
    UPDATE tasks_api_schedulechange change SET open_from = settled.open_from
    FROM unnest(%s::bigint[], %s::timestamptz[]) AS settled(id, open_from)
    WHERE change.id = settled.id
"""
_SETTLE = f"""
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        covers_until, finished_at, exclusive, attempt_count, lost_count)
    SELECT {free_id("named", moment="scheduled_for", tenant_id="tenant_id")},
        task_id, tenant_id, scheduled_for, state, reason, covers_until, now(), false, 0, 0
    FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::timestamptz[], %s::text[],
        %s::text[], %s::timestamptz[])
        AS fire(named, task_id, tenant_id, scheduled_for, state, reason, covers_until)
    ON CONFLICT DO NOTHING
    RETURNING id
"""  # noqa: S608 (constants)


def _settle_change(
    change: _OpenChange, runs: list[_PassedFireTime], until: float, *, limit: int
) -> datetime | None:
    """Add the runs of its fire times, up to a limit; returns where to go on."""
    try:
        found = find_crowd(change.schedule(), change.open_from, change.at, spare=1)
        if found is not None:
            runs.append(_all_missed(change, found))
            return first_after(change.schedule(), found.last)
        for moment, is_newest in _cut_off(change):
            is_late = moment > change.open_from and time.thread_time() > until
            if len(runs) >= limit or is_late:
                return moment
            is_cancelled = is_newest and change.misfire != Misfire.SKIP
            reason = CANCELLED.get(ChangeKind(change.what)) if is_cancelled else None
            state = RunState.CANCELLED if reason else RunState.MISSED
            runs.append(
                _PassedFireTime(
                    id_of_fire_time(
                        change.run_key, change.task_id, moment, change.tenant_id
                    ),
                    change.task_id,
                    change.tenant_id,
                    moment,
                    state,
                    reason or MISSED,
                )
            )
    except Exception as error:
        # It has no fire times that anybody could name, and must not hold up the others.
        if not isinstance(error, ScheduleError):
            ids = {"task_id": change.task_id, "tenant_id": change.tenant_id}
            logger.exception("What a change cut off cannot be computed.", extra=ids)
    return None


def _all_missed(change: _OpenChange, crowd: FireTimeCrowd) -> _PassedFireTime:
    return _PassedFireTime(
        id_of_fire_time(change.run_key, change.task_id, crowd.first, change.tenant_id),
        change.task_id,
        change.tenant_id,
        crowd.first,
        RunState.MISSED,
        crowd.reason(MISSED),
        crowd.last,
    )


def _cut_off(change: _OpenChange) -> Iterator[tuple[datetime, bool]]:
    """The fire times up to the change, oldest first, each with whether it is the newest."""
    schedule = change.schedule()
    moment: datetime | None = change.open_from
    while moment is not None and moment <= change.at:
        upcoming = first_after(schedule, moment)
        yield moment, upcoming is None or upcoming > change.at
        moment = upcoming


def _insert_runs(runs: Sequence[_PassedFireTime]) -> None:
    if not runs:
        return
    with prepared(rows=len(runs)) as cursor:
        cursor.execute(_SETTLE, columns(runs))
        stored = [run_id for (run_id,) in cursor.fetchall()]
    counters.count_made(stored, runs)
