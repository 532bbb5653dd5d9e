"""The fields of the schedule of a task, read from requests and shown in responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings

from tasks_api.api import fields
from tasks_api.api.tasks import rule_fields
from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedules import (
    Cron,
    Interval,
    Once,
    Part,
    Schedule,
    grid_of,
)

TASK_TYPES = {"one_time": "one_time", "periodic": "periodic", "interval": "periodic"}
FIELDS = {
    "task_type",
    "frequency",
    "cron",
    "rrule",
    "schedules",
    "timezone",
    "start_datetime",
    "end_datetime",
    "stop_datetime",
    "run_datetime",
}


# Requests.


def read_schedule(
    data: Mapping[str, Any],
    *,
    now: datetime,
    kept: Schedule | None = None,
    bounds_optional: bool = False,
) -> Schedule:
    """The schedule of a request body. Raises InvalidTask naming the field.

    A moment of the `kept` schedule may have passed. If `bounds_optional`, start and end may
    be absent.
    """
    if _task_type(data) == "periodic":
        return _recurring(data, now, kept, bounds_optional=bounds_optional)
    return _once(data, now, kept)


def _task_type(data: Mapping[str, Any]) -> str:
    value = fields.require_field(data, "task_type")
    known = TASK_TYPES.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        raise InvalidTask(
            "task_type",
            "Invalid value of task_type. Value should be periodic or one_time",
        )
    return known


def _recurring(
    data: Mapping[str, Any],
    now: datetime,
    kept: Schedule | None,
    *,
    bounds_optional: bool,
) -> Interval | Cron | Recurrence | AnyOf[Part]:
    if fields.is_given(data, "rrule") or fields.is_given(data, "schedules"):
        return _by_rules(data, now, kept)
    if not fields.is_given(data, "cron"):
        if fields.is_given(data, "timezone"):
            raise InvalidTask("timezone", "A timezone goes with cron")
        return _interval(data, now, kept, bounds_optional=bounds_optional)
    if fields.is_given(data, "frequency"):
        raise InvalidTask("cron", "A task has either a frequency or a cron expression")
    return _cron(data, now, kept)


def _by_rules(
    data: Mapping[str, Any], now: datetime, kept: Schedule | None
) -> Recurrence | AnyOf[Part]:
    rule_fields.refuse_other_kinds(data)
    name, bounds = "rrule", data
    schedule: Recurrence | AnyOf[Part]
    if fields.is_given(data, "schedules"):
        name = "schedules"
        schedule = rule_fields.read_schedules(data, kept, _part, now=now)
    else:
        schedule = rule_fields.read_recurrence(data)
        if not rule_fields.has_own_start(data):
            bounds = {**data, "start_datetime": None}
    start, end = _cron_range(bounds, now, kept)
    schedule = replace(schedule, start=start, end=end or schedule.end)
    rule_fields.refuse_over(schedule, now, name)
    return schedule


def _part(data: Mapping[str, Any], now: datetime, kept: Part | None) -> Part:
    """One of several schedules."""
    found = read_schedule(data, now=now, kept=kept, bounds_optional=True)
    assert not isinstance(found, AnyOf | OnCalendars)
    return found


def is_over(data: Mapping[str, Any], now: datetime) -> bool:
    """Whether the rules of a request have ended. Raises InvalidTask naming the field."""
    if not fields.is_given(data, "rrule") and not fields.is_given(data, "schedules"):
        return False
    found = read_schedule(data, now=rule_fields.EPOCH, bounds_optional=True)
    end = None if isinstance(found, Once) else found.end
    return end is not None and end <= now


def _cron(
    data: Mapping[str, Any], now: datetime, kept: Schedule | None
) -> Interval | Cron:
    zone = data.get("timezone")
    if not isinstance(zone, str | None):
        raise InvalidTask(
            "timezone", "Invalid value of timezone. Value should be a string"
        )
    start, end = _cron_range(data, now, kept)
    schedule = fields.cron(
        "cron", data["cron"], now=now, zone=zone, start=start, end=end
    )
    minimum = settings.SCHEDULER_MIN_FREQUENCY
    if isinstance(schedule, Interval) and schedule.every < timedelta(seconds=minimum):
        raise InvalidTask(
            "cron", f"Invalid value of cron. It fires more often than every {minimum} s"
        )
    return schedule if start else _keep_start(schedule, kept)


def _cron_range(
    data: Mapping[str, Any], now: datetime, kept: Schedule | None
) -> tuple[datetime | None, datetime | None]:
    start, end, end_name = None, None, _end_name(data)
    if fields.is_given(data, "start_datetime"):
        start = _future_or_kept("start_datetime", data, now, _start_of(kept))
    if fields.is_given(data, end_name):
        end = _restore_microseconds(
            fields.moment(end_name, data[end_name]), _end_of(kept)
        )
        if end <= (start or now):
            raise InvalidTask(end_name, f"{end_name} should be after start_datetime")
    return start, end


def _keep_start(schedule: Interval | Cron, kept: Schedule | None) -> Interval | Cron:
    """`@every` counts from now on, but not anew each time that a client repeats it."""
    if not isinstance(schedule, Interval) or not isinstance(kept, Interval):
        return schedule
    if not _repeat_alike(schedule, kept):
        return schedule
    return replace(schedule, start=kept.start)


def _repeat_alike(schedule: Interval, kept: Interval) -> bool:
    return (schedule.every, schedule.end) == (kept.every, kept.end)


def _start_of(schedule: Schedule | None) -> datetime | None:
    return None if isinstance(schedule, Once) or not schedule else schedule.start


def _end_of(schedule: Schedule | None) -> datetime | None:
    return None if isinstance(schedule, Once) or not schedule else schedule.end


def _future_or_kept(
    name: str,
    data: Mapping[str, Any],
    now: datetime,
    kept: datetime | None,
    zone: str = "UTC",
) -> datetime:
    """A moment in the future, or the one that the task has already."""
    value = fields.require_field(data, name)
    read = _restore_microseconds(fields.moment(name, value, zone=zone), kept)
    return (
        read if read == kept else fields.future_moment(name, value, now=now, zone=zone)
    )


def _restore_microseconds(read: datetime, kept: datetime | None) -> datetime:
    """The moment as given, or that of the task if it is the same to the second, as shown."""
    is_shown = kept is not None and kept.replace(microsecond=0) == read
    return kept if is_shown and kept else read


def _end_name(data: Mapping[str, Any]) -> str:
    """The name that the client gives the end; of two, the documented one."""
    is_alias = "end_datetime" not in data and "stop_datetime" in data
    return "stop_datetime" if is_alias else "end_datetime"


def _interval(
    data: Mapping[str, Any],
    now: datetime,
    kept: Schedule | None,
    *,
    bounds_optional: bool,
) -> Interval:
    every = fields.frequency(
        fields.require_field(data, "frequency"),
        minimum=settings.SCHEDULER_MIN_FREQUENCY,
    )
    if bounds_optional and not fields.is_given(data, "start_datetime"):
        start = _default_start(every, now, kept)
    else:
        start = _future_or_kept("start_datetime", data, now, _start_of(kept))
    end_name = _end_name(data)
    if bounds_optional and not fields.is_given(data, end_name):
        return Interval(start, every)
    end = fields.moment(end_name, fields.require_field(data, end_name))
    end = _restore_microseconds(end, _end_of(kept))
    if end <= start:
        raise InvalidTask(end_name, f"{end_name} should be after start_datetime")
    if end <= now:
        raise InvalidTask(end_name, f"{end_name} should be in future")
    if end - start < every:
        raise InvalidTask(
            end_name,
            f"{end_name} should be at least one frequency after start_datetime",
        )
    return Interval(start, every, end)


def _default_start(every: timedelta, now: datetime, kept: Schedule | None) -> datetime:
    """The first fire time of an interval counts from now, unless the interval is the same."""
    if isinstance(kept, Interval) and kept.every == every:
        return kept.start
    return (now + every).replace(microsecond=0)


def _once(data: Mapping[str, Any], now: datetime, kept: Schedule | None) -> Once:
    was = kept.at if isinstance(kept, Once) else None
    return Once(_future_or_kept("run_datetime", data, now, was, _zone(data)))


def _zone(data: Mapping[str, Any]) -> str:
    """The time zone of a one-time task whose moment has no offset."""
    zone = data.get("timezone")
    return "UTC" if zone is None else fields.time_zone("timezone", zone)


def run_moment(data: Mapping[str, Any]) -> datetime:
    """When a one-time task runs, including a time in the past."""
    value = fields.require_field(data, "run_datetime")
    return fields.moment("run_datetime", value, zone=_zone(data))


def merge_schedule(schedule: Schedule, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a schedule, replaced by those of a request."""
    own = _as_posted(schedule)
    if given_kinds := [name for name in _KINDS if fields.is_given(data, name)]:
        gone = set(_KINDS)
        if _brings_zone(given_kinds[0], data):
            gone.add("timezone")
        own = {name: own[name] for name in own.keys() - gone}
    if "stop_datetime" in data:
        own.pop("end_datetime", None)
    if _task_type({**own, **data}) == "one_time":
        # The time zone of an expression does not apply to a moment.
        own.pop("timezone", None)
        if fields.is_given(data, "timezone") and "run_datetime" not in data:
            raise InvalidTask("timezone", "A timezone goes with a run_datetime")
    given = {name: data[name] for name in data.keys() & FIELDS}
    return fields.without_nulls({**own, **given})


