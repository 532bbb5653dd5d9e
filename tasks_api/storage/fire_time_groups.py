"""Read groups of tasks that fire alike within a window; see domain/fire_counts.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection

from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.fire_counts import Buckets, FireTimeGroup
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedules import MICROSECOND, Cron, Interval, Once, Part
from tasks_api.storage.group_statements import CRON_COLUMNS
from tasks_api.storage.stored_schedules import (
    EPOCH,
    SCHEDULE_COLUMNS,
    StoredSchedule,
    to_schedule,
)


class GroupWindow(NamedTuple):
    """The time from `first` to the end of the buckets, and the present moment."""

    buckets: Buckets
    first: datetime
    now: datetime

    @property
    def last(self) -> datetime:
        return self.buckets.end - MICROSECOND

    def values(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "last": self.last,
            "now": self.now,
            "start": self.buckets.start,
            "width": self.buckets.width // timedelta(seconds=1),
        }


class KeyedGroup(NamedTuple):
    """A group of tasks, and the values that its tasks have in common."""

    keys: tuple[Any, ...]
    group: FireTimeGroup


def read_intervals(
    statement: str, values: Mapping[str, Any], window: GroupWindow
) -> Iterator[KeyedGroup]:
    """Read the groups of a statement that group_intervals() made."""
    for *keys, every, first, last, size in _fetch(statement, values, window):
        schedule = Interval(first, every)
        group = FireTimeGroup(size, schedule, first, last or window.last)
        yield KeyedGroup(tuple(keys), group)


class _Span(NamedTuple):
    """The fire times of a group that count; null: they go on beyond the window."""

    first: datetime | None
    last: datetime | None
    fires_once: bool


def _group_of(
    schedule: Cron | Recurrence | AnyOf[Part] | OnCalendars,
    span: _Span,
    size: int,
    window: GroupWindow,
) -> FireTimeGroup:
    earliest = window.now + MICROSECOND if span.fires_once else window.first
    return FireTimeGroup(
        size,
        schedule,
        max(span.first or earliest, earliest),
        span.last or window.last,
        span.fires_once,
    )


def read_crons(
    statement: str, values: Mapping[str, Any], window: GroupWindow
) -> Iterator[KeyedGroup]:
    """Read the groups of a statement that group_crons() made.

    Leaves out schedules that cannot be computed, which have no fire times.
    """
    for *row, first, last, fires_once, size in _fetch(statement, values, window):
        keys, columns = row[: -len(CRON_COLUMNS)], row[-len(CRON_COLUMNS) :]
        schedule = _cron_of(columns)
        if schedule is None:
            continue
        span = _Span(first, last, fires_once)
        yield KeyedGroup(tuple(keys), _group_of(schedule, span, size, window))


def read_on_calendars(
    statement: str, values: Mapping[str, Any], window: GroupWindow
) -> Iterator[KeyedGroup]:
    """Read the groups of a statement that group_on_calendars() made."""
    names = [name for name in SCHEDULE_COLUMNS if name != "is_paused"]
    for *row, created_at, first, last, size in _fetch(statement, values, window):
        keys, columns = row[: -len(names)], row[-len(names) :]
        stored = StoredSchedule(
            **dict(zip(names, columns, strict=True)), created_at=created_at or EPOCH
        )
        try:
            schedule = to_schedule(stored)
        except ScheduleError:
            continue
        if not isinstance(schedule, OnCalendars):
            continue
        span = _Span(first, last, stored.is_one_off)
        yield KeyedGroup(tuple(keys), _group_of(schedule, span, size, window))


def _cron_of(columns: Sequence[Any]) -> Cron | Recurrence | AnyOf[Part] | None:
    stored = StoredSchedule(**dict(zip(CRON_COLUMNS, columns, strict=True)))
    try:
        schedule = to_schedule(stored)
    except ScheduleError:
        return None
    return None if isinstance(schedule, Interval | Once | OnCalendars) else schedule


def _fetch(
    statement: str, values: Mapping[str, Any], window: GroupWindow
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {**values, **window.values()})
        return list(cursor.fetchall())
