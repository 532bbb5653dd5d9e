"""Say in words when a schedule fires, with the zone whose clock it follows.

cron-descriptor words the fields of a cron expression. It has its own reading of some
fields, so this module first writes them in a way that it reads as the service does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, timedelta
from functools import lru_cache

from cron_descriptor import DescriptionTypeEnum, ExpressionDescriptor, Options
from cron_descriptor.Exception import (
    FormatException,
    MissingFieldException,
    WrongArgumentException,
)

from tasks_api.domain.calendars import CalendarRules, OnCalendars, OnExcluded
from tasks_api.domain.cron import Fields
from tasks_api.domain.day_sets import CalendarDays
from tasks_api.domain.rrule_words import rule_words
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedules import Cron, Grid, Interval, Once, Schedule, grid_of

UNREADABLE = (FormatException, MissingFieldException, WrongArgumentException)
# More values of one field are shorter as a range with a step.
MAX_LISTED = 16
DAYS_OF_WEEK = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")  # fmt: skip
_NAMES = {name: number for number, name in enumerate(DAYS_OF_WEEK)} | {
    name: number for number, name in enumerate(MONTHS, start=1)
}
SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY = range(6)
# Sunday is 0 and 7.
_SPANS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
COUNTS = (60, 60, 24, 31, 12, 7)
_ITEM = re.compile(r"(?:\*|(\w+))(?:-(\w+))?(?:/([0-9]+))?")
# The last day, the last Friday and the first Sunday of a month.
_SPECIAL_DAY = re.compile(r"L|LW|[0-9]L|(?:[0-9]|[A-Z]{3})#[0-9]")
# What cron-descriptor says of a field that restricts nothing.
_NEEDLESS = re.compile(r", every (minute|hour|day)(?=,|$)")


_ON_EXCLUDED = {
    OnExcluded.SKIP: "",
    OnExcluded.NEXT_BUSINESS_DAY: ", or else on the next business day",
    OnExcluded.PREVIOUS_BUSINESS_DAY: ", or else on the previous business day",
}


def schedule_words(schedule: Schedule) -> str:
    """Return, for instance, `At 09:00, Monday through Friday, in Europe/Berlin`."""
    words = _grid_words(grid_of(schedule))
    if isinstance(schedule, OnCalendars):
        words += calendar_words(schedule.rules)
    return words


def calendar_words(rules: CalendarRules) -> str:
    """Return what follows a schedule, such as `, except on calendar de-holidays`."""
    words = ""
    if rules.only:
        words += f", only on calendar {_any(rules.only)}"
    if rules.exclude:
        words += f", except on calendar {_any(rules.exclude)}"
    words += _ON_EXCLUDED[rules.on_excluded]
    if rules.hold:
        words += f", held back by calendar {_any(rules.hold)}"
    return words


def _any(calendars: Iterable[CalendarDays]) -> str:
    return " or ".join(each.name for each in calendars)


def _grid_words(grid: Once | Grid) -> str:
    match grid:
        case Once(at=at):
            return f"Once, at {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        case Interval(every=every):
            return f"Every {interval_words(every)}"
        case Cron(expression=expression, seconds=seconds, years=years, zone=zone):
            return f"{cron_words(Fields(expression, seconds, years))}, in {zone}"
        case Recurrence(rule=rule, first=first, zone=zone):
            return f"{rule_words(rule, first)}, in {zone}"
        case AnyOf(schedules=parts):
            return "; and ".join(map(schedule_words, parts))


def interval_words(every: timedelta) -> str:
    """Return `hour`, `5 minutes` or `1 day 2 hours`, as it follows `every`."""
    words = duration_words(every)
    return words.removeprefix("1 ") if words.count(" ") == 1 else words


def duration_words(span: timedelta) -> str:
    """Return `1 hour`, `5 minutes` or `1 day 2 hours`; fractions of a second are lost."""
    minutes, seconds = divmod(round(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = ("day", "hour", "minute", "second")
    counts = (days, hours, minutes, seconds)
    parts = [
        f"{count} {unit}{'' if count == 1 else 's'}"
        for count, unit in zip(counts, units, strict=True)
        if count
    ]
    return " ".join(parts) or "0 seconds"


@lru_cache(maxsize=5_000)
def cron_words(fields: Fields) -> str:
    """Return when valid fields match, without the zone."""
    parts = f"{fields.seconds} {fields.expression}".upper().split()
    readable = [_readable(index, part) for index, part in enumerate(parts)]
    if readable[MINUTE] == "0" and re.fullmatch("[0-9]+-[0-9]+", readable[HOUR]):
        # Without a step, the words leave open how often it fires in these hours.
        readable[HOUR] += "/1"
    try:
        text = "".join(
            (
                _described(DescriptionTypeEnum.TIMEOFDAY, readable, fields.years),
                _days(parts, readable),
                _described(DescriptionTypeEnum.MONTH, readable, fields.years),
                _described(DescriptionTypeEnum.YEAR, readable, fields.years),
            )
        )
    except UNREADABLE:
        return f"When the clock matches {' '.join(parts)} {fields.years}"
    return _polished(text)


def _described(kind: DescriptionTypeEnum, parts: list[str], years: str = "*") -> str:
    options = Options()
    options.use_24hour_time_format = True
    # The language of the pages, whatever that of the machine is.
    options.locale_code = "en_US"
    described: str = ExpressionDescriptor(
        " ".join((*parts, years)), options
    ).get_description(kind)
    return described


def _days(parts: list[str], readable: list[str]) -> str:
    """Say which days match: one of both fields is enough if both are restricted."""
    day = _each_day(DescriptionTypeEnum.DAYOFMONTH, DAY, readable)
    weekday = _each_day(DescriptionTypeEnum.DAYOFWEEK, WEEKDAY, readable)
    if parts[DAY].startswith("*") or parts[WEEKDAY].startswith("*"):
        return f"{day}{weekday}"
    if "*" in (readable[DAY], readable[WEEKDAY]):
        return ""
    return f", {_bare(day)} or {_bare(weekday)}"


def _each_day(kind: DescriptionTypeEnum, index: int, parts: list[str]) -> str:
    """Describe a field of days, item by item if one of them is special."""
    items = parts[index].split(",")
    if len(items) == 1 or not any(map(_SPECIAL_DAY.fullmatch, items)):
        return _described(kind, parts)
    texts = [
        _bare(_described(kind, [*parts[:index], item, *parts[index + 1 :]]))
        for item in items
    ]
    return f", {', '.join(texts[:-1])} and {texts[-1]}"


def _bare(text: str) -> str:
    return text.removeprefix(", ").removeprefix("only ")


def _readable(index: int, part: str) -> str:
    """Write a field as cron-descriptor reads it, with its values one by one if few."""
    values, special = split_field(index, part)
    if len(values) == COUNTS[index]:
        return "*"
    if len(values) == 1 and not special:
        return str(*values)
    is_list, has_step = "," in part, "/" in part
    is_plain = not has_step and not (index == HOUR and is_list)
    is_long = len(values) > MAX_LISTED and not (is_list and has_step)
    if is_plain or is_long or _is_even_step(index, part):
        return part
    return ",".join([*map(str, sorted(values)), *special])


def split_field(index: int, part: str) -> tuple[set[int], list[str]]:
    """Return the values of a valid field in upper case, and its special days."""
    values: set[int] = set()
    special = []
    for item in part.split(","):
        if _SPECIAL_DAY.fullmatch(item):
            special.append(item)
        else:
            values.update(_values(index, item))
    return values, special


def _is_even_step(index: int, part: str) -> bool:
    """Return whether `*/n` means the same as "every n", also at the end of the span."""
    match = re.fullmatch(r"\*/([0-9]+)", part)
    return index <= HOUR and match is not None and not COUNTS[index] % int(match[1])


def _values(index: int, item: str) -> set[int]:
    """Return the values of `*`, `5`, `9-17` or one of these with a step."""
    match = _ITEM.fullmatch(item)
    assert match is not None
    low, high, step = match.groups()
    first, last = _SPANS[index]
    begin = first if low is None else _number(low)
    if high is not None:
        last = _number(high)
    elif low is not None and step is None:
        last = begin
    values = range(begin, last + 1, int(step or 1))
    return {value % 7 for value in values} if index == WEEKDAY else set(values)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else _NAMES[text]


def _polished(text: str) -> str:
    text = _NEEDLESS.sub("", text)
    text = re.sub(r"\b1 (minute|second)s past", r"1 \1 past", text)
    text = re.sub(r"\bevery 1 (\w+)s\b", r"every \1", text)
    return text[0].upper() + text[1:]
