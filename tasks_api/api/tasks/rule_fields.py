"""The fields `rrule` and `schedules` of a task, read from requests and shown in responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings

from tasks_api.api import fields, known_fields, openapi
from tasks_api.domain import rrule_text
from tasks_api.domain.effort import TooMuch
from tasks_api.domain.exceptions import InvalidTask, ScheduleError
from tasks_api.domain.rules import AnyOf, Recurrence, make_recurrence
from tasks_api.domain.schedule_parts import last_moment, parts_of
from tasks_api.domain.schedules import (
    Once,
    Part,
    Schedule,
    first_after,
    least_interval,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIN_SCHEDULES, MAX_SCHEDULES = 2, 10
# What says when, of which a task and each of its schedules have one.
KINDS = ("frequency", "cron", "rrule", "run_datetime")
_MOMENT = openapi.text("An ISO 8601 date and time, in UTC without an offset.")
RRULE = openapi.text(
    "A recurrence rule of RFC 5545, in place of `frequency` and `cron`: a line `RRULE`, and "
    "a line `DTSTART` with its zone. Without DTSTART, `start_datetime` is in its place, and "
    "`timezone` says in which zone both are.",
    maxLength=rrule_text.MAX_TEXT_LENGTH,
    example="DTSTART;TZID=Europe/Berlin:20261201T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE",
)
ENTRY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": openapi.optional(
        {
            "frequency": {
                "type": "integer",
                "minimum": 1,
                "maximum": fields.MAX_INTEGER,
                "description": "Seconds between two fire times.",
            },
            "cron": openapi.CRON,
            "rrule": RRULE,
            "run_datetime": openapi.text(
                "A single moment: an ISO 8601 date and time, in `timezone` without an offset."
            ),
            "timezone": openapi.text(
                "The IANA time zone of `cron`, `rrule` or `run_datetime`; UTC if absent."
            ),
            "start_datetime": _MOMENT,
            "end_datetime": _MOMENT,
        }
    ),
}
SCHEDULES: dict[str, Any] = {
    "type": "array",
    "minItems": MIN_SCHEDULES,
    "maxItems": MAX_SCHEDULES,
    "description": "Several schedules in place of one: the task fires at each moment of any "
    "of them, once a moment. Each has one of `frequency`, `cron`, `rrule` and `run_datetime`.",
    "items": ENTRY_SCHEMA,
}
_ENTRY = known_fields.fields_of_schema(ENTRY_SCHEMA)
# Reads a schedule at a moment, with the one that is kept in its place.
ReadPart = Callable[[Mapping[str, Any], datetime, Part | None], Part]


# Requests.


def refuse_other_kinds(data: Mapping[str, Any]) -> None:
    """Raise InvalidTask if a task has a rule and something else that says when."""
    others = (
        "frequency",
        "cron",
        *(("timezone",) if _given(data, "schedules") else ()),
    )
    for name in ("rrule", "schedules"):
        for other in (*others, "rrule"):
            if name != other and _given(data, name) and _given(data, other):
                raise InvalidTask(name, f"A task has either {name} or {other}")


def _given(data: Mapping[str, Any], name: str) -> bool:
    return fields.is_given(data, name)


def read_recurrence(data: Mapping[str, Any]) -> Recurrence:
    """The recurrence rule of a request, without the start and end of its task.

    `start_datetime` is the DTSTART of a rule without one. Raises InvalidTask naming
    the field.
    """
    value = data["rrule"]
    if not isinstance(value, str):
        raise InvalidTask("rrule", "Invalid value of rrule. Value should be a string")
    try:
        read = rrule_text.read(value)
        zone = _zone(data, read)
        first = read.first or _first(data, zone)
        found = make_recurrence(read.rule, first, zone)
        if least_interval(found) < settings.SCHEDULER_MIN_CRON_INTERVAL:
            minimum = settings.SCHEDULER_MIN_CRON_INTERVAL
            raise ScheduleError(f"It fires more often than every {minimum} s.")
    except (ScheduleError, TooMuch) as error:
        raise InvalidTask("rrule", f"Invalid value of rrule. {error}") from None
    return found


def _zone(data: Mapping[str, Any], read: rrule_text.RuleText) -> str:
    given = data.get("timezone")
    zone = None if given is None else fields.time_zone("timezone", given)
    if zone and read.zone and zone != read.zone:
        raise ScheduleError(f"It names two time zones, {read.zone} and {zone}.")
    return read.zone or zone or "UTC"


def _first(data: Mapping[str, Any], zone: str) -> datetime:
    if not _given(data, "start_datetime"):
        raise ScheduleError("It needs a DTSTART, or a start_datetime beside it.")
    moment = fields.moment("start_datetime", data["start_datetime"], zone=zone)
    try:
        local = moment.astimezone(ZoneInfo(zone))
    except OverflowError:
        raise ScheduleError(
            "It begins before the calendar does, or after it."
        ) from None
    return local.replace(microsecond=0, tzinfo=None)


def has_own_start(data: Mapping[str, Any]) -> bool:
    """Whether `start_datetime` is not the DTSTART of the rule, which has one of its own."""
    value = data.get("rrule")
    return not isinstance(value, str) or "DTSTART" in value.upper()


def read_schedules(
    data: Mapping[str, Any], kept: Schedule | None, read: ReadPart, *, now: datetime
) -> AnyOf[Part]:
    """The several schedules of a request, without the start and end of its task.

    Raises InvalidTask naming the field.
    """
    entries = data["schedules"]
    is_list = isinstance(entries, list)
    if not is_list or not MIN_SCHEDULES <= len(entries) <= MAX_SCHEDULES:
        fields.raise_invalid(
            "schedules",
            f"should be a list of {MIN_SCHEDULES} to {MAX_SCHEDULES} schedules",
        )
    before = parts_of(kept) if isinstance(kept, AnyOf) else ()
    found: AnyOf[Part] = AnyOf(
        tuple(
            _read_entry(index, entry, was, read, now)
            for index, (entry, was) in enumerate(
                zip_longest(entries, before[: len(entries)])
            )
        )
    )
    return replace(found, end=last_moment(found))


def _read_entry(
    index: int, entry: object, kept: Part | None, read: ReadPart, now: datetime
) -> Part:
    place = f"schedules[{index}]"
    try:
        if not isinstance(entry, Mapping):
            raise InvalidTask("", "Value should be an object")
        known_fields.require_known_fields(entry, _ENTRY)
        given = [name for name in KINDS if _given(entry, name)]
        if len(given) != 1:
            raise InvalidTask("", f"It has one of {fields.join_choices(KINDS)}")
        try:
            return read(_as_task(entry), now, kept)
        except InvalidTask:
            # A schedule that is over stays, as long as the others go on.
            if kept is None or read(_as_task(entry), EPOCH, kept) != kept:
                raise
            return kept
    except InvalidTask as error:
        name = f"{place}.{error.field}".rstrip(".")
        raise InvalidTask(name, f"{place}: {error}") from None


def _as_task(entry: Mapping[str, Any]) -> dict[str, Any]:
    is_once = _given(entry, "run_datetime")
    task_type = "one_time" if is_once else "periodic"
    return {**fields.without_nulls(entry), "task_type": task_type}


def refuse_over(schedule: Schedule, now: datetime, name: str) -> None:
    """Raise InvalidTask if a schedule has no fire time after now, or none that is found."""
    why = "It never fires again."
    try:
        if first_after(schedule, now) is not None:
            return
    except (ScheduleError, TooMuch) as error:
        why = str(error)
    raise InvalidTask(name, f"Invalid value of {name}. {why}")


# Responses.


def own_end(schedule: Schedule) -> datetime | None:
    """The end of a schedule, unless it is where its rules end anyway."""
    if isinstance(schedule, Once):
        return None
    if not isinstance(schedule, AnyOf | Recurrence):
        return schedule.end
    bare = (
        AnyOf(schedule.schedules)
        if isinstance(schedule, AnyOf)
        else Recurrence(schedule.rule, schedule.first, schedule.zone, schedule.last)
    )
    return None if schedule.end == last_moment(bare) else schedule.end


def write_rrule(rule: Recurrence) -> str:
    return rrule_text.write(rule.rule, rule.first, rule.zone)


def render_parts(
    schedule: AnyOf[Part], render: Callable[[Part], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The fields of each schedule that say something."""
    return [fields.without_nulls(render(part)) for part in schedule.schedules]
