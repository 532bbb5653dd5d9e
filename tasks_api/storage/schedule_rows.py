"""Write schedules as django-celery-beat stores them.

Its rows decide when a task fires, whether it is paused (`enabled`) and when it ends
(`expires`), so the admin shows and edits the real schedule. The service writes many
rows in a statement, without the signals of django-celery-beat, which lock one global
row for every change. The admin and the ORM do update that row, and a beat notices it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django_celery_beat.models import ClockedSchedule, PeriodicTask

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.models import Task
from tasks_api.storage.schedule_statements import (
    CHANGE_SCHEDULES,
    CRONTAB_FIELDS,
    DELETE_UNUSED_MOMENTS,
    END_TASKS,
    FIND_CRONTABS,
    FIND_INTERVALS,
    FIRE_TASK_NAME,
    INSERT_CRONTABS,
    INSERT_INTERVALS,
    SET_ENABLED,
    UPDATE_DESCRIPTIONS,
)
from tasks_api.storage.stored_schedules import StoredSchedule


class NewScheduleRow(NamedTuple):
    """The columns of `fresh` in INSERT_SCHEDULES that StoredSchedule lacks."""

    description: str
    interval_id: int | None
    crontab_id: int | None


def prepare_schedules(
    wanted: Sequence[tuple[str, StoredSchedule]],
) -> list[NewScheduleRow]:
    """Return rows for INSERT_SCHEDULES, from descriptions and schedules.

    Stores missing intervals and crontabs, which schedules share, and nothing else.
    """
    every_ids = _shared_ids(_INTERVALS, (stored for _, stored in wanted))
    cron_ids = _shared_ids(_CRONTABS, (stored for _, stored in wanted))
    return [
        NewScheduleRow(
            description,
            every_ids.get(_INTERVALS.key(stored)),
            cron_ids.get(_CRONTABS.key(stored)),
        )
        for description, stored in wanted
    ]


class _SharedTable(NamedTuple):
    """A table whose rows tasks share; `read` returns the key of a schedule's row."""

    find: str
    insert: str
    read: Callable[[StoredSchedule], tuple[Any, ...]]

    def key(self, stored: StoredSchedule) -> tuple[Any, ...] | None:
        """Return the key of a schedule's row, or None for another kind of schedule."""
        key = self.read(stored)
        return key if key[0] else None


_INTERVALS = _SharedTable(
    FIND_INTERVALS, INSERT_INTERVALS, attrgetter("interval_every", "interval_period")
)
_CRONTABS = _SharedTable(
    FIND_CRONTABS,
    INSERT_CRONTABS,
    attrgetter(*(f"cron_{name}" for name in CRONTAB_FIELDS), "cron_zone"),
)


def _shared_ids(
    table: _SharedTable, stored: Iterable[StoredSchedule]
) -> dict[tuple[Any, ...] | None, int]:
    """Return the ids of the shared rows of schedules, and insert missing rows."""
    keys = {key for each in stored if (key := table.key(each))}
    if not keys:
        return {}
    with prepared(rows=len(keys)) as cursor:
        # Two requests at once may insert the same row twice, which does no harm.
        cursor.execute(table.find, columns(keys))
        found = dict(_keyed(cursor.fetchall()))
        if missing := keys - found.keys():
            cursor.execute(table.insert, columns(missing))
            found |= dict(_keyed(cursor.fetchall()))
    return found


def _keyed(
    rows: Iterable[tuple[Any, ...]],
) -> Iterator[tuple[tuple[Any, ...] | None, int]]:
    """Yield key and id of rows whose last column is the id."""
    return ((tuple(key), row_id) for *key, row_id in rows)


def replace_schedule(
    periodic_task_id: int, stored: StoredSchedule, *, description: str
) -> None:
    """Replace a task's schedule by another recurring one, which is not paused."""
    PeriodicTask.objects.filter(pk=periodic_task_id).update(
        description=description,
        enabled=True,
        start_time=stored.starts_at,
        expires=stored.ends_at,
        interval_id=_shared_ids(_INTERVALS, [stored]).get(_INTERVALS.key(stored)),
        crontab_id=_shared_ids(_CRONTABS, [stored]).get(_CRONTABS.key(stored)),
    )


def change_schedules(wanted: Sequence[tuple[Task, StoredSchedule]]) -> None:
    """Replace the schedules of tasks by others of any kind; paused ones stay paused."""
    every_ids = _shared_ids(_INTERVALS, (stored for _, stored in wanted))
    cron_ids = _shared_ids(_CRONTABS, (stored for _, stored in wanted))
    clocked_ids, left = _store_moments(wanted)
    rows = [
        (
            task.periodic_task_id,
            stored.is_one_off,
            stored.starts_at,
            stored.ends_at,
            every_ids.get(_INTERVALS.key(stored)),
            cron_ids.get(_CRONTABS.key(stored)),
            clocked_id,
            stored.solar_id,
        )
        for (task, stored), clocked_id in zip(wanted, clocked_ids, strict=True)
    ]
    with prepared(rows=len(rows)) as cursor:
        cursor.execute(CHANGE_SCHEDULES, columns(rows))
        if left:
            cursor.execute(DELETE_UNUSED_MOMENTS, [array(left)])


def _store_moments(
    wanted: Sequence[tuple[Task, StoredSchedule]],
) -> tuple[list[int | None], list[int]]:
    """Store new moments of one-offs; return the ids of all, and of unused moments."""
    left = []
    fresh = []
    kept: list[ClockedSchedule | None] = []
    for task, stored in wanted:
        clocked = task.periodic_task.clocked
        if stored.once_at != (clocked and clocked.clocked_time):
            if clocked is not None:
                left.append(clocked.pk)
            clocked = None
            if stored.once_at is not None:
                clocked = ClockedSchedule(clocked_time=stored.once_at)
                fresh.append(clocked)
        kept.append(clocked)
    if fresh:
        ClockedSchedule.objects.bulk_create(fresh)
    return [clocked and clocked.pk for clocked in kept], left


def update_descriptions(descriptions: Sequence[tuple[int, str]]) -> None:
    """Write the descriptions that the admin shows, by the ids of periodic tasks."""
    with prepared(rows=len(descriptions)) as cursor:
        cursor.execute(UPDATE_DESCRIPTIONS, columns(descriptions))


def set_enabled(task_ids: Collection[UUID], enabled: bool) -> None:
    """Pause or resume the schedules of tasks, in one statement."""
    if not task_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(SET_ENABLED, [not enabled, array(task_ids), enabled])


def end_tasks(task_ids: Collection[UUID], *, now: datetime, reason: str) -> None:
    """End tasks before their end, and stop their schedules, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(END_TASKS, [now, reason, array(task_ids)])


def find_unowned_periodic_tasks() -> list[int]:
    """Return the enabled periodic tasks without a tenant."""
    # An index holds only periodic tasks whose `task` is not FIRE_TASK_NAME.
    rows = PeriodicTask.objects.exclude(task=FIRE_TASK_NAME).filter(
        enabled=True, http_task=None
    )
    return list(rows.order_by("pk").values_list("pk", flat=True))
