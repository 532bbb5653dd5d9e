"""Find the instants at which local time in a zone matches a cron expression.

cronsim reads five or six fields and walks the calendar, on local times without a zone.
This module adds years, and the zone, whose clock is turned forward and back. It keeps
both apart: an expression knows no zone, and a zone knows no expression.

Clients choose the expressions, so each computation has a limit: it looks a hundred
years ahead, and takes at most MAX_STEPS steps.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import pairwise, takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from cronsim.cronsim import Field

from tasks_api.domain.effort import TooLong, allowance, spend
from tasks_api.domain.exceptions import ScheduleError

# Yields the local times of a rule from one on, in order. The last one may lie after the
# other moment; without it, the horizon is the limit.
Matches = Callable[[datetime, datetime | None], Iterator[datetime]]
SECOND = timedelta(seconds=1)
DAY = 24 * 3600
YEARS = range(1970, 10_000)
LATEST = datetime.max  # noqa: DTZ901 (no zone on purpose)
# An expression that does not fire within so many years never fires again.
HORIZON = 100
# Two clock changes that undo each other lie further apart than this (Morocco's Ramadan
# takes a month), so a search in such steps finds every change.
STRIDE = timedelta(days=7)
# A step is a day or a clock that is looked at, some microseconds. A usual expression
# takes a few to its next fire time, and the rarest, a weekday that is 29 February, some
# 1,200.
MAX_STEPS = 5_000
_STEPS = re.compile(r"(?P<first>\w+)-(?P<last>\w+)/(?P<step>[0-9]+)")
_YEARS_ITEM = re.compile(r"(\*|[0-9]{1,4})(?:-([0-9]{1,4}))?(?:/([0-9]{1,4}))?")


@dataclass(frozen=True)
class Fields:
    """The parts of a cron expression: the five fields of cron, seconds and years."""

    expression: str
    seconds: str = "0"
    years: str = "*"


@dataclass(frozen=True)
class Dst:
    """The policy for a fixed local time in a gap and in an overlap."""

    skips_gap: bool = False
    runs_twice: bool = False


# Debian's rule.
DEFAULT_DST = Dst()


def check(fields: Fields) -> None:
    """Raise ScheduleError with a sentence if the fields cannot be read."""
    _calendar(fields.expression, fields.seconds)
    _allowed_years(fields.years)


class _Calendar(CronSim):
    """A walk of cronsim through the days that counts its steps and ends at a moment."""

    until = LATEST

    def advance_day(self) -> bool:
        before = self.dt
        moved: bool = super().advance_day()
        spend(1 + (self.dt - before).days)
        if self.dt > self.until:
            raise StopIteration
        return moved


@lru_cache(maxsize=5_000)
def _calendar(expression: str, seconds: str) -> _Calendar:
    parts = f"{seconds} {expression}".upper().split()
    try:
        text = " ".join(_in_its_range(*each) for each in enumerate(parts))
        return _Calendar(text, datetime(2000, 1, 1))  # noqa: DTZ001 (no zone on purpose)
    except CronSimError as error:
        raise ScheduleError(_sentence(str(error))) from None


def _in_its_range(index: int, part: str) -> str:
    """Drop the step of a range of one value: cronsim reads `5-5/3` as `5/3`."""
    return ",".join(_without_step(index, item) for item in part.split(","))


def _without_step(index: int, item: str) -> str:
    match = _STEPS.fullmatch(item)
    if match is None or int(match["step"]) == 0:
        return item
    field = Field(index)
    is_one = field.int(match["first"]) == field.int(match["last"])
    return match["first"] if is_one else item


def _sentence(error: str) -> str:
    name = (
        error.removeprefix("Bad ").replace("-", " ").replace("day of week", "weekday")
    )
    return f"Its {name} field is not valid."


@lru_cache(maxsize=1000)
def _allowed_years(text: str) -> tuple[int, ...] | None:
    """Return the years of a field in order, or None for all years."""
    if text == "*":
        return None
    allowed: set[int] = set()
    for item in text.split(","):
        match = _YEARS_ITEM.fullmatch(item)
        if match is None:
            raise ScheduleError("Its year field is not valid.")
        first, last, step = match.groups()
        if first == "*":
            years = YEARS if last is None else range(0)
        elif last is not None:
            years = range(int(first), int(last) + 1)
        else:
            # As in the other fields, a range with a step and no end has no limit.
            years = range(int(first), YEARS.stop if step else int(first) + 1)
        is_known = years and years[0] in YEARS and years[-1] in YEARS
        if not is_known or int(step or 1) == 0:
            raise ScheduleError("Its year field is not valid.")
        allowed.update(years[:: int(step or 1)])
    return tuple(sorted(allowed))


@lru_cache(maxsize=20_000)
def first_from(
    fields: Fields, zone: str, moment: datetime, dst: Dst = DEFAULT_DST
) -> datetime | None:
    """Return the first instant at or after a moment at which local time matches.

    Debian's rule holds. An expression whose minute or hour begins with a star follows
    the clock: it fires in both passes of an overlap, and never in a gap. Any other
    expression is a fixed local time: in a gap it fires when the gap is over, and in an
    overlap in the first pass, unless `dst` says otherwise. Raises ScheduleError if the
    fields cannot be read, and TooLong after MAX_STEPS steps.
    """
    by_clock = goes_by_the_clock(fields)
    return first_instant(matches_of(fields), zone, moment, dst, by_clock=by_clock)


def matches_of(fields: Fields) -> Matches:
    return partial(_matches, fields)


def first_instant(
    matches: Matches, zone: str, moment: datetime, dst: Dst, *, by_clock: bool
) -> datetime | None:
    """Return the first instant of local times at or after a moment, as first_from()."""
    with allowance(MAX_STEPS, TooLong):
        try:
            return _first_instant(matches, zone, moment, dst, by_clock=by_clock)
        except OverflowError:
            # The instant lies beyond the year 9999 in this zone or in UTC.
            return None


def _first_instant(
    matches: Matches, zone: str, moment: datetime, dst: Dst, *, by_clock: bool
) -> datetime | None:
    if zone == "UTC":
        found = next(matches(_naive(moment, timedelta()), None), None)
        return found and found.replace(tzinfo=UTC)
    clock = ZoneInfo(zone)
    if by_clock:
        return _as_the_clock_goes(matches, clock, moment)
    if not dst.runs_twice:
        return _at_fixed_times(matches, clock, moment, dst)
    # Following the clock finds both passes of a time, and no time in a gap.
    passes = _as_the_clock_goes(matches, clock, moment)
    if dst.skips_gap:
        return passes
    fixed = _at_fixed_times(matches, clock, moment, dst)
    return min(filter(None, (passes, fixed)), default=None)


def _at_fixed_times(
    matches: Matches, clock: ZoneInfo, moment: datetime, dst: Dst
) -> datetime | None:
    # A time in a gap fires at the end of the gap, so search from a second earlier.
    before = moment.astimezone(UTC) - SECOND
    start = _naive(before, _offset(clock, before))
    until = _horizon(start)
    while (local := next(matches(start, until), None)) is not None:
        instant = _first_pass(clock, local)
        shown = _naive(instant, _offset(clock, instant))
        if instant >= moment and (shown == local or not dst.skips_gap):
            return instant
        # The time lies in a gap, or before `moment`: go on after the gap, or after the
        # first pass.
        change = _first_change(clock, instant, moment) if instant < moment else None
        start = max(shown, local + ((change - instant) if change else SECOND))
    return None


def instant_of(local: datetime, zone: str) -> datetime:
    """Return the instant of a local time, as for a fixed time of an expression."""
    return _first_pass(ZoneInfo(zone), local)


def _first_pass(clock: ZoneInfo, local: datetime) -> datetime:
    """Return the first instant of a local time, or the end of the gap around it."""
    early = local.replace(tzinfo=clock, fold=0).astimezone(UTC)
    if _naive(early, _offset(clock, early)) == local:
        return early
    # PEP 495: with the offset before the gap, its times come out after its end, and
    # with the offset after it, before its beginning.
    late = local.replace(tzinfo=clock, fold=1).astimezone(UTC)
    change = _first_change(clock, min(early, late), max(early, late))
    return change or early


def _as_the_clock_goes(
    matches: Matches, clock: ZoneInfo, moment: datetime
) -> datetime | None:
    # Within a span of one offset, local time is plain; so go from span to span.
    start = moment.astimezone(UTC)
    until = _horizon(_naive(start, _offset(clock, start)))
    while True:
        offset = _offset(clock, start)
        local = next(matches(_naive(start, offset), until), None)
        found = None if local is None else (local - offset).replace(tzinfo=UTC)
        near = start + STRIDE
        is_far = found is not None and found > near
        # No later local time matches, unless the clock is turned back once more.
        change = _first_change(clock, start, near if is_far else found or near)
        if change is not None:
            start = change
        elif local is None or not is_far:
            return found
        else:
            # No clock is turned back by a whole STRIDE, so nothing matches before.
            start = max(near, local.replace(tzinfo=UTC) - STRIDE)


def quiet_week(matches: Matches, zone: str, moment: datetime) -> Iterator[datetime]:
    """Yield the matches in the week from a moment on, if no clock change is near.

    Local time is plain then, so one walk finds all matches, at a tenth of the cost of
    a search for each. Yields nothing if the clock changes within a day of that week.
    """
    clock = ZoneInfo(zone)
    offset = _offset(clock, moment)
    day = timedelta(days=1)
    if _first_change(clock, moment - day, moment + STRIDE + day) is not None:
        return
    start = _naive(moment, offset)
    end = start + STRIDE
    for local in takewhile(lambda local: local < end, matches(start, end)):
        yield (local - offset).replace(tzinfo=UTC)


def least_interval(fields: Fields) -> int:
    """Return the least seconds between two matches, without clock changes."""
    times = _calendar(fields.expression, fields.seconds)
    first = last = 0
    least = DAY
    for size, values in ((1, times.seconds), (60, times.minutes), (3600, times.hours)):
        ordered = sorted(values)
        # The last match in one unit and the first in the next are neighbors, too.
        between = [b - a for a, b in pairwise(ordered)]
        least = min([least, *(each * size - (last - first) for each in between)])
        first, last = ordered[0] * size + first, ordered[-1] * size + last
    return min(least, DAY - (last - first))


def goes_by_the_clock(fields: Fields) -> bool:
    minute, hour, *_ = fields.expression.split()
    return minute.startswith("*") or hour.startswith("*")


@dataclass(frozen=True)
class Gap:
    """A range of local times, without a zone, that the clock skips at an instant."""

    at: datetime
    first: datetime
    end: datetime

    def within(self, matches: Matches) -> Iterator[datetime]:
        """Yield the local times in the gap that are among the matches, in order."""
        times = matches(self.first, self.end)
        return takewhile(lambda local: local < self.end, times)


def gaps(zone: str, after: datetime, until: datetime) -> Iterator[Gap]:
    """Yield the gaps of a zone whose instants lie in (after, until], in order."""
    for change in clock_shifts(zone, after, until):
        if change.before < change.now:
            yield Gap(change.at, change.before, change.now)


class ClockShift(NamedTuple):
    """An instant at which the clock of a zone is set from one local time to another."""

    at: datetime
    before: datetime
    now: datetime


def clock_shifts(zone: str, after: datetime, until: datetime) -> Iterator[ClockShift]:
    """Yield the changes of a zone's clock whose instants lie in (after, until]."""
    clock = ZoneInfo(zone)
    change = _first_change(clock, after, until)
    while change is not None:
        before = _naive(change, _offset(clock, change - SECOND))
        yield ClockShift(change, before, _naive(change, _offset(clock, change)))
        change = _first_change(clock, change, until)


