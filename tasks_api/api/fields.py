"""Readers of single fields of requests. They are strict, and each error names its field."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from django.conf import settings
from rest_framework.request import Request

from accounts import encryption, url_credentials
from tasks_api.delivery import targets
from tasks_api.domain.cron import instant_of
from tasks_api.domain.cron_text import known_zone
from tasks_api.domain.effort import TooMuch
from tasks_api.domain.exceptions import InvalidTask, ScheduleError
from tasks_api.domain.schedules import (
    Cron,
    Interval,
    least_interval,
    read_cron,
)
from tasks_api.services.pausing import MAX_REASON_LENGTH

# The maximum of a PostgreSQL integer, which django-celery-beat's intervals are.
MAX_INTEGER = 2**31 - 1
MAX_NAME_LENGTH = 255
# datetime.fromisoformat checks the numbers, but takes more around them than ISO 8601
# does: any character between date and time, one before the offset, a date alone.
ISO_8601_DATETIME = re.compile(
    r"[0-9W-]{8,10}[T ]"
    r"[0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)?"
    r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
SECONDS_PER_UNIT = {
    "weeks": 7 * 24 * 3600,
    "days": 24 * 3600,
    "hours": 3600,
    "minutes": 60,
    "seconds": 1,
}


def raise_invalid(name: str, why: str) -> NoReturn:
    raise InvalidTask(name, f"Invalid value of {name}. It {why}")


def join_choices(words: Collection[str] | type[StrEnum]) -> str:
    """The choices in a sentence: `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}"


def require_object(data: object) -> Mapping[str, Any]:
    """The request body, which must be an object."""
    if not isinstance(data, Mapping):
        raise InvalidTask("body", "The request body should be a JSON object")
    return data


def require_field(data: Mapping[str, Any], name: str) -> Any:
    if name not in data:
        raise InvalidTask(name, f"Missing key: {name}")
    return data[name]


def is_given(data: Mapping[str, Any], name: str) -> bool:
    """Whether a field is present and not null."""
    return data.get(name) is not None


def without_nulls(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None}


def client_name(name: str, value: object) -> str:
    """An id that a client chose: a string of 1 to 255 characters."""
    if isinstance(value, str) and 0 < len(value) <= MAX_NAME_LENGTH:
        return value
    raise InvalidTask(
        name,
        f"Invalid value of {name}. Value should be a string of 1 to {MAX_NAME_LENGTH} "
        "characters",
    )


def reason(data: Mapping[str, Any]) -> str:
    """Why a caller does something, without spaces around it; empty if it is not told."""
    value = data.get("reason")
    if value is None:
        return ""
    if isinstance(value, str) and len(value) <= MAX_REASON_LENGTH:
        return value.strip()
    raise InvalidTask(
        "reason",
        "Invalid value of reason. Value should be a string of at most "
        f"{MAX_REASON_LENGTH} characters",
    )


def whole_number(name: str, value: object, *, minimum: int) -> int:
    """A JSON number without a fraction, from `minimum` to the maximum of a PostgreSQL integer."""
    match value:
        case bool():
            pass
        # The range comes first: converting a number of many digits is expensive.
        case int() | Decimal() if minimum <= value <= MAX_INTEGER and value == int(
            value
        ):
            return int(value)
    raise InvalidTask(
        name,
        f"Invalid value of {name}. Value should be a whole number from {minimum} to "
        f"{MAX_INTEGER}",
    )


def number(
    data: Mapping[str, Any],
    name: str,
    minimum: int,
    maximum: int,
    *,
    label: str = "",
    is_whole: bool = True,
) -> Any:
    """A field that is a JSON number in a range, or None; `label` names it in errors."""
    value = data.get(name)
    match value:
        case None:
            return None
        case bool():
            pass
        # The range comes first: converting a number of many digits is expensive.
        case int() | float() | Decimal() if minimum <= value <= maximum:
            if value == int(value):
                return int(value)
            if not is_whole:
                return float(value)
    name = label or name
    kind = "whole number" if is_whole else "number"
    raise InvalidTask(
        name,
        f"Invalid value of {name}. Value should be a {kind} from {minimum} to {maximum}",
    )


def query_parameters(request: Request) -> Mapping[str, str]:
    """The parameters of the query string, the last one of each name.

    Django replaces what is not UTF-8, and the result could be the id of something else.
    """
    raw = request.META.get("QUERY_STRING", "").encode("latin-1")
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise InvalidTask("query", "The query string is not valid UTF-8") from None
    return dict(pairs)


def id_parameter(query: Mapping[str, str], name: str) -> str:
    """A parameter that is an id: 1 to 255 characters that can be stored."""
    if name not in query:
        raise InvalidTask(name, f"Missing parameter: {name}")
    if "\0" in query[name]:
        raise InvalidTask(name, f"Invalid value of {name}. It contains a NUL character")
    return client_name(name, query[name])


def whole_number_parameter(
    query: Mapping[str, str], name: str, default: int, *, minimum: int
) -> int:
    """A parameter that is a whole number of at most nine digits."""
    text = query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= minimum:
        return int(text)
    raise InvalidTask(
        name, f"Invalid value of {name}. Value should be a whole number from {minimum}"
    )


def boolean(data: Mapping[str, Any], name: str) -> bool | None:
    value = data.get(name)
    if isinstance(value, bool | None):
        return value
    raise InvalidTask(name, f"Invalid value of {name}. Value should be true or false")


def optional_moment(data: Mapping[str, Any], name: str) -> datetime | None:
    """Like moment(); None if the field is absent or null."""
    value = data.get(name)
    return None if value is None else moment(name, value)


def cron(
    name: str,
    value: object,
    *,
    now: datetime,
    zone: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Cron | Interval:
    """A cron expression, in UTC unless the caller gives a zone or the expression contains one."""
    if not isinstance(value, str):
        raise InvalidTask(name, f"Invalid value of {name}. Value should be a string")
    try:
        read = read_cron(value, zone=zone, now=now, start=start, end=end)
        minimum = settings.SCHEDULER_MIN_CRON_INTERVAL
        if least_interval(read) < minimum:
            raise ScheduleError(f"It fires more often than every {minimum} s.")
        return read
    except (ScheduleError, TooMuch) as error:
        raise InvalidTask(name, f"Invalid value of {name}. {error}") from None


def target_url(name: str, value: object) -> str:
    """The URL of a target as it is stored: verbatim, except for sealed credentials.

    Raises InvalidTask if the service may not call it.
    """
    if refusal := targets.refusal(value):
        raise InvalidTask(name, f"Invalid value of {name}. {refusal}")
    url = str(value)
    if url_credentials.find(url) == url_credentials.MASK:
        # The client took it from a response, and it would replace the real credentials.
        raise_invalid(
            name, f"has {url_credentials.MASK} in the place of its credentials"
        )
    return encryption.seal_url(url)


def time_zone(name: str, value: object) -> str:
    """The name of a zone of the IANA database."""
    if not isinstance(value, str):
        raise InvalidTask(name, f"Invalid value of {name}. Value should be a string")
    try:
        return known_zone(value)
    except ScheduleError as error:
        raise InvalidTask(name, f"Invalid value of {name}. {error}") from None


def moment(name: str, value: object, *, zone: str = "UTC") -> datetime:
    """An ISO 8601 date and time as an instant in UTC; `zone` applies without an offset.

    A local time in a gap becomes the end of the gap; one that occurs twice, the first.
    """
    text = value.strip().upper() if isinstance(value, str) else ""
    if ISO_8601_DATETIME.fullmatch(text):
        try:
            read = datetime.fromisoformat(text)
            return read.astimezone(UTC) if read.tzinfo else instant_of(read, zone)
        except (ValueError, OverflowError):
            pass
    raise InvalidTask(
        name,
        f"Invalid value of {name}. Value should be a date and time in ISO 8601, such as "
        "2030-12-05T08:00:00Z",
    )


def future_moment(
    name: str, value: object, *, now: datetime, zone: str = "UTC"
) -> datetime:
    read = moment(name, value, zone=zone)
    if read <= now:
        raise InvalidTask(name, f"{name} should be in future")
    return read


def frequency(value: object, *, minimum: int) -> timedelta:
    """Whole seconds: a number, its digits, or a sum of weeks, days, hours, ….

    Raises InvalidTask for anything else, and for less than `least` seconds.
    """
    seconds = (
        _sum_of_units(value) if isinstance(value, Mapping) else _whole_seconds(value)
    )
    if seconds is None:
        _raise_invalid_frequency("a whole number of seconds")
    if seconds < minimum:
        _raise_invalid_frequency(f"greater than or equal to {minimum}")
    if seconds > MAX_INTEGER:
        _raise_invalid_frequency(f"less than or equal to {MAX_INTEGER}")
    return timedelta(seconds=seconds)


def _raise_invalid_frequency(wanted: str) -> NoReturn:
    raise InvalidTask(
        "frequency", f"Invalid value of frequency. Value should be {wanted}"
    )


def _whole_seconds(value: object) -> int | None:
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


def _sum_of_units(parts: Mapping[str, object]) -> int | None:
    total = 0
    for name, value in parts.items():
        count = _whole_seconds(value)
        if name not in SECONDS_PER_UNIT or count is None or count < 0:
            return None
        total += count * SECONDS_PER_UNIT[name]
    return total
