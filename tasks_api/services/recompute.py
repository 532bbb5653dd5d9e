"""Recompute next fire times after an update of the time zone rules.

The next fire time is computed when a task fires, or some fires before, by the rules of
that moment. After an update of the rules, it may be an hour off. Following fire times
need no mending: they count for one version of the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared, with_limit
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.schedule_parts import zone_of
from tasks_api.domain.schedules import first_after
from tasks_api.services.statements import (
    LIST_ZONED_TASKS,
    LOCK_FREE_TASKS,
    WRITE_FIRE_TIMES,
)
from tasks_api.storage import stored_schedules

BATCH_SIZE = 500
# The most by which an update of the rules moves a fire time.
MAX_RULE_SHIFT = timedelta(hours=25)
MIN_ID = UUID(int=0)


class ChangedFireTime(NamedTuple):
    """A task whose stored next fire time differs from the computed one."""

    task_id: UUID
    tenant: str
    name: str
    zone: str
    stored: datetime
    computed: datetime | None


def find_changed() -> Iterator[ChangedFireTime]:
    """Yield the tasks whose stored next fire time differs, in the order of ids."""
    last = MIN_ID
    while rows := _read_batch(last):
        last = rows[-1].task_id
        yield from filter(None, map(_compare, rows))


@transaction.atomic(durable=True)
def write_changed(task_ids: Collection[UUID]) -> int:
    """Recompute the next fire times of these tasks; return how many differed."""
    with prepared(rows=len(task_ids)) as cursor:
        cursor.execute(LOCK_FREE_TASKS, [array(task_ids)])
        locked = [task_id for (task_id,) in cursor.fetchall()]
        rows = _read_batch(MIN_ID, among=locked)
        found = [each for each in map(_compare, rows) if each is not None]
        if found:
            new = [(each.task_id, each.computed) for each in found]
            cursor.execute(WRITE_FIRE_TIMES, columns(new))
    return len(found)


class _TaskRow(NamedTuple):
    task_id: UUID
    tenant: str
    name: str
    next_fire_at: datetime
    since: datetime
    stored: stored_schedules.StoredSchedule


def _read_batch(
    after: UUID, *, among: Collection[UUID] | None = None
) -> list[_TaskRow]:
    with prepared() as cursor:
        values = {"after": after, "among": None if among is None else array(among)}
        cursor.execute(with_limit(LIST_ZONED_TASKS, BATCH_SIZE), values)
        return stored_schedules.fetch_with_schedule(cursor, _TaskRow)


def _compare(row: _TaskRow) -> ChangedFireTime | None:
    try:
        schedule = stored_schedules.to_schedule(row.stored)
        computed = first_after(
            schedule, max(row.since, row.next_fire_at - MAX_RULE_SHIFT)
        )
    except ScheduleError:
        # The worker that takes the task pauses it.
        return None
    if computed == row.next_fire_at:
        return None
    zone = zone_of(schedule)
    return ChangedFireTime(
        row.task_id, row.tenant, row.name, zone, row.next_fire_at, computed
    )
