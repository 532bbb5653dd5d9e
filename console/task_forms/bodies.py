"""The body of a request to the API that a form stands for, and the form of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from console.task_forms.calendar_fields import FIELDS as CALENDAR_FIELDS
from console.task_forms.calendar_fields import calendar_values, to_calendars
from console.task_forms.forms import CRON, EVERY, ONCE, RRULE, SEVERAL, UNITS, is_text
from console.task_forms.moments import in_utc
from console.task_forms.schedule_rows import row_values, rows_of, rule_body
from tasks_api.api.json_codec import dumps
from tasks_api.domain.specs import Admit

Body = dict[str, Any]

# Fields that the API has under the same name, with the value that says nothing new.
SAME: Body = {
    "url": "",
    "queue": "",
    "method": "POST",
    "headers": {},
    "content_type": "",
    "timeout_seconds": None,
    "expected_status": "",
    "lane": "",
    "name": "",
    "tags": [],
}
SAME_OF_PERIODIC: Body = {
    "overlap": "allow",
    "misfire": "latest",
    "catchup_window": None,
    "spread": None,
    "pause_after_failures": None,
    "max_runs": None,
    "stop_on_success": False,
}
ANYWAY = Admit.ANYWAY.value
RETRY = ("max_attempts", "min_delay", "max_delay", "max_age", "statuses")
DST = {"gap": ("gap", "next_valid"), "passes": ("overlap", "first")}
# The field of the form for a field of the API, where the names differ.
_FORM_NAMES = {
    "frequency": "every",
    "task_type": "schedule",
    "post_data": "body",
    "dst": "gap",
    "retry": "max_attempts",
    "long_work": "deadline",
    "calendars": "exclude",
    "schedules": "schedule",
    "stop_datetime": "end_datetime",
}


def form_name(field: str) -> str:
    """Return the form's name of a field that the API names in an error."""
    parent, _, child = field.partition(".")
    if (parent == "retry" and child) or (
        parent == "calendars" and child in CALENDAR_FIELDS
    ):
        return child
    return _FORM_NAMES.get(parent, parent)


def to_body(data: Mapping[str, Any]) -> Body:
    """Return the body of `POST /tasks/`, from the fields of a form that could be read."""
    body = {**_schedule(data), **_given(data, SAME), **_payload(data)}
    if data.get("schedule") != ONCE:
        body |= {**_given(data, SAME_OF_PERIODIC), **to_calendars(data)}
    retry = {name: data[name] for name in RETRY if data.get(name) not in (None, "")}
    if retry:
        body["retry"] = {name: _plain(value) for name, value in retry.items()}
    if data.get("deadline") is not None:
        body["long_work"] = {"deadline": data["deadline"]}
    if data.get("admit"):
        body["admit"] = ANYWAY
    if data.get("paused"):
        body["paused"] = True
    return body


