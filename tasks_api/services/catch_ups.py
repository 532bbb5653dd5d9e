"""Make up for passed fire times: those of a pause, and those that a calendar cut off.

A pause is made up for if the user wants so. What was due when a calendar of the task got
a new version fires as if a worker had taken it right before.

The change of the task says that they are open, and a beat makes their runs, a batch in a
transaction. So the change is quick, and a lost beat loses nothing: another one goes on
where it ended.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.domain.catch_up import (
    CatchUp,
    PassedFireTimes,
    grace_of,
    sort_passed,
)
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.ids import id_of_fire_time
from tasks_api.domain.schedules import Missed, first_after
from tasks_api.domain.specs import Overlap
from tasks_api.domain.states import RunState
from tasks_api.services import held_runs, removal
from tasks_api.services.catch_up_statements import (
    MAX_CHANGES,
    OPEN_DUE_FIRE_TIMES,
    OPEN_PAUSES,
    READ_ENDED_PAUSES,
    READ_OPEN_CATCH_UPS,
    READ_OPEN_CATCH_UPS_SINCE,
    REOPEN_HOURS,
)
from tasks_api.storage import run_rows, stored_schedules
from tasks_api.storage.change_statements import UPDATE_OPEN_FROM
from tasks_api.storage.run_rows import NewRun
from tasks_api.storage.schedule_changes import (
    BATCH_SIZE,
    TIME_TO_COMPUTE,
    ChangeKind,
)
from tasks_api.storage.stored_schedules import StoredSchedule, fetch_with_schedule
from tasks_api.storage.task_statements import COUNT_RUNS_MADE

logger = logging.getLogger(__name__)

CANCELLED_REASON = "The task was paused or ended before it made up for its pause."
CUT_OFF_REASON = "The task was paused or ended before anybody fired it."
NO_RUNS_LEFT_REASON = "The task has made all its runs."


class _EndedPause(NamedTuple):
    """A pause that a change ended, and since when its schedule held."""

    id: int
    task_id: UUID
    tenant_id: int
    since: datetime
    stored: StoredSchedule


class _OpenCatchUp(NamedTuple):
    """A change whose fire times have no run yet. Its task is locked."""

    id: int
    task_id: UUID
    tenant_id: int
    at: datetime
    open_from: datetime
    catch_up: str
    what: str
    overlap: str
    misfire: str
    catchup_window: int | None
    # The calendars of the task now, as in its column.
    present_calendars: str
    # The task does not fire any more.
    is_off: bool
    # How many runs it may make; None: any number.
    runs_left: int | None
    last_fire_at: datetime | None
    now: datetime
    run_key: bytes
    stored: StoredSchedule

    @property
    def is_of_pause(self) -> bool:
        return self.what == ChangeKind.RESUMED

    @property
    def grace(self) -> timedelta | None:
        """Return how late a fire time may have been at the change; None: no limit."""
        return grace_of(
            self.misfire,
            self.catchup_window,
            misfire_grace=settings.SCHEDULER_MISFIRE_GRACE,
        )


def open_due_fire_times(task_ids: Collection[UUID], *, changed_at: datetime) -> None:
    """Let tasks fire what was due when a change of this moment ended their schedules.

    The caller has locked the tasks, and has recorded the change.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            OPEN_DUE_FIRE_TIMES, {"tasks": array(task_ids), "at": changed_at}
        )


def open_pauses(wanted: Mapping[UUID, CatchUp], *, ended_at: datetime) -> None:
    """Let tasks make up for the pause that a RESUMED change ended at this moment.

    Fire times count from the pause on, or from the last change of the schedule in it.
    One-time tasks have none: they run on resume anyway. The caller has locked the tasks.
    """
    policies = {
        task_id: each for task_id, each in wanted.items() if each is not CatchUp.NONE
    }
    if not policies:
        return
    opened: list[tuple[int, datetime, str]] = []
    reopened: dict[int, datetime] = {}
    for pause in _read_ended_pauses(list(policies), ended_at):
        first = _first_fire_time(pause)
        if first is None or first > ended_at:
            continue
        opened.append((pause.id, first, policies[pause.task_id]))
        tenant_id = pause.tenant_id
        reopened[tenant_id] = min(reopened.get(tenant_id, first), first)
    if not opened:
        return
    hours = [(tenant_id, since, ended_at) for tenant_id, since in reopened.items()]
    with connection.cursor() as cursor:
        cursor.execute(OPEN_PAUSES, columns(opened))
        cursor.execute(REOPEN_HOURS, columns(hours))


def _read_ended_pauses(
    task_ids: Sequence[UUID], ended_at: datetime
) -> list[_EndedPause]:
    values = {
        "tasks": array(task_ids),
        "at": ended_at,
        "days": settings.SCHEDULER_RETENTION_DAYS,
    }
    with connection.cursor() as cursor:
        cursor.execute(READ_ENDED_PAUSES, values)
        return fetch_with_schedule(cursor, _EndedPause)


def _first_fire_time(pause: _EndedPause) -> datetime | None:
    try:
        return first_after(stored_schedules.to_schedule(pause.stored), pause.since)
    except ScheduleError:
        # It plans nothing, and its task does not go on either.
        return None


