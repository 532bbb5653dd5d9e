"""The coming fire times of a schedule, and how clock changes affect them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tasks_api.domain import cron
from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.day_sets import CalendarDays
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedule_parts import zone_of
from tasks_api.domain.schedules import (
    MICROSECOND,
    Cron,
    Grid,
    Once,
    Part,
    Schedule,
    first_after,
)


class ClockChange(StrEnum):
    """The effect of a clock change on a fire time."""

    # The local time lies in a gap, and the schedule fires when the gap is over.
    MOVED = "moved"
    # The local time lies in a gap, and the schedule does not fire.
    DROPPED = "dropped"
    # The clock shows the local time twice, and the schedule fires both times.
    DOUBLED = "doubled"
    # The clock shows the local time twice, and the schedule fires once.
    ONCE = "once"


@dataclass(frozen=True)
class ComingFireTime:
    """One fire time: the instant in UTC, and how the clock of its zone shows it.

    A dropped fire time has no instant, and its local time has no offset. `wall` is the
    local time in the gap that the expression matches. `which_pass` is 1 or 2 if the
    clock shows the time twice. With a spread, `grid` is the instant before the offset,
    and `dst`, `wall` and `which_pass` describe that instant.

    A fire time that a calendar leaves out has no instant either, and names the calendar.
    One that a calendar moves has `moved_from`, the instant that the schedule planned.
    """

    at: datetime | None
    local: datetime
    dst: ClockChange | None = None
    wall: datetime | None = None
    which_pass: int | None = None
    grid: datetime | None = None
    calendar: CalendarDays | None = None
    moved_from: datetime | None = None


# The time after the last fire time in which those that calendars leave out are shown.
SHOWN_AFTER_LAST = timedelta(days=366)


def coming_fire_times(
    schedule: Schedule, *, since: datetime, count: int
) -> Iterator[ComingFireTime]:
    """Yield the next fire times after a moment, at most `count`, in order.

    Fire times that are dropped or left out stand among them, and at most `count` more of
    each. Raises ScheduleError if the fields cannot be read.
    """
    if not isinstance(schedule, Once) and schedule.offset:
        offset = schedule.offset
        plain = replace(schedule, offset=timedelta())
        for each in coming_fire_times(plain, since=since - offset, count=count):
            yield each if each.at is None else _put_off(each, each.at, offset)
        return
    if isinstance(schedule, AnyOf):
        yield from _coming_of_any(schedule, since, count)
        return
    if isinstance(schedule, OnCalendars):
        yield from _coming_on_calendars(schedule, since, count)
        return
    dropped = 0
    try:
        for at in islice(_fire_times(schedule, since), count):
            if isinstance(schedule, Cron | Recurrence) and schedule.zone != "UTC":
                lost = list(islice(_dropped(schedule, since, at), count - dropped))
                dropped += len(lost)
                yield from lost
                yield _shown(schedule, at)
            else:
                yield ComingFireTime(at, at.astimezone(UTC))
            since = at
    except OverflowError:
        # The calendar ends here, in UTC or in the zone.
        return


def _coming_of_any(
    schedule: AnyOf[Part], since: datetime, count: int
) -> Iterator[ComingFireTime]:
    """Yield the next fire times of several schedules, each once, with the dropped ones."""
    if schedule.start is not None:
        since = max(since, schedule.start - MICROSECOND)
    streams = [_dated(each, since, count) for each in schedule.schedules]
    clock = ZoneInfo(zone_of(schedule))
    number, before = 0, None
    for at, _, each in heapq.merge(*streams, key=lambda dated: dated[:2]):
        is_over = schedule.end is not None and at > schedule.end
        if is_over or (number == count and each.at != before):
            return
        if each.at is not None:
            if each.at == before:
                continue
            number, before = number + 1, each.at
            each = replace(each, local=at.astimezone(clock))
        yield each


class _Dated(NamedTuple):
    """A fire time in order: a dropped one stands before the next one that fires."""

    at: datetime
    fires: bool
    coming: ComingFireTime


def _dated(schedule: Part, since: datetime, count: int) -> Iterator[_Dated]:
    dropped = []
    for each in coming_fire_times(schedule, since=since, count=count):
        if each.at is None:
            dropped.append(each)
            continue
        yield from (_Dated(each.at, False, lost) for lost in dropped)
        yield _Dated(each.at, True, each)
        dropped = []


def _put_off(each: ComingFireTime, grid: datetime, offset: timedelta) -> ComingFireTime:
    at = grid + offset
    local = at.astimezone(each.local.tzinfo)
    moved = each.moved_from and each.moved_from + offset
    return replace(each, at=at, local=local, grid=grid, moved_from=moved)


def _coming_on_calendars(
    schedule: OnCalendars, since: datetime, count: int
) -> Iterator[ComingFireTime]:
    dropped, left_out = count, count
    grid = schedule.grid
    try:
        for at in islice(_fire_times(schedule, since), count):
            beside = list(islice(_dropped_of(grid, since, at), dropped))
            dropped -= len(beside)
            found = list(islice(_left_out(schedule, since, at), left_out))
            left_out -= len(found)
            yield from sorted(beside + found, key=lambda each: each.local)
            yield _shown_on_calendars(schedule, at)
            count, since = count - 1, at
        if count:
            until = since + SHOWN_AFTER_LAST
            yield from islice(_left_out(schedule, since, until), left_out)
    except OverflowError:
        return


def _dropped_of(
    grid: Grid, after: datetime, until: datetime
) -> Iterator[ComingFireTime]:
    if isinstance(grid, Cron | Recurrence) and grid.zone != "UTC":
        yield from _dropped(grid, after, until)


def _left_out(
    schedule: OnCalendars, after: datetime, until: datetime
) -> Iterator[ComingFireTime]:
    for each in schedule.left_out_between(after + MICROSECOND, until):
        local = each.at.astimezone(_zone_of(schedule))
        yield ComingFireTime(None, local, calendar=each.calendar)


def _shown_on_calendars(schedule: OnCalendars, at: datetime) -> ComingFireTime:
    source = schedule.source_of(at)
    if source is not None:
        local = at.astimezone(_zone_of(schedule))
        return ComingFireTime(at, local, calendar=source.calendar, moved_from=source.at)
    grid = schedule.grid
    if isinstance(grid, Cron | Recurrence) and grid.zone != "UTC":
        return _shown(grid, at)
    return ComingFireTime(at, at.astimezone(UTC))


def _zone_of(schedule: OnCalendars) -> tzinfo:
    """Return the zone in which the clock of the schedule is shown."""
    zone = zone_of(schedule)
    return ZoneInfo(zone) if zone != "UTC" else UTC


def _fire_times(schedule: Schedule, since: datetime) -> Iterator[datetime]:
    at = first_after(schedule, since)
    while at is not None:
        yield at
        at = first_after(schedule, at)


def _dropped(
    schedule: Cron | Recurrence, after: datetime, until: datetime
) -> Iterator[ComingFireTime]:
    if _moves(schedule):
        return
    if schedule.start is not None:
        after = max(after, schedule.start)
    for gap in cron.gaps(schedule.zone, after, until):
        for wall in gap.within(schedule.matches):
            yield ComingFireTime(None, wall, ClockChange.DROPPED, wall)


def _moves(schedule: Cron | Recurrence) -> bool:
    """Return whether a time in a gap fires when the gap is over."""
    return not (schedule.goes_by_the_clock or schedule.dst.skips_gap)


def _shown(schedule: Cron | Recurrence, at: datetime) -> ComingFireTime:
    local = at.astimezone(ZoneInfo(schedule.zone))
    for gap in cron.gaps(schedule.zone, at - cron.SECOND, at):
        wall = next(gap.within(schedule.matches), None)
        if wall is not None and gap.at == at and _moves(schedule):
            return ComingFireTime(at, local, ClockChange.MOVED, wall)
    other = local.replace(fold=1 - local.fold).astimezone(UTC)
    # An instant never lies in a gap, so a different fold means an overlap.
    if other == at:
        return ComingFireTime(at, local)
    is_doubled = schedule.first_from(other) == other
    dst = ClockChange.DOUBLED if is_doubled else ClockChange.ONCE
    return ComingFireTime(at, local, dst, which_pass=local.fold + 1)