def _plain(value: Any) -> Any:
    """Return 10 for 10.0, as people write it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _given(data: Mapping[str, Any], defaults: Mapping[str, Any]) -> Body:
    return {
        name: data[name]
        for name, default in defaults.items()
        if name in data and data[name] not in (default, None, "")
    }


def _payload(data: Mapping[str, Any]) -> Body:
    payload = data.get("body", "")
    if isinstance(payload, str) and not payload.strip():
        return {}
    has_type = bool(data.get("content_type"))
    is_object = isinstance(payload, Mapping) and not has_type
    return {"post_data" if is_object else "body": payload}


def _schedule(data: Mapping[str, Any]) -> Body:
    zone = data.get("timezone", "UTC")
    match data.get("schedule"):
        case "once":
            own = {"timezone": zone} if zone != "UTC" else {}
            moment = data.get("run_datetime", "")
            return {"task_type": "one_time", "run_datetime": moment, **own}
        case "every":
            return {"task_type": "periodic", **_frequency(data), **_bounds(data, zone)}
        case "rrule":
            rule = rule_body(data.get("rrule", ""), zone)
            return {"task_type": "periodic", **rule, **_ends(data, zone)}
        case "several":
            rules = {"schedules": data.get("schedules", [])}
            return {"task_type": "periodic", **rules, **_ends(data, zone)}
    bounds = {name: at for name, at in _bounds(data, zone).items() if at is not None}
    cron = {"cron": data.get("cron", ""), "timezone": zone}
    return {"task_type": "periodic", **cron, **bounds, **_dst(data)}


def _ends(data: Mapping[str, Any], zone: str) -> Body:
    return {**_bounds(data, zone), **_dst(data)}


def _frequency(data: Mapping[str, Any]) -> Body:
    count = data.get("every")
    return {} if count is None else {"frequency": count * int(data.get("unit") or 1)}


def _bounds(data: Mapping[str, Any], zone: str) -> Body:
    """Return start and end in UTC, which the API expects. Without an end, it is null."""
    bounds: Body = {}
    if data.get("start_datetime"):
        bounds["start_datetime"] = in_utc(data["start_datetime"], zone)
    end = data.get("end_datetime")
    bounds["end_datetime"] = in_utc(end, zone) if end else None
    return bounds


def _dst(data: Mapping[str, Any]) -> Body:
    given = {
        name: data[field]
        for field, (name, default) in DST.items()
        if data.get(field, default) not in (default, "")
    }
    return {"dst": given} if given else {}


def changes(before: Body, after: Body) -> Body:
    """Return the body of `PATCH` that makes one task of the other; null removes a field."""
    changed = {
        name: value for name, value in after.items() if before.get(name) != value
    }
    gone = dict.fromkeys(
        (name for name in before if name not in after and before[name] is not None),
        None,
    )
    return {**changed, **gone}


def to_initial(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a form for a task as the API shows it."""
    initial = {
        name: task[name]
        for name in (*SAME, *SAME_OF_PERIODIC)
        if task.get(name) is not None
    }
    initial |= dict(_schedule_values(task))
    initial |= task.get("retry") or {}
    dst = task.get("dst") or {}
    initial |= {field: dst[name] for field, (name, _) in DST.items() if name in dst}
    initial["admit"] = task.get("admit") == ANYWAY
    initial |= calendar_values(task)
    initial["deadline"] = (task.get("long_work") or {}).get("deadline")
    headers = task.get("headers", {})
    initial["headers"] = "\n".join(f"{name}: {headers[name]}" for name in headers)
    initial["tags"] = ", ".join(task.get("tags", ()))
    initial["body"] = _body_text(task)
    return initial


def _body_text(task: Mapping[str, Any]) -> str:
    payload = task.get("body", task.get("post_data"))
    if payload is None:
        return ""
    is_as_written = isinstance(payload, str) and is_text(task.get("content_type", ""))
    return str(payload) if is_as_written else dumps(payload)


def _schedule_values(task: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    zone = task.get("timezone") or "UTC"
    yield "timezone", zone
    if task["task_type"] == "one_time":
        yield "schedule", ONCE
    elif task.get("rrule"):
        yield from (("schedule", RRULE), ("rrule", task["rrule"]))
    elif task.get("schedules"):
        yield "schedule", SEVERAL
        yield from row_values(rows_of(task["schedules"])).items()
    elif task.get("cron"):
        yield from (("schedule", CRON), ("cron", task["cron"]))
    else:
        count, unit = _in_units(task.get("frequency") or 0)
        yield from (("schedule", EVERY), ("every", count), ("unit", unit))
    for name in ("run_datetime", "start_datetime", "end_datetime"):
        if task.get(name):
            at = datetime.fromisoformat(task[name]).replace(tzinfo=UTC)
            local = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
            yield name, local.isoformat(timespec="seconds")


def _in_units(seconds: int) -> tuple[int, str]:
    """Return the largest unit of which the seconds are a whole number."""
    unit = next(unit for unit, _ in reversed(UNITS) if seconds % int(unit) == 0)
    return seconds // int(unit), unit
