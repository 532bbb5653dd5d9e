"""Count the fire times that the schedules of a tenant's recurring tasks planned by hour.

Tasks whose schedules did not change are counted in groups, and the others one by one,
as in their own account. One-time tasks are counted by their runs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from scheduler_service.db.arrays import array
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.fire_counts import Buckets, FireTimeCounter
from tasks_api.domain.schedules import MICROSECOND
from tasks_api.domain.specs import Surface
from tasks_api.domain.tallies import COVERED, PLANNED, Tally
from tasks_api.services import rollup_statements as statements
from tasks_api.services.reconciliation import ScheduleRow, schedule_spans
from tasks_api.services.statements import READ_SCHEDULES_OF_TASKS
from tasks_api.storage import fire_time_groups, stored_schedules
from tasks_api.storage.fire_time_groups import GroupWindow, KeyedGroup

# The living tasks of a user that one statement reads.
PAGE_SIZE = 50_000
# The tasks whose past schedules one statement reads.
CHANGED_BATCH_SIZE = 1000

# The sums of each hour and each user.
Tallies = defaultdict[tuple[datetime, int], Tally]


class _CoveredRange(NamedTuple):
    """The fire times after the first one that a run covers with it."""

    task_id: UUID
    first: datetime
    last: datetime


class _OwnedScheduleRow(NamedTuple):
    task_id: UUID
    owner_id: int
    change_id: int | None
    until: datetime
    what: str
    open_from: datetime | None
    is_current: bool
    last_fire_at: datetime | None
    ended_at: datetime | None
    stored: stored_schedules.StoredSchedule


def count_planned(
    tenant_id: int, owner_ids: Sequence[int], hours: Buckets, tallies: Tallies
) -> None:
    """Add the planned fire times of closed hours to the sums of their users."""
    window = GroupWindow(hours, hours.start, hours.end)
    counter, starts = FireTimeCounter(hours), list(hours.starts())
    for keys, group in _read_groups(tenant_id, owner_ids, window):
        try:
            counts = counter.count(group)
        except ScheduleError:
            # A schedule that cannot be computed plans nothing.
            continue
        for index, size in counts.items():
            tallies[starts[index], keys[0]][PLANNED] += size
    _count_changed(tenant_id, window, hours, tallies)
    _count_covered(tenant_id, window, hours, tallies)


def _read_groups(
    tenant_id: int, owner_ids: Sequence[int], window: GroupWindow
) -> Iterator[KeyedGroup]:
    values: dict[str, Any] = {"tenant": tenant_id}
    yield from fire_time_groups.read_intervals(
        statements.ENDED_INTERVALS, values, window
    )
    yield from fire_time_groups.read_crons(statements.ENDED_CRONS, values, window)
    yield from fire_time_groups.read_on_calendars(
        statements.ENDED_ON_CALENDARS, values, window
    )
    for page in _pages_of(owner_ids, values):
        yield from fire_time_groups.read_intervals(
            statements.LIVING_INTERVALS, page, window
        )
        yield from fire_time_groups.read_crons(statements.LIVING_CRONS, page, window)
        yield from fire_time_groups.read_on_calendars(
            statements.LIVING_ON_CALENDARS, page, window
        )


def _pages_of(
    owner_ids: Sequence[int], values: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the values of statements about pages of the living tasks of users."""
    used = {"owners": array(owner_ids), "surfaces": array(map(str, Surface))}
    with connection.cursor() as cursor:
        cursor.execute(statements.FIND_USED_SURFACES, used)
        found = cursor.fetchall()
    for owner_id, surface in found:
        after: UUID | None = UUID(int=0)
        while after is not None:
            page = {**values, "owner": owner_id, "surface": surface, "after": after}
            after = _find_page_end(page)
            yield {**page, "until": after or UUID(int=(1 << 128) - 1)}


def _find_page_end(page: Mapping[str, Any]) -> UUID | None:
    with connection.cursor() as cursor:
        cursor.execute(statements.FIND_PAGE_END, {**page, "size": PAGE_SIZE})
        found = cursor.fetchone()
    return found[0] if found else None


def _count_changed(
    tenant_id: int, window: GroupWindow, hours: Buckets, tallies: Tallies
) -> None:
    found = _fetch(statements.FIND_CHANGED_TASKS, tenant_id, window)
    for rows in _read_schedules([task_id for (task_id,) in found]):
        for at in _fire_times(rows, window.first, window.last):
            tallies[hour_of(hours, at), rows[0].owner_id][PLANNED] += 1


def _count_covered(
    tenant_id: int, window: GroupWindow, hours: Buckets, tallies: Tallies
) -> None:
    found = _fetch(statements.FIND_COVERED_RANGES, tenant_id, window)
    ranges: defaultdict[UUID, list[_CoveredRange]] = defaultdict(list)
    for row in found:
        ranges[row[0]].append(_CoveredRange._make(row))
    for rows in _read_schedules(list(ranges)):
        for covered in ranges[rows[0].task_id]:
            first = max(covered.first + MICROSECOND, window.first)
            for at in _fire_times(rows, first, min(covered.last, window.last)):
                tallies[hour_of(hours, at), rows[0].owner_id][COVERED] += 1


def hour_of(hours: Buckets, at: datetime) -> datetime:
    return hours.start + hours.index_of(at) * hours.width


def _fire_times(
    rows: list[_OwnedScheduleRow], first: datetime, last: datetime
) -> Iterator[datetime]:
    """Yield the fire times of all schedules that a task had, as its account does."""
    planned: Counter[datetime] = Counter()
    for span in schedule_spans([ScheduleRow._make(row[2:]) for row in rows]):
        try:
            for at in span.fire_times(first):
                if at > last:
                    break
                planned[at] += 1
        except ScheduleError:
            continue
    yield from planned


def _read_schedules(task_ids: list[UUID]) -> Iterator[list[_OwnedScheduleRow]]:
    """Yield the past schedules of tasks and the present one, task by task."""
    for start in range(0, len(task_ids), CHANGED_BATCH_SIZE):
        batch = array(task_ids[start : start + CHANGED_BATCH_SIZE])
        with connection.cursor() as cursor:
            cursor.execute(READ_SCHEDULES_OF_TASKS, {"tasks": batch})
            rows = stored_schedules.fetch_with_schedule(cursor, _OwnedScheduleRow)
        for _, of_task in groupby(rows, key=attrgetter("task_id")):
            yield list(of_task)


def _fetch(
    statement: str, tenant_id: int, window: GroupWindow
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"tenant": tenant_id, **window.values()})
        return list(cursor.fetchall())
