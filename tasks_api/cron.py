"""Cron expressions: what clients write, and when the clocks of a zone say so.

cronsim reads five or six fields and walks the calendar, on local times without a zone.
This module puts the rest around it: years, the `@` forms, and the zone, whose clock is
turned forth and back. Both are kept apart: an expression knows no zone, and a zone knows
no expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from tasks_api.exceptions import ScheduleError

SECOND = timedelta(seconds=1)
LONGEST_TEXT = 500
# How long the fields may be that django-celery-beat's columns hold.
LONGEST = {
    "minute": 240,
    "hour": 96,
    "day of month": 124,
    "month": 64,
    "day of week": 64,
}
FIELDS = ("second", *LONGEST)
YEARS = range(1970, 10_000)
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# A pair of changes that undo each other lies further apart than this (Morocco's
# Ramadan takes a month), so a walk in such steps finds every change.
STRIDE = timedelta(days=7)
_YEARS_ITEM = re.compile(r"(\*|[0-9]{1,4})(?:-([0-9]{1,4}))?(?:/([0-9]{1,4}))?")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|m|s|ms|us|µs|ns))+", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|µs|ns)", re.ASCII)
_UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


# What clients write.


@dataclass(frozen=True)
class Fields:
    """An expression taken apart: five fields as cron has them, seconds and years."""

    expression: str
    seconds: str = "0"
    years: str = "*"


@dataclass(frozen=True)
class Dst:
    """What a fixed local time does when the clock jumps over it, or shows it twice."""

    skips_gap: bool = False
    runs_twice: bool = False


# Debian's rule.
USUAL = Dst()


@dataclass(frozen=True)
class Text:
    """What a client wrote: either fields or a span, and the zone before it, if any."""

    zone: str | None
    fields: Fields | None = None
    every: timedelta | None = None


@lru_cache(maxsize=5_000)
def read(text: str) -> Text:
    """Take a client's text apart. Raises ScheduleError with a sentence."""
    if len(text) > LONGEST_TEXT:
        raise ScheduleError(f"The expression has more than {LONGEST_TEXT} characters.")
    zone, text = _zone_before(text.strip())
    head, _, rest = text.partition(" ")
    if head.lower() == "@every":
        return Text(zone, every=_duration(rest.strip()))
    if head.startswith("@"):
        if (nickname := NICKNAMES.get(text.lower())) is None:
            raise ScheduleError(f"{head} is none of {', '.join(NICKNAMES)} and @every.")
        text = nickname
    return Text(zone, fields=_fields(text.replace("?", "*").split()))


def _zone_before(text: str) -> tuple[str | None, str]:
    name, equals, rest = text.partition("=")
    if not equals or name not in {"CRON_TZ", "TZ"}:
        return None, text
    zone, _, text = rest.partition(" ")
    return known_zone(zone), text.strip()


def known_zone(name: str) -> str:
    """A zone of the IANA database, by its exact name."""
    try:
        if len(name) <= 63:
            ZoneInfo(name)
            return name
    except (KeyError, ValueError, OSError):
        pass
    raise ScheduleError(f"The time zone {name[:63]!r} is not known.")


def _fields(parts: list[str]) -> Fields:
    if not 5 <= len(parts) <= 7:
        raise ScheduleError(
            f"It has {len(parts)} fields instead of 5, 6 (with seconds first) or 7 "
            "(with years last)."
        )
    years = parts.pop() if len(parts) == 7 else "*"
    seconds = parts.pop(0) if len(parts) == 6 else "0"
    expression = " ".join(parts)
    for (name, longest), part in zip(LONGEST.items(), parts, strict=True):
        if len(part) > longest:
            raise ScheduleError(f"The {name} has more than {longest} characters.")
    _parsed(expression, seconds)
    _allowed_years(years)
    return Fields(expression, seconds, years)


def _parsed(expression: str, seconds: str) -> CronSim:
    try:
        return CronSim(f"{seconds} {expression}", datetime(2000, 1, 1))  # noqa: DTZ001 (no zone on purpose)
    except CronSimError as error:
        raise ScheduleError(_sentence(str(error))) from None