@transaction.atomic(durable=True)
def settle_catch_ups(*, limit: int = BATCH_SIZE, since: int | None = None) -> bool:
    """Make the runs of fire times that tasks make up for; return whether more are left.

    Any number of processes may call this at once. Changes whose id is less than `since`
    are left alone. The caller rings after the commit.
    """
    changes = _lock_catch_ups(since)
    if not changes:
        return False
    until = time.thread_time() + TIME_TO_COMPUTE
    runs: list[NewRun] = []
    left: list[tuple[int, datetime | None]] = []
    runs_left = {change.task_id: change.runs_left for change in changes}
    for change in changes:
        if left and (len(runs) >= limit or time.thread_time() > until):
            break
        change = change._replace(runs_left=runs_left[change.task_id])
        open_from, made = _settle(change, limit)
        left.append((change.id, open_from))
        runs.extend(made)
        if change.runs_left is not None:
            runs_left[change.task_id] = change.runs_left - sum(map(_is_sent, made))
    calendars = {change.task_id: change.present_calendars for change in changes}
    runs = held_runs.hold_back(
        run_rows.replace_taken_ids(runs), calendars, now=changes[0].now
    )
    made_ids, _ = run_rows.insert_runs(runs, now=changes[0].now)
    _count_limited(changes, [run for run in runs if run.run_id in made_ids])
    with prepared() as cursor:
        cursor.execute(UPDATE_OPEN_FROM, columns(left))
    is_whole = all(open_from is None for _, open_from in left)
    return not (is_whole and len(left) == len(changes)) or len(changes) == MAX_CHANGES


def _lock_catch_ups(since: int | None) -> list[_OpenCatchUp]:
    with prepared() as cursor:
        statement = READ_OPEN_CATCH_UPS if since is None else READ_OPEN_CATCH_UPS_SINCE
        cursor.execute(statement, {"since": since})
        return fetch_with_schedule(cursor, _OpenCatchUp)


def _settle(change: _OpenCatchUp, limit: int) -> tuple[datetime | None, list[NewRun]]:
    """Return the first fire time that is left, and the runs of those before it."""
    catch_up = CatchUp(change.catch_up)
    try:
        passed = sort_passed(
            stored_schedules.to_schedule(change.stored),
            catch_up,
            first=change.open_from,
            until=change.at,
            limit=limit,
            grace=None if change.is_of_pause else change.grace,
            why=catch_up.missed_reason if change.is_of_pause else "",
        )
    except Exception as error:
        # No fire times can be computed, and the change must not hold up the others.
        if not isinstance(error, ScheduleError):
            ids = {"task_id": change.task_id, "tenant_id": change.tenant_id}
            logger.exception("Passed fire times cannot be computed.", extra=ids)
        return None, []
    return passed.open_from, _make_runs(change, _limit(passed, change.runs_left))


def _limit(passed: PassedFireTimes, runs_left: int | None) -> PassedFireTimes:
    """Let only the newest fire times fire for which the task has runs left."""
    excess = 0 if runs_left is None else max(0, len(passed.fires) - runs_left)
    missed = [Missed(moment, NO_RUNS_LEFT_REASON) for moment in passed.fires[:excess]]
    return passed._replace(missed=passed.missed + missed, fires=passed.fires[excess:])


def _is_sent(run: NewRun) -> bool:
    return run.state == RunState.PENDING


def _count_limited(changes: Sequence[_OpenCatchUp], made: Sequence[NewRun]) -> None:
    """Count the runs of tasks that may make so many only, and end those with their last."""
    limited = {
        change.task_id: change for change in changes if change.runs_left is not None
    }
    counts = Counter(
        run.task_id for run in made if run.task_id in limited and _is_sent(run)
    )
    if not counts:
        return
    with prepared() as cursor:
        cursor.execute(COUNT_RUNS_MADE, columns(list(counts.items())))
    # A task has no fire times after the change and its last one.
    ends = {
        task_id: max(filter(None, (limited[task_id].at, limited[task_id].last_fire_at)))
        for task_id, count in counts.items()
        if count == limited[task_id].runs_left
    }
    if ends:
        removal.end_after_last_runs(ends, now=changes[0].now)


def _make_runs(change: _OpenCatchUp, passed: PassedFireTimes) -> list[NewRun]:
    runs = [
        _over(change, moment, RunState.MISSED, reason)._replace(
            covers_until=passed.covers_until
        )
        for moment, reason in passed.missed
    ]
    if change.is_off:
        why = CANCELLED_REASON if change.is_of_pause else CUT_OFF_REASON
        return runs + [
            _over(change, moment, RunState.CANCELLED, why) for moment in passed.fires
        ]
    return runs + [
        _pending(change, moment, place) for place, moment in enumerate(passed.fires)
    ]


def _over(
    change: _OpenCatchUp, moment: datetime, state: RunState, reason: str
) -> NewRun:
    run = _pending(change, moment, 0)
    return run._replace(
        state=state,
        reason=reason,
        wake_at=None,
        finished_at=change.now,
        exclusive=False,
        is_next=False,
    )


def _pending(change: _OpenCatchUp, moment: datetime, place: int) -> NewRun:
    """Return a run that waits for a worker, after those with a lower place."""
    # The run waits in line at first, and moves up at once if no other is unfinished.
    waits = change.overlap == Overlap.QUEUE_ONE
    return NewRun(
        id_of_fire_time(change.run_key, change.task_id, moment, change.tenant_id),
        change.task_id,
        change.tenant_id,
        moment,
        RunState.PENDING,
        run_rows.WAITING_REASON if waits else "",
        change.now + timedelta(microseconds=place),
        None,
        exclusive=change.overlap == Overlap.SKIP,
        is_next=waits,
    )
