"""Compute the next fire times of tasks that were resumed or edited, and write them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from scheduler_service.db.arrays import columns
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.models import Task
from tasks_api.services.statements import RESCHEDULE_TASKS
from tasks_api.storage import schedule_edits, schedule_rows, stored_schedules


class _NextState(NamedTuple):
    """The new state of a task, in the order of RESCHEDULE_TASKS' columns."""

    task_id: uuid.UUID
    next_fire_at: datetime | None
    last_fire_at: datetime | None
    pause_reason: str


def reschedule(tasks: Sequence[Task], *, now: datetime) -> None:
    """Compute and write the next fire time of each task.

    A task whose schedule cannot be computed is paused.
    """
    states = [_next_state(task, now) for task in tasks]
    if not states:
        return
    schedule_edits.copy_schedules(schedule_edits.find_edited_schedules(tasks))
    with connection.cursor() as cursor:
        cursor.execute(RESCHEDULE_TASKS, columns(states))
    broken = [state.task_id for state in states if state.pause_reason]
    schedule_rows.set_enabled(broken, False)


def _next_state(task: Task, now: datetime) -> _NextState:
    stored, last = stored_schedules.load_schedule(task), task.last_fire_at
    upcoming, reason = None, ""
    try:
        upcoming = stored_schedules.first_fire(
            stored, now=now, last_fire_at=last, surface=task.surface
        )
    except ScheduleError as error:
        reason = str(error)
    return _NextState(task.pk, upcoming, last, reason)
