"""Read and show the fields of a calendar."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from tasks_api.api import fields, known_fields
from tasks_api.domain.day_sets import WEEKDAYS
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Calendar, CalendarVersion
from tasks_api.services.calendar_effects import CalendarEffect, TaskEffect
from tasks_api.services.calendars import CalendarContent, CalendarDay

MAX_CALENDAR_NAME_LENGTH = 100
MAX_DATES, MAX_RANGES = 3000, 2000
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)
MAX_DAYS = 3660
_RANGE = known_fields.KnownFields(dict.fromkeys(("from", "to"), known_fields.NO_FIELDS))
DEFAULT_DAYS = 366
# The changed tasks that a preview names.
MAX_NAMED_TASKS = 100


def read_name(value: object) -> str:
    """A name that can stand in a path: printable, and without a slash."""
    if (
        isinstance(value, str)
        and 0 < len(value) <= MAX_CALENDAR_NAME_LENGTH
        and value.isprintable()
        and "/" not in value
        and value == value.strip()
    ):
        return value
    raise InvalidTask(
        "name",
        f"Invalid value of name. Value should be a string of 1 to "
        f"{MAX_CALENDAR_NAME_LENGTH} printable characters, without a slash",
    )


def read_content(data: Mapping[str, Any]) -> CalendarContent:
    """What a calendar contains, as it is stored. Raises InvalidTask naming the field."""
    data = fields.without_nulls(data)
    zone = fields.time_zone("zone", data.get("zone", "UTC"))
    content = {
        "dates": _read_dates(data.get("dates", [])),
        "ranges": [
            _read_range(each, number, zone)
            for number, each in enumerate(_list(data, "ranges", MAX_RANGES))
        ],
        "weekdays": _read_weekdays(data.get("weekdays", [])),
        "holidays": _read_holidays(data.get("holidays")),
    }
    return CalendarContent(zone, content)


def _list(data: Mapping[str, Any], name: str, most: int) -> list[Any]:
    value = data.get(name, [])
    if not isinstance(value, list) or len(value) > most:
        fields.raise_invalid(name, f"should be a list of at most {most} values")
    return value


def read_day(name: str, value: object) -> date:
    """A day in ISO 8601, as `2026-12-24`."""
    try:
        if isinstance(value, str) and len(value) == len("2026-12-24"):
            read = date.fromisoformat(value)
            if FIRST_DAY <= read <= LAST_DAY and value == read.isoformat():
                return read
    except ValueError:
        pass
    raise InvalidTask(
        name,
        f"Invalid value of {name}. Value should be a day in ISO 8601 from 1970 on, such "
        "as 2026-12-24",
    )


def _read_dates(value: object) -> list[str]:
    days = _list({"dates": value}, "dates", MAX_DATES)
    return sorted({read_day("dates", each).isoformat() for each in days})


def _read_range(value: object, number: int, zone: str) -> dict[str, str]:
    name = f"ranges[{number}]"
    if not isinstance(value, Mapping):
        fields.raise_invalid(name, "should be an object of from and to")
    known_fields.require_known_fields(value, _RANGE)
    first, last = value.get("from"), value.get("to")
    if _is_day(first) and _is_day(last):
        days = read_day(f"{name}.from", first), read_day(f"{name}.to", last)
        if days[0] > days[1]:
            fields.raise_invalid(name, "ends before it begins")
        return {"from": days[0].isoformat(), "to": days[1].isoformat()}
    start = fields.moment(f"{name}.from", first, zone=zone)
    end = fields.moment(f"{name}.to", last, zone=zone)
    if start >= end:
        fields.raise_invalid(name, "ends before it begins")
    return {"from": format_timestamp(start), "to": format_timestamp(end)}


def _is_day(value: object) -> bool:
    return isinstance(value, str) and len(value) <= len("2026-12-24")


def _read_weekdays(value: object) -> list[str]:
    if not isinstance(value, list) or not all(
        isinstance(each, str) and each in WEEKDAYS for each in value
    ):
        fields.raise_invalid(
            "weekdays", f"should be a list of {fields.join_choices(WEEKDAYS)}"
        )
    return [day for day in WEEKDAYS if day in value]


def _read_holidays(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        fields.raise_invalid(
            "holidays", "should be an object of country and subdivision"
        )
    country, subdivision = value.get("country"), value.get("subdivision")
    if not isinstance(country, str):
        raise InvalidTask("holidays.country", "Missing key: holidays.country")
    if subdivision is None or subdivision == "":
        return {"country": country}
    if not isinstance(subdivision, str):
        fields.raise_invalid("holidays.subdivision", "should be a string")
    return {"country": country, "subdivision": subdivision}


def read_days(query: Mapping[str, str], today: date) -> tuple[date, date]:
    """The first and the last day that a query asks for: a year from today by default."""
    first = read_day("from", query["from"]) if "from" in query else today
    last = (
        read_day("to", query["to"])
        if "to" in query
        else min(first, LAST_DAY - timedelta(days=DEFAULT_DAYS))
        + timedelta(days=DEFAULT_DAYS - 1)
    )
    if not first <= last < first + timedelta(days=MAX_DAYS):
        fields.raise_invalid("to", f"should be at most {MAX_DAYS} days after from")
    return first, last


def render_calendar(
    calendar: Calendar, version: CalendarVersion, **more: Any
) -> dict[str, Any]:
    return {
        "name": calendar.name,
        "version": calendar.version,
        **_render_content(version),
        "created_at": format_timestamp(calendar.created_at),
        "changed_at": format_timestamp(version.created_at),
        **more,
    }


def render_version(version: CalendarVersion) -> dict[str, Any]:
    return {
        "version": version.number,
        **_render_content(version),
        "created_at": format_timestamp(version.created_at),
        "created_by": version.created_by,
    }


def _render_content(version: CalendarVersion) -> dict[str, Any]:
    return {"zone": version.zone, **version.content}


def render_day(each: CalendarDay) -> dict[str, Any]:
    return {
        "day": each.day.isoformat(),
        "whole": each.is_whole,
        "holiday": each.holiday,
    }


def render_effect(effect: CalendarEffect) -> dict[str, Any]:
    return {
        "task_count": effect.tasks,
        "compared": effect.compared,
        "until": format_timestamp(effect.until),
        "changed": len(effect.changed),
        "dropped": effect.dropped,
        "added": effect.added,
        "held": effect.held,
        "released": effect.released,
        "effects": [_render_task(each) for each in effect.changed[:MAX_NAMED_TASKS]],
    }


def _render_task(each: TaskEffect) -> dict[str, Any]:
    return {
        "id": str(each.task_id),
        "name": each.name,
        "dropped": each.dropped,
        "added": each.added,
        "held": each.held,
        "released": each.released,
        "over": each.is_over,
    }