def _matches(
    fields: Fields, start: datetime, until: datetime | None = None
) -> Iterator[datetime]:
    """Yield matching local times from `start` on, in order, without clock changes.

    The last one may lie after `until`; without `until`, the horizon is the limit.
    """
    until = until or _horizon(start)
    years = _allowed_years(fields.years)
    at = start
    while True:
        year = _year_from(years, at.year)
        if year is None or year > until.year:
            return
        if year > at.year:
            at = datetime(year, 1, 1)  # noqa: DTZ001 (no zone on purpose)
        for local in _walk(fields, at, until):
            if _year_from(years, local.year) != local.year:
                at = local
                break
            yield local
        else:
            return


def _year_from(years: tuple[int, ...] | None, year: int) -> int | None:
    if years is None:
        return year
    index = bisect_left(years, year)
    return years[index] if index < len(years) else None


def _walk(fields: Fields, start: datetime, until: datetime) -> Iterator[datetime]:
    walk = copy(_calendar(fields.expression, fields.seconds))
    # cronsim looks strictly after whole seconds.
    walk.dt = (start - timedelta(microseconds=1)).replace(microsecond=0)
    walk.until = until
    spend(1)
    try:
        yield from walk
    except (OverflowError, ValueError):
        # The walk has reached the end of the calendar.
        return


def _horizon(start: datetime) -> datetime:
    hundred_years = timedelta(days=366 * HORIZON)
    return min(start, LATEST - hundred_years) + hundred_years


def _naive(moment: datetime, offset: timedelta) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None) + offset


def _offset(clock: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(clock).utcoffset()
    assert offset is not None
    return offset


def _first_change(clock: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """Return the first instant in (after, until] with another offset than `after`."""
    offset = _offset(clock, after)
    low = after
    while low < until:
        spend(1)
        high = min(low + STRIDE, until)
        if _offset(clock, high) != offset:
            return _bisect(clock, low, high, offset)
        low = high
    return None


def _bisect(
    clock: ZoneInfo, low: datetime, high: datetime, offset: timedelta
) -> datetime:
    """Return the change between two instants; the first still has the old offset."""
    # Changes come at whole seconds.
    low, high = low.replace(microsecond=0), _rounded_up(high)
    while high - low > SECOND:
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if _offset(clock, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _rounded_up(moment: datetime) -> datetime:
    return -(-moment.microsecond // 1_000_000) * SECOND + moment.replace(microsecond=0)