def _sentence(error: str) -> str:
    name = (
        error.removeprefix("Bad ").replace("-", " ").replace("day of week", "weekday")
    )
    return f"Its {name} field is not valid."


@lru_cache(maxsize=1000)
def _allowed_years(text: str) -> frozenset[int] | None:
    """The years of a field; None is all of them."""
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
            # As in the other fields: a step without an end goes on to the end.
            years = range(int(first), YEARS.stop if step else int(first) + 1)
        is_known = years and years[0] in YEARS and years[-1] in YEARS
        if not is_known or int(step or 1) == 0:
            raise ScheduleError("Its year field is not valid.")
        allowed.update(years[:: int(step or 1)])
    return frozenset(allowed)


def _duration(text: str) -> timedelta:
    """Go's notation, such as 1h30m or 1.5h; whole seconds, the rest is dropped."""
    if not _DURATION.fullmatch(text):
        raise ScheduleError("@every takes a duration such as 90s, 15m or 1h30m.")
    try:
        total = sum(
            float(number) * _UNITS[unit]
            for number, unit in _DURATION_PART.findall(text)
        )
        every = timedelta(seconds=int(total + 1e-9))
    except OverflowError:
        raise ScheduleError("@every takes at most 68 years.") from None
    if not SECOND <= every <= timedelta(seconds=2**31 - 1):
        raise ScheduleError("@every takes at least a second, and at most 68 years.")
    return every


# When it is so.


@lru_cache(maxsize=20_000)
def first_from(
    fields: Fields, zone: str, moment: datetime, dst: Dst = USUAL
) -> datetime | None:
    """The first instant at or after a moment at which local time matches the fields.

    By Debian's rule: where minute or hour begins with a star, the clock counts as it
    goes, with nothing in a gap and both passes of an overlap. Any other expression is a
    fixed local time: one in a gap fires when the gap is over, and one in an overlap in
    its first pass, unless `dst` says otherwise. Raises ScheduleError where the fields
    cannot be read.
    """
    minute, hour, *_ = fields.expression.split()
    if zone == "UTC":
        found = next(_matches(fields, _naive(moment, timedelta())), None)
        return found and found.replace(tzinfo=UTC)
    clock = ZoneInfo(zone)
    try:
        if minute.startswith("*") or hour.startswith("*"):
            return _as_the_clock_goes(fields, clock, moment)
        if not dst.runs_twice:
            return _at_fixed_times(fields, clock, moment, dst)
        # The clock as it goes is every pass of every time, and lacks what is in a gap.
        passes = _as_the_clock_goes(fields, clock, moment)
        if dst.skips_gap:
            return passes
        fixed = _at_fixed_times(fields, clock, moment, dst)
        return min(filter(None, (passes, fixed)), default=None)
    except OverflowError:
        # Beyond the year 9999 in this zone or in UTC.
        return None


def _at_fixed_times(
    fields: Fields, clock: ZoneInfo, moment: datetime, dst: Dst
) -> datetime | None:
    # A moment at the end of a gap belongs to the times in it, too; one before tells.
    before = moment.astimezone(UTC) - SECOND
    start = _naive(before, _offset(clock, before))
    for local in _matches(fields, start):
        instant = _first_pass(clock, local)
        if instant < moment:
            continue
        if not dst.skips_gap or _naive(instant, _offset(clock, instant)) == local:
            return instant
    return None


def instant_of(local: datetime, zone: str) -> datetime:
    """When the clock of a zone shows a time, as for a fixed time of an expression."""
    return _first_pass(ZoneInfo(zone), local)


def _first_pass(clock: ZoneInfo, local: datetime) -> datetime:
    """When a local time comes for the first time; in a gap, when the gap is over."""
    early = local.replace(tzinfo=clock, fold=0).astimezone(UTC)
    if _naive(early, _offset(clock, early)) == local:
        return early
    # PEP 495: with the offset before the gap, its times come out after its end, and with
    # the offset after it, before its beginning.
    late = local.replace(tzinfo=clock, fold=1).astimezone(UTC)
    change = _first_change(clock, min(early, late), max(early, late))
    return change or early


