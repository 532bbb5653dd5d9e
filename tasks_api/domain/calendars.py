"""Schedules that follow calendars: which fire times they leave out, move or hold.

The calendar decides on the fire time of the grid, before the offset of a spread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from tasks_api.domain import effort
from tasks_api.domain.day_sets import MICROSECOND, CalendarDays

if TYPE_CHECKING:
    from tasks_api.domain.schedules import Grid

# The days within which a fire time that is left out finds a business day.
MAX_SHIFT_DAYS = 31
# A change of the clock makes a day longer or shorter.
MAX_SHIFT = timedelta(days=MAX_SHIFT_DAYS + 1)
# Schedules whose fire times move fire at most this often.
MIN_MOVING_INTERVAL = 3600
# The fire times that are left out in a row before a schedule counts as over. A calendar
# leaves out whole stretches at once, so these are ten years of a daily task.
MAX_LEFT_OUT = 4000
MAX_JOINED = 100
_FIRST, _LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)
_PACE_UNITS = {"second": 1, "minute": 60, "hour": 3600}


class OnExcluded(StrEnum):
    """What becomes of a fire time that calendars leave out."""

    SKIP = "skip"
    NEXT_BUSINESS_DAY = "next_business_day"
    PREVIOUS_BUSINESS_DAY = "previous_business_day"


@dataclass(frozen=True)
class CalendarChoice:
    """The calendars of a task by their names, as its owner gives them."""

    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    on_excluded: OnExcluded = OnExcluded.SKIP
    hold: tuple[str, ...] = ()
    pace: str = ""

    @property
    def names(self) -> set[str]:
        return {*self.exclude, *self.only, *self.hold}


class LeftOut(NamedTuple):
    """The calendar that leaves a moment out, and the moment until which it surely does.

    `until` is None if it leaves out everything from here on.
    """

    calendar: CalendarDays
    until: datetime | None


class Hold(NamedTuple):
    """The calendar that holds runs back at a moment."""

    calendar: CalendarDays
    until: datetime | None


@dataclass(frozen=True)
class CalendarRules:
    """The versions of calendars that a task follows, and how it does."""

    exclude: tuple[CalendarDays, ...] = ()
    only: tuple[CalendarDays, ...] = ()
    on_excluded: OnExcluded = OnExcluded.SKIP
    hold: tuple[CalendarDays, ...] = ()
    pace: str = ""

    def left_out(self, moment: datetime) -> LeftOut | None:
        """Return what leaves a moment out; None if nothing does."""
        for calendar in self.exclude:
            if calendar.covers(moment):
                return LeftOut(calendar, calendar.change_after(moment))
        if not self.leaves_out(moment):
            return None
        changes = filter(None, (each.change_after(moment) for each in self.only))
        return LeftOut(self.only[0], min(changes, default=None))

    def leaves_out(self, moment: datetime) -> bool:
        if any(each.covers(moment) for each in self.exclude):
            return True
        return bool(self.only) and not any(each.covers(moment) for each in self.only)

    def end_of_left_out(self, moment: datetime, least: datetime) -> datetime | None:
        """Return a moment up to which all is left out from `moment` on.

        Stretches that follow each other are joined, until `least` is reached. None means
        that nothing comes after them.
        """
        for _ in range(MAX_JOINED):
            found = self.left_out(moment) if moment < least else None
            if found is None:
                break
            if found.until is None:
                return None
            moment = found.until
        return moment

    def held(self, moment: datetime) -> Hold | None:
        """Return what holds back the runs that would be sent at a moment."""
        for calendar in self.hold:
            if calendar.covers(moment):
                return Hold(calendar, calendar.change_after(moment))
        return None

    def release_from(self, moment: datetime) -> datetime:
        """Return the first moment from this one on at which nothing holds runs back.

        A hold without an end is looked at again at the end of what was looked at.
        """
        for _ in range(MAX_LEFT_OUT):
            found = self.held(moment)
            if found is None:
                break
            moment = found.until or moment + timedelta(days=1)
        return moment

    @property
    def pace_interval(self) -> timedelta:
        """Return the time between two runs that are let go; 0 if all go at once."""
        return parse_pace(self.pace) if self.pace else timedelta()


def parse_pace(text: str) -> timedelta:
    """Return the time between two runs of a pace such as 20/minute. Raises ValueError."""
    count, _, unit = text.partition("/")
    if not (count.isascii() and count.isdigit() and 1 <= int(count) <= 1_000_000):
        raise ValueError(text)
    if unit not in _PACE_UNITS:
        raise ValueError(text)
    return timedelta(seconds=_PACE_UNITS[unit]) / int(count)


class Fate(NamedTuple):
    """What becomes of a fire time of the grid, and by which calendar.

    `at` is None if the fire time is left out, and `calendar` if it fires as planned.
    """

    at: datetime | None
    calendar: CalendarDays | None


class LeftOutTime(NamedTuple):
    """A fire time that makes no run of its own, and the calendar that left it out."""

    at: datetime
    calendar: CalendarDays


@dataclass(frozen=True)
class OnCalendars:
    """Fires as its grid does, as far as the calendars let it.

    The grid has no offset of its own.
    """

    grid: Grid
    rules: CalendarRules
    offset: timedelta = timedelta()

    @property
    def start(self) -> datetime | None:
        return self.grid.start

    @property
    def end(self) -> datetime | None:
        return self.grid.end

    @property
    def moves(self) -> bool:
        return self.rules.on_excluded != OnExcluded.SKIP

    def first_from(self, moment: datetime) -> datetime | None:
        try:
            since = moment - self.offset
        except OverflowError:
            since = _FIRST
        try:
            found = self._first_moved(since) if self.moves else self._first_left(since)
            return found and found + self.offset
        except OverflowError:
            # What is left out ends in the last days of the year 9999.
            return None

    def _first_left(self, since: datetime) -> datetime | None:
        at = self.grid.first_from(since)
        for _ in range(MAX_LEFT_OUT):
            if at is None or (found := self.rules.left_out(at)) is None:
                return at
            effort.spend(1)
            at = self.grid.first_from(found.until) if found.until else None
        return None

    def _first_moved(self, since: datetime) -> datetime | None:
        """Search all fire times of the grid that could move to `since` or later."""
        is_forward = self._is_forward
        reach = timedelta() if is_forward else MAX_SHIFT
        best: datetime | None = None
        at = self.grid.first_from(_earlier(since) if is_forward else since)
        for _ in range(MAX_LEFT_OUT):
            if at is None or (best is not None and at - best > reach):
                break
            found = self.fate(at).at
            if found is not None and found >= since:
                best = found if best is None else min(best, found)
            at = self._next_to_look_at(at, found)
        return best

    def _next_to_look_at(self, at: datetime, found: datetime | None) -> datetime | None:
        after = at + MICROSECOND
        if found is None:
            # Skip what lies so deep in what is left out that no move leads out of it.
            since = at if self._is_forward else _earlier(at)
            until = _later(at) if self._is_forward else at + MICROSECOND
            end = self.rules.end_of_left_out(since, until)
            if end is None:
                return None
            if end >= until:
                after = max(after, _earlier(end) if self._is_forward else end)
        return self.grid.first_from(after)

    def fate(self, at: datetime) -> Fate:
        """Return what becomes of a fire time of the grid."""
        effort.spend(1)
        found = self.rules.left_out(at)
        if found is None:
            return Fate(at, None)
        if not self.moves:
            return Fate(None, found.calendar)
        return Fate(self._moved(at, found.calendar), found.calendar)

    def _moved(self, at: datetime, calendar: CalendarDays) -> datetime | None:
        """Return the same local time on the nearest day that is not left out.

        A local time that does not exist on that day is later by the length of the gap.
        """
        clock = ZoneInfo(getattr(self.grid, "zone", calendar.zone))
        local = at.astimezone(clock).replace(tzinfo=None)
        day = timedelta(days=1 if self._is_forward else -1)
        for number in range(1, MAX_SHIFT_DAYS + 1):
            try:
                moved = (local + number * day).replace(tzinfo=clock).astimezone(UTC)
            except OverflowError:
                return None
            effort.spend(1)
            if not self.rules.leaves_out(moved):
                is_before = self.start is not None and moved < self.start
                is_after = self.end is not None and moved > self.end
                return None if is_before or is_after else moved
        return None

    def source_of(self, at: datetime) -> Fate | None:
        """Return the fire time of the grid that moved to `at`, and the calendar.

        None if `at` is a fire time of the grid itself. If several moved there, it is
        the first. Without the offset.
        """
        if self.grid.first_from(at) == at and self.rules.left_out(at) is None:
            return None
        since = _earlier(at) if self._is_forward else at
        until = at if self._is_forward else _later(at)
        for each in self._grid_times(since, until):
            found = self.fate(each)
            if found.at == at:
                return Fate(each, found.calendar)
        return None

    def left_out_between(
        self, first: datetime, last: datetime
    ) -> Iterator[LeftOutTime]:
        """Yield the fire times that make no run of their own, both ends included.

        These are the ones that calendars leave out, and of those that move to the
        same moment all but one. With the offset.
        """
        for at in self._grid_times(first - self.offset, last - self.offset):
            found = self.fate(at)
            if found.calendar is None or (found.at and self._is_source(at, found.at)):
                continue
            yield LeftOutTime(at + self.offset, found.calendar)

    @property
    def _is_forward(self) -> bool:
        return self.rules.on_excluded == OnExcluded.NEXT_BUSINESS_DAY

    def _is_source(self, at: datetime, moved: datetime) -> bool:
        found = self.source_of(moved)
        return found is not None and found.at == at

    def _grid_times(self, first: datetime, last: datetime) -> Iterator[datetime]:
        at = self.grid.first_from(first)
        while at is not None and at <= last:
            yield at
            at = self.grid.first_from(at + MICROSECOND)


def _earlier(moment: datetime) -> datetime:
    """Return the moment from which a fire time could move to this one."""
    return max(moment, _FIRST + MAX_SHIFT) - MAX_SHIFT


def _later(moment: datetime) -> datetime:
    """Return the moment up to which a fire time could move from this one, or to it."""
    return min(moment, _LAST - MAX_SHIFT) + MAX_SHIFT
