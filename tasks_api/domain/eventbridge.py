"""Translate EventBridge's `cron(…)`, `rate(…)` and `at(…)` into our own expressions."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from tasks_api.domain.exceptions import ScheduleError

FORM = re.compile(r"(cron|rate|at)\s*\((.*)\)", re.IGNORECASE)
_RATE = re.compile(r"([0-9]{1,9})\s+(minute|hour|day)s?", re.IGNORECASE)
_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
# A weekday or a range of them; which one of a month; a step.
_WEEKDAYS = re.compile(r"([0-9]+|[a-z]+)(?:-([0-9]+|[a-z]+))?(#[0-9]+|L)?(/[0-9]+)?", re.I)  # fmt: skip
_BOTH_DAYS = (
    "In cron(…) one of day of month and day of week is ?, and the other says when."
)


def every(inside: str) -> timedelta:
    """Return the interval of `rate(…)`."""
    match = _RATE.fullmatch(inside.strip())
    if match is None or int(match[1]) == 0:
        raise ScheduleError(
            "rate(…) takes a number of minutes, hours or days, as rate(5 minutes)."
        )
    return int(match[1]) * timedelta(**{f"{match[2].lower()}s": 1})


def moment(inside: str) -> list[str]:
    """Return the seven fields that match only the local time of `at(…)`."""
    text = inside.strip().upper()
    try:
        at = datetime.fromisoformat(text) if _AT.fullmatch(text) else None
    except ValueError:
        at = None
    if at is None:
        raise ScheduleError("at(…) takes a local time, as at(2030-12-05T08:00:00).")
    return f"{at.second} {at.minute} {at.hour} {at.day} {at.month} * {at.year}".split()


def fields(inside: str) -> list[str]:
    """Return the seven fields of `cron(…)`: seconds come first, and Sunday is 0."""
    parts = inside.split()
    if len(parts) != 6:
        raise ScheduleError(
            f"cron(…) has {len(parts)} fields instead of 6: minute, hour, day of month, "
            "month, day of week, year."
        )
    minute, hour, day, month, weekday, year = parts
    if (day == "?") == (weekday == "?") or "?" in minute + hour + month + year:
        raise ScheduleError(_BOTH_DAYS)
    if "W" in day.upper() and day.upper() != "LW":
        raise ScheduleError("W is known as LW alone, the last weekday of a month.")
    day, weekday = day.replace("?", "*"), weekday.replace("?", "*")
    days = ",".join(_weekdays(item) for item in weekday.split(","))
    return ["0", minute, hour, day, month, days, year]


def _weekdays(item: str) -> str:
    """Translate an item of the weekday field, where Sunday to Saturday are 1 to 7."""
    if item.startswith("*"):
        return item
    if item.upper() == "L":
        return "6"
    match = _WEEKDAYS.fullmatch(item)
    if match is None:
        raise ScheduleError("Its weekday field is not valid.")
    first, last, which, step = match.groups()
    if step and last is None:
        # The range ends on Saturday: cronsim would go on to 7, a second Sunday.
        return f"{_day(first)}-6{step}"
    span = f"{_day(first)}-{_day(last)}" if last else _day(first)
    return f"{span}{which or ''}{step or ''}"


def _day(text: str) -> str:
    if not text.isdigit():
        return text
    if not 1 <= int(text) <= 7:
        raise ScheduleError("In cron(…) days of the week are 1 to 7 for SUN to SAT.")
    return str(int(text) - 1)
