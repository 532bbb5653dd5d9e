"""What recurs in a lane, as loads: tasks that fire alike are one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from scheduler_service.db.arrays import array
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.fire_counts import Buckets
from tasks_api.domain.lines import SECOND, WEEK, Load
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedules import Cron, Interval, Schedule, with_offset
from tasks_api.domain.specs import TaskSpec
from tasks_api.models import Task
from tasks_api.services import lane_load_statements as statements
from tasks_api.services.coming import schedule_of
from tasks_api.storage import fire_time_groups
from tasks_api.storage.fire_time_groups import GroupWindow, KeyedGroup

# The most groups of tasks that fire alike in one lane.
MAX_GROUPS = 50_000


class LoadKey(NamedTuple):
    """What tasks have in common that are one load."""

    schedule: Schedule
    window: int = 0
    last: datetime | None = None


class _Statements(NamedTuple):
    intervals: str
    crons: str
    on_calendars: str


def key_of_spec(spec: TaskSpec) -> LoadKey:
    """Return the load of a task as its client wants it."""
    if spec.spread_offset is not None:
        return LoadKey(with_offset(spec.schedule, spec.spread_offset))
    return LoadKey(spec.schedule, spec.spread)


def key_of_task(task: Task) -> LoadKey | None:
    """Return the load of a stored task; None if its schedule cannot be computed."""
    schedule = schedule_of(task)
    if schedule is None:
        return None
    if task.spread_auto or not task.spread:
        return LoadKey(schedule)
    return LoadKey(with_offset(schedule, 0), task.spread)


def to_loads(sizes: Counter[LoadKey]) -> list[Load]:
    return [
        Load(size, key.schedule, key.window, key.last) for key, size in sizes.items()
    ]


def read_lane(
    lane_id: int, *, since: datetime, now: datetime, without: Collection[UUID] = ()
) -> list[Load]:
    """Return what recurs in a lane in the week from a moment on, paused or not."""
    found = _read(
        _Statements(
            statements.INTERVALS_IN_LANE,
            statements.CRONS_IN_LANE,
            statements.ON_CALENDARS_IN_LANE,
        ),
        {"lane": lane_id, "without": array(without)},
        _window(since, now),
    )
    return to_loads(found)


def read_beside(
    tenant_id: int,
    host: str,
    *,
    since: datetime,
    now: datetime,
    without: Collection[UUID] = (),
) -> list[Load]:
    """Return what recurs at a host, or in the queues, of a tenant; as read_lane()."""
    found = _read(
        _Statements(
            statements.INTERVALS_BESIDE,
            statements.CRONS_BESIDE,
            statements.ON_CALENDARS_BESIDE,
        ),
        {"tenant": tenant_id, "host": host, "without": array(without)},
        _window(since, now),
    )
    return to_loads(found)


def _window(since: datetime, now: datetime) -> GroupWindow:
    """Return a window of seconds, so that no moment is moved by a second or more."""
    start = since.replace(microsecond=0)
    return GroupWindow(Buckets(start, SECOND, (WEEK + SECOND) // SECOND), start, now)


def _read(
    asked: _Statements, values: dict[str, Any], window: GroupWindow
) -> Counter[LoadKey]:
    values = {**values, "limit": MAX_GROUPS + 1}
    sizes: Counter[LoadKey] = Counter()
    number = 0
    for key, size in _keyed(asked, values, window):
        sizes[key] += size
        number += 1
    if number > MAX_GROUPS:
        text = f"More than {MAX_GROUPS} schedules differ in the lane"
        raise InvalidTask("lane", text)
    return sizes


def _keyed(
    asked: _Statements, values: dict[str, Any], window: GroupWindow
) -> Iterator[tuple[LoadKey, int]]:
    for row in fire_time_groups.read_intervals(asked.intervals, values, window):
        yield _key_of_interval(row, window), row.group.size
    for row in fire_time_groups.read_crons(asked.crons, values, window):
        yield _key_of_cron(row, window), row.group.size
    for row in fire_time_groups.read_on_calendars(asked.on_calendars, values, window):
        yield _key_on_calendars(row), row.group.size


def _key_of_interval(row: KeyedGroup, window: GroupWindow) -> LoadKey:
    """Return a load of a task that fires first in the window, after its offset.

    The windows of tasks that differ in their offset alone are the same. So a moment
    within a period is that of a task that fires already, whose window may have begun.
    """
    width, offset = row.keys
    schedule = row.group.schedule
    assert isinstance(schedule, Interval)
    moment = schedule.start - offset * SECOND
    if width and window.first <= moment < window.first + schedule.every:
        moment -= schedule.every
    return LoadKey(Interval(moment, schedule.every), width, _last(row, window))


def _key_of_cron(row: KeyedGroup, window: GroupWindow) -> LoadKey:
    width, offset = row.keys
    group = row.group
    schedule = with_offset(group.schedule, 0) if width else group.schedule
    # A group may begin with its tasks, which exist already, or with their start.
    begins_later = group.first > max(window.first, window.now + SECOND)
    if begins_later and isinstance(schedule, Cron | Recurrence | AnyOf):
        own = schedule.offset + offset * SECOND
        schedule = replace(schedule, start=group.first - own)
    return LoadKey(schedule, width, _last(row, window))


def _key_on_calendars(row: KeyedGroup) -> LoadKey:
    """Return a load of a task whose schedule has its start and its end itself."""
    width, _ = row.keys
    schedule = row.group.schedule
    return LoadKey(with_offset(schedule, 0) if width else schedule, width)


def _last(row: KeyedGroup, window: GroupWindow) -> datetime | None:
    """Return the last moment of a load that ends in the window."""
    last = row.group.last
    return None if last >= window.last else last - row.keys[1] * SECOND
