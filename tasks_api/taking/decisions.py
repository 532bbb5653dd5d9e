"""Decide what one due task does: fire, catch up, follow an edit, or pause."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from tasks_api.delivery import faults
from tasks_api.domain import schedules
from tasks_api.domain.catch_up import grace_of
from tasks_api.domain.exceptions import ScheduleError, reason_of
from tasks_api.domain.ids import id_of_fire_time
from tasks_api.domain.specs import Misfire, Overlap
from tasks_api.domain.states import RunState
from tasks_api.storage import run_rows, stored_schedules

logger = logging.getLogger(__name__)


class DueTask(NamedTuple):
    task_id: UUID
    tenant_id: int
    periodic_task_id: int
    next_fire_at: datetime
    last_fire_at: datetime | None
    # Whether the schedule was edited after next_fire_at was computed.
    is_edited: bool
    overlap: str
    misfire: str
    catchup_window: int | None
    surface: str
    bounds_id: int | None
    max_runs: int | None
    runs_made: int
    now: datetime
    run_key: bytes
    stored: stored_schedules.StoredSchedule

    @property
    def grace(self) -> timedelta | None:
        """Return how late a fire time may be and still fire; None: no limit."""
        return grace_of(
            self.misfire,
            self.catchup_window,
            misfire_grace=settings.SCHEDULER_MISFIRE_GRACE,
        )

    @property
    def max_catch_up(self) -> int:
        """Return how many of the passed fire times fire."""
        return schedules.MAX_CATCH_UP if self.misfire == Misfire.ALL else 1

    @property
    def runs_left(self) -> int | None:
        """Return how many runs the task may still make; None: any number."""
        return None if self.max_runs is None else max(self.max_runs - self.runs_made, 0)


class TaskUpdate(NamedTuple):
    """The new state of a task; its fields have the order of UPDATE_TASKS' columns."""

    task_id: UUID
    next_fire_at: datetime | None
    last_fire_at: datetime | None
    pause_reason: str


def decide(
    task: DueTask, *, limit: int, edited_at: datetime | None
) -> tuple[TaskUpdate, list[run_rows.NewRun]]:
    """Return the new state of a due task, and its new runs."""
    try:
        if edited_at and task.is_edited:
            return _follow_edit(task, edited_at), []
        return _fire(task, limit)
    except Exception as error:
        if faults.is_shortage(error):
            raise
        # An error of one task must not hold up the others.
        return _pause(task, error), []


def _follow_edit(task: DueTask, edited_at: datetime) -> TaskUpdate:
    upcoming = stored_schedules.first_fire(
        task.stored,
        now=edited_at,
        last_fire_at=task.last_fire_at,
        surface=task.surface,
    )
    return _update(task, upcoming, task.last_fire_at)


def _pause(task: DueTask, error: Exception) -> TaskUpdate:
    reason, is_foreseen = reason_of(error), isinstance(error, ScheduleError)
    ids = {"task_id": task.task_id, "tenant_id": task.tenant_id}
    cause = None if is_foreseen else error
    logger.warning("The task pauses: %s", reason, extra=ids, exc_info=cause)
    return _update(task, None, task.last_fire_at, reason)


def _fire(task: DueTask, limit: int) -> tuple[TaskUpdate, list[run_rows.NewRun]]:
    """Make the runs of the fire times that have passed; the policies say which fire."""
    if task.runs_left == 0:
        return _update(task, None, task.last_fire_at), []
    schedule = stored_schedules.to_schedule(task.stored)
    stored_schedules.refuse_too_often(schedule)
    if found := schedules.find_crowd(
        schedule, task.next_fire_at, task.now, spare=task.max_catch_up
    ):
        return _pass_over(task, schedule, found)
    due = schedules.sort_due(
        schedule,
        since=task.next_fire_at,
        now=task.now,
        limit=limit,
        grace=task.grace,
        most=task.max_catch_up,
    )
    due = due.limited_to(task.runs_left)
    upcoming = None if task.stored.is_one_off and due.fires else due.next_fire_at
    runs = [_missed_run(task, moment, reason) for moment, reason in due.missed]
    runs += [_pending_run(task, moment) for moment in due.fires]
    last = due.fires[-1] if due.fires else due.missed[-1].moment
    return _update(task, upcoming, last), runs


def _pass_over(
    task: DueTask, schedule: schedules.Schedule, crowd: schedules.FireTimeCrowd
) -> tuple[TaskUpdate, list[run_rows.NewRun]]:
    """Make one missed run of a crowd of fire times, and move the task past them."""
    why = schedules.missed_reason(
        schedule, crowd.first, task.now, task.grace, task.max_catch_up
    )
    run = _missed_run(task, crowd.first, crowd.reason(why))
    upcoming = schedules.first_after(schedule, crowd.last)
    return _update(task, upcoming, crowd.last), [run._replace(covers_until=crowd.last)]


def _update(
    task: DueTask,
    next_fire_at: datetime | None,
    last_fire_at: datetime | None,
    pause_reason: str = "",
) -> TaskUpdate:
    return TaskUpdate(task.task_id, next_fire_at, last_fire_at, pause_reason)


def _pending_run(task: DueTask, moment: datetime) -> run_rows.NewRun:
    if task.overlap == Overlap.QUEUE_ONE:
        # The run waits at first, and moves up at once if no exclusive run is
        # unfinished.
        run = _new_run(
            task,
            moment,
            RunState.PENDING,
            reason=run_rows.WAITING_REASON,
            wake_at=task.now,
        )
        return run._replace(exclusive=False, is_next=True)
    return _new_run(task, moment, RunState.PENDING, wake_at=task.now)


def _missed_run(task: DueTask, moment: datetime, reason: str) -> run_rows.NewRun:
    return _new_run(task, moment, RunState.MISSED, reason=reason, finished_at=task.now)


def _new_run(
    task: DueTask,
    moment: datetime,
    state: RunState,
    *,
    reason: str = "",
    wake_at: datetime | None = None,
    finished_at: datetime | None = None,
) -> run_rows.NewRun:
    return run_rows.NewRun(
        id_of_fire_time(task.run_key, task.task_id, moment, task.tenant_id),
        task.task_id,
        task.tenant_id,
        moment,
        state,
        reason,
        wake_at,
        finished_at,
        exclusive=task.overlap != Overlap.ALLOW,
        is_next=False,
    )
