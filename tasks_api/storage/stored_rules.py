"""Write schedules that django-celery-beat cannot hold as JSON, and read them again.

Beside the JSON, its tables hold a stand-in that the admin shows: an interval or a crontab
that comes near. If an operator replaces the stand-in, the JSON no longer counts.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from tasks_api.domain.cron import Fields, check
from tasks_api.domain.cron_text import known_zone
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.rrule_text import RuleParts, parse
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedule_parts import parts_of
from tasks_api.domain.schedules import Cron, Interval, Once, Part

SECOND = timedelta(seconds=1)


class StoredRules(NamedTuple):
    """The schedules of a task, and the stand-in that was stored beside them."""

    stand_in: str
    schedules: tuple[Part, ...]


def encode(schedule: Recurrence | AnyOf[Part], stand_in: str) -> str:
    """Return the JSON of a schedule, without what other columns hold.

    Those are the start, the end, the offset and `dst`; of several schedules, each has a
    start and an end of its own.
    """
    if isinstance(schedule, Recurrence):
        entries = [_rule_of(schedule)]
    else:
        entries = [_entry_of(each) for each in schedule.schedules]
    written = {"stand_in": stand_in, "schedules": entries}
    return json.dumps(written, separators=(",", ":"))


def _entry_of(schedule: Part) -> dict[str, Any]:
    match schedule:
        case Once(at=at):
            return {"at": at.astimezone(UTC).isoformat()}
        case Interval(every=every):
            entry: dict[str, Any] = {"every": every // SECOND}
        case Cron(expression=expression, seconds=seconds, years=years):
            entry = {"cron": [seconds, expression, years], "zone": schedule.zone}
        case Recurrence():
            entry = _rule_of(schedule)
    for name, moment in (("start", schedule.start), ("end", schedule.end)):
        if moment is not None:
            entry[name] = moment.astimezone(UTC).isoformat()
    return entry


def _rule_of(schedule: Recurrence) -> dict[str, Any]:
    last = {"last": schedule.last.isoformat()} if schedule.last else {}
    first = schedule.first.isoformat()
    return {"rrule": schedule.rule, "first": first, "zone": schedule.zone, **last}


@lru_cache(maxsize=5_000)
def decode(text: str) -> StoredRules:
    """Read what encode() wrote. Raises ScheduleError if somebody else wrote it."""
    try:
        written = json.loads(text)
        schedules = tuple(_schedule_of(entry) for entry in written["schedules"])
        if not schedules or (len(schedules) == 1 and not _is_rule(schedules[0])):
            raise ValueError
        return StoredRules(written["stand_in"], schedules)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        raise ScheduleError("The stored rules cannot be read.") from None


def _is_rule(schedule: Part) -> bool:
    return isinstance(schedule, Recurrence)


def _schedule_of(entry: dict[str, Any]) -> Part:
    if "at" in entry:
        return Once(datetime.fromisoformat(entry["at"]))
    start, end = _moment(entry, "start"), _moment(entry, "end")
    if "every" in entry:
        if start is None or entry["every"] < 1:
            raise ValueError
        return Interval(start, entry["every"] * SECOND, end)
    zone = known_zone(entry["zone"])
    if "cron" in entry:
        seconds, expression, years = entry["cron"]
        check(Fields(expression, seconds, years))
        return Cron(expression, zone, start, end, seconds, years)
    first = datetime.fromisoformat(entry["first"])
    parse(entry["rrule"])
    return Recurrence(entry["rrule"], first, zone, _moment(entry, "last"), start, end)


def _moment(entry: dict[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(entry[name]) if name in entry else None


def stand_in_of(schedule: Recurrence | AnyOf[Part]) -> Interval | Cron:
    """Return the first schedule that recurs, as the admin can show it.

    A rule becomes the crontab that comes nearest: it has the days, hours and minutes that
    the rule names, and leaves out which week, which place and which count.
    """
    parts = parts_of(schedule)
    found = next((each for each in parts if not isinstance(each, Once)), parts[0])
    match found:
        case Interval():
            return found
        case Cron(expression=expression, zone=zone):
            return Cron(expression, zone)
        case Once(at=at):
            at = at.astimezone(UTC)
            return Cron(f"{at.minute} {at.hour} {at.day} {at.month} *")
    return Cron(_nearest_crontab(parse(found.rule), found.first), found.zone)


def _nearest_crontab(parts: RuleParts, first: datetime) -> str:
    is_hourly = parts.freq == "HOURLY"
    within_hour = parts.freq in ("MINUTELY", "SECONDLY")
    minutes = parts.minutes or (() if within_hour else (first.minute,))
    hours = parts.hours or (() if within_hour or is_hourly else (first.hour,))
    days = tuple(day for day in parts.month_days if day > 0)
    weekdays = tuple(sorted({(each.day + 1) % 7 for each in parts.weekdays}))
    months = parts.months
    if not (days or weekdays or parts.month_days or parts.year_days or parts.weeks):
        match parts.freq:
            case "WEEKLY":
                weekdays = (first.isoweekday() % 7,)
            case "MONTHLY":
                days = (first.day,)
            case "YEARLY":
                days, months = (first.day,), months or (first.month,)
    fields = ((minutes, 60), (hours, 24), (days, 31), (months, 12), (weekdays, 7))
    return " ".join(
        ",".join(map(str, values)) if 0 < len(values) < size else "*"
        for values, size in fields
    )