def _as_the_clock_goes(
    fields: Fields, clock: ZoneInfo, moment: datetime
) -> datetime | None:
    """Within a span of one offset, local time is plain; so go from span to span."""
    start = moment.astimezone(UTC)
    while True:
        offset = _offset(clock, start)
        local = next(_matches(fields, _naive(start, offset)), None)
        found = None if local is None else (local - offset).replace(tzinfo=UTC)
        # Nothing more in local time, unless it is turned back once more.
        until = found or start + STRIDE
        change = _first_change(clock, start, until)
        if change is None:
            return found
        start = change


def quiet_week(fields: Fields, zone: str, moment: datetime) -> Iterator[datetime]:
    """What matches in the week from a moment on, if no clock is changed around it.

    Then local time is plain, whatever the rules for changes say, and one walk finds all of
    it at a tenth of the cost of asking for each. Nothing where a clock is changed.
    """
    clock = ZoneInfo(zone)
    offset = _offset(clock, moment)
    day = timedelta(days=1)
    if _first_change(clock, moment - day, moment + STRIDE + day) is not None:
        return
    start = _naive(moment, offset)
    end = start + STRIDE
    for local in takewhile(lambda local: local < end, _matches(fields, start)):
        yield (local - offset).replace(tzinfo=UTC)


def goes_by_the_clock(fields: Fields) -> bool:
    minute, hour, *_ = fields.expression.split()
    return minute.startswith("*") or hour.startswith("*")


@dataclass(frozen=True)
class Gap:
    """Local times, without a zone, that the clock jumps over at an instant."""

    at: datetime
    first: datetime
    end: datetime

    def matches(self, fields: Fields) -> Iterator[datetime]:
        """Those that an expression asks for, in order."""
        return takewhile(lambda local: local < self.end, _matches(fields, self.first))


def gaps(zone: str, after: datetime, until: datetime) -> Iterator[Gap]:
    """Where the clock of a zone jumps forward in (after, until], in order."""
    clock = ZoneInfo(zone)
    change = _first_change(clock, after, until)
    while change is not None:
        first = _naive(change, _offset(clock, change - SECOND))
        end = _naive(change, _offset(clock, change))
        if first < end:
            yield Gap(change, first, end)
        change = _first_change(clock, change, until)


def _matches(fields: Fields, start: datetime) -> Iterator[datetime]:
    """Local times from `start` on, in order, as if no clock were ever changed."""
    years = _allowed_years(fields.years)
    walk = _walk(fields, start)
    while (local := next(walk, None)) is not None:
        if years is None or local.year in years:
            yield local
            continue
        later = [year for year in years if year > local.year]
        if not later:
            return
        walk = _walk(fields, datetime(min(later), 1, 1))  # noqa: DTZ001 (no zone on purpose)


def _walk(fields: Fields, start: datetime) -> Iterator[datetime]:
    # cronsim looks strictly after whole seconds.
    before = start - timedelta(microseconds=1)
    try:
        yield from CronSim(f"{fields.seconds} {fields.expression}", before)
    except CronSimError as error:
        raise ScheduleError(_sentence(str(error))) from None
    except (OverflowError, ValueError):
        # It has come to the end of the calendar.
        return


def _naive(moment: datetime, offset: timedelta) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None) + offset


def _offset(clock: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(clock).utcoffset()
    assert offset is not None
    return offset


def _first_change(clock: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """The first instant in (after, until] with another offset than `after` has."""
    offset = _offset(clock, after)
    low = after
    while low < until:
        high = min(low + STRIDE, until)
        if _offset(clock, high) != offset:
            return _bisect(clock, low, high, offset)
        low = high
    return None


def _bisect(
    clock: ZoneInfo, low: datetime, high: datetime, offset: timedelta
) -> datetime:
    """The change between two instants, of which the first still has the old offset."""
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
