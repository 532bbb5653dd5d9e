"""The coming fire times of a schedule, and how clock changes affect them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import islice
from zoneinfo import ZoneInfo

from tasks_api.domain import cron
from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.day_sets import CalendarDays
from tasks_api.domain.schedules import (
    MICROSECOND,
    Cron,
    Interval,
    Once,
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
    if isinstance(schedule, OnCalendars):
        yield from _coming_on_calendars(schedule, since, count)
        return
    dropped = 0
    try:
        for at in islice(_fire_times(schedule, since), count):
            if isinstance(schedule, Cron) and schedule.zone != "UTC":
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
    grid: Interval | Cron, after: datetime, until: datetime
) -> Iterator[ComingFireTime]:
    if isinstance(grid, Cron) and grid.zone != "UTC":
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
    if isinstance(grid, Cron) and grid.zone != "UTC":
        return _shown(grid, at)
    return ComingFireTime(at, at.astimezone(UTC))


def _zone_of(schedule: OnCalendars) -> tzinfo:
    """Return the zone in which the clock of the schedule is shown."""
    grid = schedule.grid
    if isinstance(grid, Cron) and grid.zone != "UTC":
        return ZoneInfo(grid.zone)
    return UTC


def _fire_times(schedule: Schedule, since: datetime) -> Iterator[datetime]:
    at = first_after(schedule, since)
    while at is not None:
        yield at
        at = first_after(schedule, at)


def _fields(schedule: Cron) -> cron.Fields:
    return cron.Fields(schedule.expression, schedule.seconds, schedule.years)


def _dropped(
    schedule: Cron, after: datetime, until: datetime
) -> Iterator[ComingFireTime]:
    if _moves(schedule):
        return
    if schedule.start is not None:
        after = max(after, schedule.start)
    for gap in cron.gaps(schedule.zone, after, until):
        for wall in gap.matches(_fields(schedule)):
            yield ComingFireTime(None, wall, ClockChange.DROPPED, wall)


def _moves(schedule: Cron) -> bool:
    """Return whether a time in a gap fires when the gap is over."""
    fields = _fields(schedule)
    return not (cron.goes_by_the_clock(fields) or schedule.dst.skips_gap)


def _shown(schedule: Cron, at: datetime) -> ComingFireTime:
    local = at.astimezone(ZoneInfo(schedule.zone))
    for gap in cron.gaps(schedule.zone, at - cron.SECOND, at):
        wall = next(gap.matches(_fields(schedule)), None)
        if wall is not None and gap.at == at and _moves(schedule):
            return ComingFireTime(at, local, ClockChange.MOVED, wall)
    other = local.replace(fold=1 - local.fold).astimezone(UTC)
    # An instant never lies in a gap, so a different fold means an overlap.
    if other == at:
        return ComingFireTime(at, local)
    is_doubled = schedule.first_from(other) == other
    dst = ClockChange.DOUBLED if is_doubled else ClockChange.ONCE
    return ComingFireTime(at, local, dst, which_pass=local.fold + 1)
