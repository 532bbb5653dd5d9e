"""What clients write into fields, read strictly; each error names its field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

from tasks_api.exceptions import InvalidTask

# What PostgreSQL's integer holds, and so django-celery-beat's intervals.
LARGEST_FREQUENCY = 2**31 - 1
# datetime.fromisoformat checks the numbers, but takes more around them than ISO 8601
# does: any character between date and time, one before the offset, a date alone.
MOMENT = re.compile(
    r"[0-9W-]{8,10}[T ]"
    r"[0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)?"
    r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
SECONDS_IN = {
    "weeks": 7 * 24 * 3600,
    "days": 24 * 3600,
    "hours": 3600,
    "minutes": 60,
    "seconds": 1,
}


def required(data: Mapping[str, Any], name: str) -> Any:
    if name not in data:
        raise InvalidTask(name, f"Missing key: {name}")
    return data[name]


def moment(name: str, value: object) -> datetime:
    """An ISO 8601 date and time as an instant in UTC; without an offset it is UTC."""
    text = value.strip().upper() if isinstance(value, str) else ""
    if MOMENT.fullmatch(text):
        try:
            read = datetime.fromisoformat(text)
            aware = read if read.tzinfo else read.replace(tzinfo=UTC)
            return aware.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidTask(
        name,
        f"Invalid value of {name}. Value should be a date and time in ISO 8601, such as "
        "2030-12-05T08:00:00Z",
    )


def future(name: str, value: object, *, now: datetime) -> datetime:
    read = moment(name, value)
    if read <= now:
        raise InvalidTask(name, f"{name} should be in future")
    return read


def frequency(value: object, *, least: int) -> timedelta:
    """Whole seconds: a number, its digits, or a sum of weeks, days, hours, ….

    Raises InvalidTask for anything else, and for less than `least` seconds.
    """
    seconds = _sum(value) if isinstance(value, Mapping) else _whole(value)
    if seconds is None:
        _refuse("a whole number of seconds")
    if seconds < least:
        _refuse(f"greater than or equal to {least}")
    if seconds > LARGEST_FREQUENCY:
        _refuse(f"less than or equal to {LARGEST_FREQUENCY}")
    return timedelta(seconds=seconds)


def _refuse(wanted: str) -> NoReturn:
    raise InvalidTask(
        "frequency", f"Invalid value of frequency. Value should be {wanted}"
    )


def _whole(value: object) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() else None
        case str():
            digits = value.strip()
            fits = digits.isascii() and digits.isdigit() and len(digits) <= 12
            return int(digits) if fits else None
    return None


def _sum(parts: Mapping[str, object]) -> int | None:
    total = 0
    for name, value in parts.items():
        count = _whole(value)
        if name not in SECONDS_IN or count is None or count < 0:
            return None
        total += count * SECONDS_IN[name]
    return total
