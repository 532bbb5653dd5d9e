"""Find schedules that were edited in the tables of django-celery-beat.

A task has a copy of the schedule that its next fire time was computed from. If the two
differ, an operator has edited the schedule since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import connection

from scheduler_service.db.arrays import columns
from scheduler_service.db.statements import prepared
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.models import Task
from tasks_api.storage.schedule_statements import (
    COPIED_COLUMNS,
    COPY_SCHEDULE_UNREAD,
    COPY_SCHEDULES,
    FIND_EDITED_TASKS,
)
from tasks_api.storage.stored_schedules import (
    SCHEDULE_COLUMNS,
    StoredSchedule,
    has_rules,
    load_schedule,
)


def find_edited_task_ids(limit: int) -> list[UUID]:
    """Return tasks whose schedule was edited after next_fire_at was computed."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_EDITED_TASKS, [limit])
        return [task_id for (task_id,) in cursor.fetchall()]


def find_edited_schedules(tasks: Iterable[Task]) -> list[tuple[UUID, StoredSchedule]]:
    """Return the schedules of those tasks whose copies differ."""
    found = [(task, load_schedule(task)) for task in tasks]
    return [
        (task.pk, stored)
        for task, stored in found
        if any(
            getattr(task, name) != getattr(stored, name) for name in SCHEDULE_COLUMNS
        )
    ]


def copy_schedules(schedules: Sequence[tuple[UUID, StoredSchedule]]) -> None:
    """Copy schedules to their tasks; the next fire times are computed from these.

    Rules whose stand-in an operator replaced are gone with it.
    """
    if not schedules:
        return
    rows = [(task_id, *_copied(stored)) for task_id, stored in schedules]
    with prepared(rows=len(rows)) as cursor:
        cursor.execute(COPY_SCHEDULES, columns(rows))


def _copied(stored: StoredSchedule) -> list[object]:
    return [*(getattr(stored, name) for name in COPIED_COLUMNS), _kept_rules(stored)]


def _kept_rules(stored: StoredSchedule) -> str:
    try:
        return stored.rules if has_rules(stored) else ""
    except ScheduleError:
        # One task must not hold up the others. It pauses when it is computed.
        return stored.rules


def copy_schedule_unread(task_id: UUID) -> None:
    """Copy a schedule to its task in the database, because Python may not read it."""
    with connection.cursor() as cursor:
        cursor.execute(COPY_SCHEDULE_UNREAD, [task_id])
