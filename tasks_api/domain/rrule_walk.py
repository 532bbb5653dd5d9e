"""Walk the local times of a recurrence rule, from any moment on, in bounded steps.

dateutil knows the calendar of RFC 5545. It walks from DTSTART on and searches without a
limit, so this module gives it a DTSTART near the moment, and counts its steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, time, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from dateutil import rrule

from tasks_api.domain import rrule_text
from tasks_api.domain.effort import TooLong, allowance, spend
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.rrule_text import PERIODS, WITHIN_A_DAY, RuleParts

Frequency = Literal[0, 1, 2, 3, 4, 5, 6]
FREQUENCIES: dict[str, Frequency] = {
    "YEARLY": rrule.YEARLY,
    "MONTHLY": rrule.MONTHLY,
    "WEEKLY": rrule.WEEKLY,
    "DAILY": rrule.DAILY,
    "HOURLY": rrule.HOURLY,
    "MINUTELY": rrule.MINUTELY,
    "SECONDLY": rrule.SECONDLY,
}
# The steps of a walk of each frequency through a month; a yearly one walks through a year
# at once. A step is some microseconds, as in cron.py.
STEPS = (30, 3, 4, 6, 10, 10, 10)
# The units that shorter frequencies count, how many of them there are in the next unit,
# and the frequency that counts that one.
_UNITS = {
    "SECONDLY": ("seconds", "second", 60, "MINUTELY"),
    "MINUTELY": ("minutes", "minute", 60, "HOURLY"),
    "HOURLY": ("hours", "hour", 24, "DAILY"),
}
# So many comparisons, and times that are passed over, are a step.
PER_STEP = 16
# The steps to the last time of a COUNT.
MAX_COUNT_STEPS = 50_000


class _Counted(frozenset[int]):
    """Numbers that spend steps when somebody looks at them."""

    looks = 0

    def _look(self, number: int) -> None:
        before, self.looks = self.looks // PER_STEP, self.looks + number
        if steps := self.looks // PER_STEP - before:
            spend(steps)

    def __contains__(self, value: object) -> bool:
        self._look(1)
        return super().__contains__(value)

    def __iter__(self) -> Iterator[int]:
        self._look(len(self))
        return super().__iter__()


class _CountedPlaces(tuple[int, ...]):
    __slots__ = ()

    def __iter__(self) -> Iterator[int]:
        spend(len(self))
        return super().__iter__()


class _Walk(rrule.rrule):
    """A walk of dateutil that counts its steps.

    dateutil has no limit and no hook. But it asks for `_byeaster`, which no rule here has,
    whenever it enters another month or year; and it looks at hours, minutes and places in
    the loops that stay within a month.
    """

    def __init__(self, freq: Frequency, dtstart: datetime, **parts: Any) -> None:
        self._steps = STEPS[freq]
        super().__init__(freq, dtstart, **parts)
        counted: dict[str, Any] = vars(self)
        for name in ("_byhour", "_byminute", "_bysecond"):
            if counted[name]:
                counted[name] = _Counted(counted[name])
        if counted["_bysetpos"]:
            counted["_bysetpos"] = _CountedPlaces(counted["_bysetpos"])

    @property
    def _byeaster(self) -> None:
        spend(self._steps)

    @_byeaster.setter
    def _byeaster(self, value: None) -> None:
        """Leave it at None."""


def walk(
    rule: str,
    first: datetime,
    last: datetime | None,
    start: datetime,
    until: datetime | None = None,
) -> Iterator[datetime]:
    """Yield the local times of a rule from `start` on, in order, up to `until`.

    `first` is DTSTART, and `last` bounds the times as COUNT or UNTIL does.
    """
    limit = min(filter(None, (last, until)), default=datetime.max)  # noqa: DTZ901 (no zone on purpose)
    passed = 0
    try:
        spend(1)
        near = _near(_simplify(rule, first), first, start)
        for local in _walk_from(rule, first, near):
            if local > limit:
                return
            if local >= start:
                yield local
                continue
            passed += 1
            if passed % PER_STEP == 0:
                spend(1)
    except (OverflowError, ValueError):
        # The walk has reached the end of the calendar, or no time fits all parts.
        return


@lru_cache(maxsize=5_000)
def _simplify(rule: str, first: datetime) -> RuleParts:
    """Return the same rule with the longest frequency: a walk then takes fewer steps.

    `FREQ=MINUTELY;INTERVAL=15` is `FREQ=DAILY` with the minutes of all hours. Raises
    ValueError if no time fits all parts.
    """
    parts = rrule_text.parse(rule)
    while parts.freq in _UNITS and not parts.places:
        name, unit, size, longer = _UNITS[parts.freq]
        interval, phase = parts.interval, getattr(first, unit)
        if size % interval and interval % size:
            break
        step = min(interval, size)
        values = getattr(parts, name) or tuple(range(size))
        fitting = tuple(each for each in values if (each - phase) % step == 0)
        if not fitting:
            raise ValueError("No time fits all parts.")
        own: dict[str, Any] = {name: fitting}
        wider = replace(parts, freq=longer, interval=max(1, interval // size), **own)
        if rrule_text.times_of_day(wider) > rrule_text.MAX_TIMES_OF_DAY:
            break
        parts = wider
    return parts


@lru_cache(maxsize=500)
def _walk_from(rule: str, first: datetime, near: datetime) -> _Walk:
    parts = _simplify(rule, first)
    weekdays = [
        rrule.weekday(day, place) if place else rrule.weekday(day)
        for day, place in parts.weekdays
    ]
    return _Walk(
        FREQUENCIES[parts.freq],
        near,
        interval=parts.interval,
        wkst=parts.week_start,
        bysetpos=parts.places or None,
        byweekno=parts.weeks or None,
        byyearday=parts.year_days or None,
        **_days_of_start(parts, first),
        **({"byweekday": weekdays} if weekdays else {}),
        **_times_of_start(parts, first),
    )


def _days_of_start(parts: RuleParts, first: datetime) -> dict[str, Any]:
    """Return the parts about days, with those of DTSTART for what the rule leaves open."""
    days: dict[str, Any] = {}
    if parts.months:
        days["bymonth"] = parts.months
    if parts.month_days:
        days["bymonthday"] = parts.month_days
    if parts.weekdays or parts.month_days or parts.year_days:
        return days
    match parts.freq:
        case "YEARLY" if not parts.weeks:
            days.setdefault("bymonth", first.month)
            days["bymonthday"] = first.day
        case "MONTHLY":
            days["bymonthday"] = first.day
        case "WEEKLY" | "YEARLY":
            days["byweekday"] = first.weekday()
    return days


def _times_of_start(parts: RuleParts, first: datetime) -> dict[str, Any]:
    """Return the parts about the time of day; shorter frequencies leave larger units open."""
    units = (
        ("byhour", parts.hours, first.hour, "DAILY"),
        ("byminute", parts.minutes, first.minute, "HOURLY"),
        ("bysecond", parts.seconds, first.second, "MINUTELY"),
    )
    period = PERIODS[parts.freq]
    return {
        name: values or (value,)
        for name, values, value, shortest in units
        if values or period >= PERIODS[shortest]
    }


def _near(parts: RuleParts, first: datetime, start: datetime) -> datetime:
    """Return another DTSTART, near `start`, after which the rule has the same times."""
    interval = parts.interval
    if parts.freq == "YEARLY":
        skipped = (start.year - first.year) // interval * interval
        return datetime(first.year + skipped, 1, 1) if skipped > 0 else first  # noqa: DTZ001 (no zone on purpose)
    if parts.freq == "MONTHLY":
        months = (start.year - first.year) * 12 + start.month - first.month
        skipped = months // interval * interval
        year, month = divmod(first.year * 12 + first.month - 1 + skipped, 12)
        return datetime(year, month + 1, 1) if skipped > 0 else first  # noqa: DTZ001 (no zone on purpose)
    begin = _begin_of_period(parts, first)
    span = timedelta(seconds=PERIODS[parts.freq] * interval)
    near = begin + max(0, (start - begin) // span) * span
    return max(near, first)


def _begin_of_period(parts: RuleParts, moment: datetime) -> datetime:
    match parts.freq:
        case "WEEKLY":
            return rrule_text.week_of(moment, parts.week_start)
        case "DAILY":
            return datetime.combine(moment.date(), time())
        case "HOURLY":
            return moment.replace(minute=0, second=0)
        case "MINUTELY":
            return moment.replace(second=0)
    return moment


def last_of_count(rule: str, first: datetime) -> datetime | None:
    """Return the last local time of a rule with COUNT; None without one.

    Raises ScheduleError if the rule has fewer, or if it takes too long to count.
    """
    count = rrule_text.parse(rule).count
    if count is None:
        return None
    try:
        with allowance(MAX_COUNT_STEPS, TooLong):
            times = list(islice(walk(rule, first, None, first), count))
    except TooLong:
        raise ScheduleError(f"Its COUNT of {count} takes too long to count.") from None
    if not times:
        raise ScheduleError("It never fires.")
    return times[-1]


def goes_by_the_clock(rule: str) -> bool:
    return rrule_text.parse(rule).freq in WITHIN_A_DAY
