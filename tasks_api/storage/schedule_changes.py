"""Record each change of a task's schedule, and store the runs that it cut off.

Code that changes when a task fires must call `record_change` first, in the same
transaction and with the task locked. So the account of a task can be computed for any
time, and every passed fire time gets a run, even if no worker was alive.
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
from tasks_api.domain.ids import id_of_fire_time
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
from tasks_api.storage.change_statements import (
    INSERT_PASSED_RUNS,
    MAX_CHANGES,
    READ_OPEN_CHANGES,
    READ_OPEN_CHANGES_SINCE,
    RECORD_CHANGE,
    UPDATE_OPEN_FROM,
)
from tasks_api.storage.stored_schedules import (
    StoredSchedule,
    fetch_with_schedule,
)

ChangeKind = ScheduleChange.ChangeKind
logger = logging.getLogger(__name__)

# Runs in one transaction.
BATCH_SIZE = 1000
# Seconds of computing in one transaction.
TIME_TO_COMPUTE = 0.25

MISSED_REASON = "Passed while nobody could fire it."
# The reason of the newest fire time that a change cut off: a worker would have sent it.
# After the end of a task, or with a broken schedule, no worker would have.
CANCELLED_REASONS = {
    ChangeKind.PAUSED: "The task was paused before anybody fired it.",
    ChangeKind.EDITED: "The schedule was changed before anybody fired it.",
    ChangeKind.REPLACED: "The task was replaced before anybody fired it.",
    ChangeKind.REMOVED: "The task was removed before anybody fired it.",
}


def record_change(
    task_ids: Collection[UUID], what: ScheduleChange.ChangeKind
) -> datetime:
    """End the present schedules of tasks; return the moment, by the database's clock.

    Fire times up to that moment belong to the old schedule, and later ones to the new
    schedule. Runs that a beat of the release before made before their fire times are
    deleted; the statement locks them before it reads the clock, so none begins in
    between. A one-off and its run wait through a pause, and an edit does not cut its
    moment off.

    The caller must have locked the tasks, and must make the change in the same
    transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(RECORD_CHANGE, {"tasks": array(task_ids), "what": what})
        moment: datetime = cursor.fetchone()[0]
    return moment


class _OpenChange(NamedTuple):
    """A change with fire times that have no run yet."""

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
    """A run to store; its fields have the order of INSERT_PASSED_RUNS' columns."""

    run_id: UUID
    task_id: UUID
    tenant_id: int
    scheduled_for: datetime
    state: str
    reason: str
    covers_until: datetime | None = None


@transaction.atomic(durable=True)
def settle_open_changes(*, limit: int = BATCH_SIZE, since: int | None = None) -> bool:
    """Store runs for the fire times that changes cut off; return whether more are left.

    The newest fire time is cancelled, and the older ones are missed, as if a worker had
    taken the task right before the change. Any number of processes may call this at
    once. Changes whose id is less than `since` are left alone.
    """
    with prepared() as cursor:
        statement = READ_OPEN_CHANGES if since is None else READ_OPEN_CHANGES_SINCE
        cursor.execute(statement, {"since": since})
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
        cursor.execute(UPDATE_OPEN_FROM, columns(left))
    is_whole = len(left) == len(rows) and left[-1][1] is None
    return not is_whole or len(rows) == MAX_CHANGES


def _settle_change(
    change: _OpenChange, runs: list[_PassedFireTime], until: float, *, limit: int
) -> datetime | None:
    """Add the runs of a change, up to a limit; return the first fire time left."""
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
            reason = (
                CANCELLED_REASONS.get(ChangeKind(change.what)) if is_cancelled else None
            )
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
                    reason or MISSED_REASON,
                )
            )
    except Exception as error:
        # No fire times can be computed, and the change must not hold up the others.
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
        crowd.reason(MISSED_REASON),
        crowd.last,
    )


def _cut_off(change: _OpenChange) -> Iterator[tuple[datetime, bool]]:
    """Yield the fire times up to a change, oldest first; and if each is the newest."""
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
        cursor.execute(INSERT_PASSED_RUNS, columns(runs))
        stored = [run_id for (run_id,) in cursor.fetchall()]
    counters.count_made(stored, runs)
