"""Read cron expressions as clients write them: fields, `@` forms, and their zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from zoneinfo import available_timezones

from tasks_api.domain import eventbridge
from tasks_api.domain.cron import SECOND, Fields, check
from tasks_api.domain.exceptions import ScheduleError

MAX_TEXT_LENGTH = 500
# The lengths of django-celery-beat's columns.
MAX_FIELD_LENGTHS = {
    "minute": 240,
    "hour": 96,
    "day of month": 124,
    "month": 64,
    "day of week": 64,
}
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# Files in the database of zones that are no zones.
NO_ZONES = {"Factory", "localtime", "posixrules"}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|m|s|ms|us|µs|ns))+", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|us|µs|ns)", re.ASCII)
_UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


@dataclass(frozen=True)
class CronText:
    """A client's expression: either fields or an interval, and perhaps a zone."""

    zone: str | None
    fields: Fields | None = None
    every: timedelta | None = None


@lru_cache(maxsize=5_000)
def read(text: str) -> CronText:
    """Read a client's expression. Raises ScheduleError with a sentence."""
    if len(text) > MAX_TEXT_LENGTH:
        raise ScheduleError(
            f"The expression has more than {MAX_TEXT_LENGTH} characters."
        )
    zone, text = _zone_before(text.strip())
    if form := eventbridge.FORM.fullmatch(text):
        return _of_eventbridge(zone, form[1].lower(), form[2])
    head, _, rest = text.partition(" ")
    if head.lower() == "@every":
        return CronText(zone, every=_duration(rest.strip()))
    if head.startswith("@"):
        if (nickname := NICKNAMES.get(text.lower())) is None:
            raise ScheduleError(f"{head} is none of {', '.join(NICKNAMES)} and @every.")
        text = nickname
    parts = text.split()
    _refuse_ambiguous(parts)
    return CronText(zone, fields=_fields([part.replace("?", "*") for part in parts]))


def _of_eventbridge(zone: str | None, form: str, inside: str) -> CronText:
    if form == "rate":
        return CronText(zone, every=_in_range(eventbridge.every(inside)))
    parts = eventbridge.moment if form == "at" else eventbridge.fields
    return CronText(zone, fields=_fields(parts(inside)))


def _refuse_ambiguous(parts: list[str]) -> None:
    """Refuse six fields that only EventBridge can mean: ours begin with seconds."""
    if len(parts) != 6:
        return
    if re.search("[0-9]{4}", parts[5]):
        why = "the last can only be a year"
    elif "?" in (parts[2], parts[4]):
        why = "? stands where EventBridge has a day"
    else:
        return
    text = " ".join(parts)
    raise ScheduleError(
        f"Six fields are second, minute, hour, day of month, month and day of week, but "
        f"{why}. Write cron({text}) for minute, hour, day of month, month, day of week "
        f"and year, or 0 {text} with the second before them."
    )


def _zone_before(text: str) -> tuple[str | None, str]:
    name, equals, rest = text.partition("=")
    if not equals or name not in {"CRON_TZ", "TZ"}:
        return None, text
    zone, _, text = rest.partition(" ")
    return known_zone(zone), text.strip()


def known_zone(name: str) -> str:
    """Return the name if it is that of an IANA zone; raise ScheduleError if not."""
    if name in zone_names():
        return name
    raise ScheduleError(f"The time zone {name[:63]!r} is not known.")


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Return the names of the zones of the IANA database.

    A machine may have more files there: zones that count leap seconds, its own setting,
    and files that stand for no zone.
    """
    names = available_timezones()
    return frozenset(
        name for name in names - NO_ZONES if not name.startswith(("posix/", "right/"))
    )


def _fields(parts: list[str]) -> Fields:
    if not 5 <= len(parts) <= 7:
        raise ScheduleError(
            f"It has {len(parts)} fields instead of 5, 6 (with seconds first) or 7 "
            "(with years last)."
        )
    years = parts.pop() if len(parts) == 7 else "*"
    seconds = parts.pop(0) if len(parts) == 6 else "0"
    expression = " ".join(parts)
    for (name, longest), part in zip(MAX_FIELD_LENGTHS.items(), parts, strict=True):
        if len(part) > longest:
            raise ScheduleError(f"The {name} has more than {longest} characters.")
    # cronsim ignores a step after L or LW.
    if any(item.upper().startswith(("L/", "LW/")) for item in parts[2].split(",")):
        raise ScheduleError("Its day of month field is not valid.")
    fields = Fields(expression, seconds, years)
    check(fields)
    return fields


def _duration(text: str) -> timedelta:
    """Read a duration in Go's notation, such as 1h30m or 1.5h, as whole seconds."""
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
    return _in_range(every)


def _in_range(every: timedelta) -> timedelta:
    if not SECOND <= every <= timedelta(seconds=2**31 - 1):
        raise ScheduleError(
            "@every and rate(…) take at least a second, and at most 68 years."
        )
    return every