_KINDS = ("frequency", "cron", "rrule", "schedules")


def _brings_zone(kind: str, data: Mapping[str, Any]) -> bool:
    """Whether the zone of the schedule before does not count any more."""
    if kind == "cron":
        # An expression may contain its time zone.
        return "TZ=" in str(data["cron"])
    return kind != "rrule" or rule_fields.has_own_start(data)


def _as_posted(schedule: Schedule) -> dict[str, Any]:
    """A schedule as request fields, exact to the microsecond."""
    schedule = grid_of(schedule)
    match schedule:
        case Once(at=at):
            return {"task_type": "one_time", "run_datetime": at.isoformat()}
        case Interval(every=every):
            own: dict[str, Any] = {"frequency": every // timedelta(seconds=1)}
        case Cron(zone=zone):
            own = {"cron": _expression(schedule), "timezone": zone}
        case Recurrence():
            own = {"rrule": rule_fields.write_rrule(schedule)}
        case AnyOf():
            own = {"schedules": rule_fields.render_parts(schedule, _as_entry)}
    for name, moment in (
        ("start_datetime", schedule.start),
        ("end_datetime", rule_fields.own_end(schedule)),
    ):
        own[name] = moment and moment.isoformat()
    return {"task_type": "periodic", **own}


def _as_entry(part: Part) -> dict[str, Any]:
    posted = _as_posted(part)
    return {name: posted[name] for name in posted.keys() - {"task_type"}}


# Responses.


def task_type_of(schedule: Schedule | None) -> str:
    return "one_time" if isinstance(schedule, Once) else "periodic"


def render_schedule(schedule: Schedule | None) -> dict[str, Any]:
    """The fields of a schedule; for None, the fields of an interval as null."""
    match schedule:
        case Once(at=at):
            return {"run_datetime": format_in_utc(at)}
        case Interval(start=start, every=every, end=end):
            return {
                "frequency": int(every.total_seconds()),
                "start_datetime": format_in_utc(start),
                "end_datetime": format_in_utc(end),
            }
        case Cron(start=start, end=end):
            return {
                "frequency": None,
                "cron": _expression(schedule),
                "timezone": schedule.zone,
                "start_datetime": format_in_utc(start),
                "end_datetime": format_in_utc(end),
            }
        case Recurrence() | AnyOf():
            return {"frequency": None, **_render_rules(schedule)}
    return {"frequency": None, "start_datetime": None, "end_datetime": None}


def _render_rules(schedule: Recurrence | AnyOf[Part]) -> dict[str, Any]:
    if isinstance(schedule, Recurrence):
        rule = rule_fields.write_rrule(schedule)
        own: dict[str, Any] = {"rrule": rule, "timezone": schedule.zone}
    else:
        own = {"schedules": rule_fields.render_parts(schedule, render_schedule)}
    return {
        **own,
        "start_datetime": format_in_utc(schedule.start),
        "end_datetime": format_in_utc(rule_fields.own_end(schedule)),
    }


def _expression(cron: Cron) -> str:
    """The expression with five fields if they suffice, else with seconds, else with years."""
    if cron.years != "*":
        return f"{cron.seconds} {cron.expression} {cron.years}"
    if cron.seconds != "0":
        return f"{cron.seconds} {cron.expression}"
    return cron.expression


def format_in_utc(moment: datetime | None) -> str | None:
    """A moment in UTC to the second, as the tasks API shows it."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds")
