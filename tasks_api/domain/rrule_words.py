"""Say in words when a recurrence rule fires, without its zone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import product

from tasks_api.domain.rrule_text import PERIODS, RuleParts, parse

UNITS = dict(zip(PERIODS, ("year", "month", "week", "day", "hour", "minute", "second"), strict=True))  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")  # fmt: skip
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}
# More times of a day are said as the parts that make them.
MAX_TIMES = 6


def rule_words(rule: str, first: datetime) -> str:
    """Return, for instance, `Every week on Monday and Friday at 09:00, 5 times`."""
    parts = parse(rule)
    return f"{' '.join(_words(parts, first))}{''.join(_limits(parts, first))}"


def _words(parts: RuleParts, first: datetime) -> Iterator[str]:
    yield f"Every {_counted(parts.interval, UNITS[parts.freq])}"
    months = parts.months
    if not _names_days(parts) and parts.freq == "YEARLY":
        months = months or (first.month,)
    if months:
        yield f"in {_list(MONTHS[month - 1] for month in months)}"
    if parts.weeks:
        yield f"in {_list(f'week {week}' for week in parts.weeks)}"
    days = [_list(each) for each in _days(parts, first) if each]
    if days:
        # Of several parts about days, each leaves fewer.
        yield ", only on ".join((f"on {days[0]}", *days[1:]))
    yield from _times(parts, first)


def _counted(number: int, unit: str) -> str:
    return unit if number == 1 else f"{number} {unit}s"


def _names_days(parts: RuleParts) -> bool:
    return bool(parts.weekdays or parts.month_days or parts.year_days or parts.weeks)


def _days(parts: RuleParts, first: datetime) -> Iterator[list[str]]:
    """Yield the days of each part that is about days."""
    yield [
        f"the {_place(place)} {DAYS[day]}" if place else DAYS[day]
        for day, place in parts.weekdays
    ]
    yield [_day(day, "month") for day in parts.month_days]
    yield [_day(day, "year") for day in parts.year_days]
    if parts.weekdays or parts.month_days or parts.year_days:
        return
    if parts.freq == "WEEKLY" or parts.weeks:
        yield [DAYS[first.weekday()]]
    elif parts.freq in ("MONTHLY", "YEARLY"):
        yield [_day(first.day, "month")]


def _day(day: int, period: str) -> str:
    return (
        f"day {day} of the {period}"
        if day > 0
        else f"the {_place(day)} day of the {period}"
    )


def _place(place: int) -> str:
    if place == -1:
        return "last"
    if place < 0:
        return f"{_place(-place)} to last"
    return _ORDINALS.get(place) or f"{place}th"


def _times(parts: RuleParts, first: datetime) -> Iterator[str]:
    within = PERIODS[parts.freq] < PERIODS["DAILY"]
    hours = parts.hours or (() if within else (first.hour,))
    minutes = parts.minutes or (() if parts.freq in ("MINUTELY", "SECONDLY") else (first.minute,))  # fmt: skip
    seconds = parts.seconds or (() if parts.freq == "SECONDLY" else (first.second,))
    times = list(product(hours, minutes, seconds))
    if 0 < len(times) <= MAX_TIMES and not within:
        yield f"at {_list(_clock(*time) for time in times)}"
        return
    if hours:
        yield f"in {_list(f'hour {hour}' for hour in hours)}"
    if minutes:
        yield f"at {_list(f'minute {minute}' for minute in minutes)}"
    if seconds not in ((), (0,)):
        yield f"at {_list(f'second {second}' for second in seconds)}"


def _clock(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _limits(parts: RuleParts, first: datetime) -> Iterator[str]:
    if parts.places:
        places = _list(f"the {_place(place)}" for place in parts.places)
        yield f", only {places} of these in each {UNITS[parts.freq]}"
    if parts.interval > 1:
        yield f", counted from {first:%Y-%m-%d %H:%M}"
    if parts.count is not None:
        yield f", {_counted(parts.count, 'time')}" if parts.count > 1 else ", once"
    if parts.until is not None:
        zone = " UTC" if parts.until.tzinfo else ""
        yield f", until {parts.until:%Y-%m-%d %H:%M:%S}{zone}"


def _list(items: Iterable[str]) -> str:
    *others, last = items
    return f"{', '.join(others)} and {last}" if others else last
