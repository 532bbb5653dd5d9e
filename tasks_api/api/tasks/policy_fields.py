"""The fields of the policies of a task: which runs it has, and what counts as success.

The rules are in docs/reference/policies.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasks_api.api import fields, openapi
from tasks_api.api.tasks.calendar_field import CALENDARS_FIELD
from tasks_api.api.tasks.field_types import (
    Fields,
    OptionalField,
    column,
    enum_field,
    enum_member,
    flag_field,
    integer_field,
)
from tasks_api.api.tasks.spread_fields import SPREAD_FIELDS
from tasks_api.delivery.retry import parse_statuses
from tasks_api.domain.cron import Dst
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.schedule_parts import dst_of, with_dst
from tasks_api.domain.schedules import first_after
from tasks_api.domain.specs import Backoff, Misfire, Overlap, RequestOptions, TaskSpec
from tasks_api.models import Task

MAX_STATUSES_LENGTH = 200
DAY = 24 * 3600
MAX_RETRY_DELAY = 7 * DAY
MAX_ATTEMPTS = 185
MIN_CATCHUP_WINDOW, MAX_CATCHUP_WINDOW = 10, 365 * DAY
MAX_FAILURES_IN_A_ROW = 1000
MAX_RUNS = 1_000_000_000
MAX_LANE_NAME_LENGTH = 100
_LANE_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_LANE_NAME_LENGTH}}}")
_IN_LANE_NAMES = "A-Z, a-z, 0-9, ., - and _"
_STATUS_RANGE = re.compile(r"[1-9][0-9]{2}(?:-[1-9][0-9]{2})?", re.ASCII)


# Clock changes.


def _read_dst(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    if dst_of(spec.schedule) is None:
        fields.raise_invalid("dst", "goes with a cron expression or an rrule")
    value = given["dst"]
    if not isinstance(value, Mapping):
        fields.raise_invalid("dst", "should be an object of gap and overlap")
    dst = Dst(
        skips_gap=_is_other(value, "gap", "next_valid", "skip"),
        runs_twice=_is_other(value, "overlap", "first", "both"),
    )
    schedule = with_dst(spec.schedule, dst)
    if first_after(schedule, now) is None:
        fields.raise_invalid("dst", "leaves nothing: the task would never fire")
    return {"schedule": schedule}


def _is_other(dst: Fields, name: str, default: str, other: str) -> bool:
    value = dst.get(name)
    if value is not None and value not in (default, other):
        fields.raise_invalid("dst", f"should have {default} or {other} as {name}")
    return bool(value == other)


def _show_dst(task: Task, options: RequestOptions) -> dict[str, str] | None:
    if not task.dst:
        return None
    gap, overlap = task.dst.split()
    return {"gap": gap, "overlap": overlap}


_DST_SCHEMA = {
    "type": "object",
    "description": "For `cron` and `rrule`: what a fixed time does when clocks change.",
    "properties": {
        "gap": openapi.text(
            "What happens at a local time that does not exist that day: the task fires when "
            "the gap ends, or the fire time is skipped.",
            enum=["next_valid", "skip"],
        ),
        "overlap": openapi.text(
            "What happens at a local time that occurs twice that day: the task fires the "
            "first time, or both times.",
            enum=["first", "both"],
        ),
    },
}


# Late fire times.


def _read_catchup_window(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    seconds = fields.number(
        given, "catchup_window", MIN_CATCHUP_WINDOW, MAX_CATCHUP_WINDOW
    )
    if enum_member(given, "misfire", Misfire.LATEST) == Misfire.SKIP:
        fields.raise_invalid("catchup_window", "goes with misfire latest or all")
    return {"catchup_window": seconds}


# Responses of the target.


def _read_statuses(given: Fields, name: str, label: str = "") -> str:
    """Codes and ranges in the order given, without spaces; empty where there are none."""
    value = given.get(name)
    name = label or name
    match value:
        case None:
            return ""
        case str() if value.strip() and len(value) <= MAX_STATUSES_LENGTH:
            items = ["".join(item.split()) for item in value.split(",")]
            text = ",".join(items)
            if all(map(_STATUS_RANGE.fullmatch, items)) and all(parse_statuses(text)):
                return text
        case int() if not isinstance(value, bool) and 100 <= value <= 999:
            return str(value)
    raise InvalidTask(
        name,
        f"Invalid value of {name}. Value should be status codes and ranges of them, "
        "such as 200-299,304",
    )


def _read_expected_status(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    return {"expected_status": _read_statuses(given, "expected_status")}


def _read_retry(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    value = given["retry"]
    if not isinstance(value, Mapping):
        fields.raise_invalid("retry", "should be an object")
    attempts = _retry_number(value, "max_attempts", 1, MAX_ATTEMPTS, is_whole=True)
    min_delay, max_delay = _read_delays(value)
    default = Backoff()
    backoff = Backoff(
        max_attempts=attempts or default.max_attempts,
        min_delay=min_delay,
        max_delay=max_delay,
        max_age=_retry_number(value, "max_age", 60, MAX_RETRY_DELAY) or default.max_age,
        statuses=_read_statuses(value, "statuses", "retry.statuses")
        or default.statuses,
    )
    return {"retry": backoff}


def _read_delays(retry: Fields) -> tuple[float, float]:
    """The least and the greatest delay; a given one moves the default of the other."""
    min_delay = _retry_number(retry, "min_delay", 1, MAX_RETRY_DELAY)
    max_delay = _retry_number(retry, "max_delay", 1, MAX_RETRY_DELAY)
    default = Backoff()
    if min_delay is None:
        min_delay = min(default.min_delay, max_delay or default.min_delay)
    if max_delay is None:
        max_delay = max(default.max_delay, min_delay)
    if max_delay < min_delay:
        fields.raise_invalid("retry.max_delay", "should not be less than min_delay")
    return min_delay, max_delay


def _retry_number(
    retry: Fields, name: str, minimum: int, maximum: int, *, is_whole: bool = False
) -> Any:
    return fields.number(
        retry, name, minimum, maximum, label=f"retry.{name}", is_whole=is_whole
    )


def _show_retry(task: Task, options: RequestOptions) -> Any:
    return json.loads(task.retry) if task.retry else None


def _statuses(description: str) -> dict[str, Any]:
    return openapi.text(
        description,
        pattern="^[1-9][0-9]{2}(-[1-9][0-9]{2})?(,[1-9][0-9]{2}(-[1-9][0-9]{2})?)*$",
        maxLength=MAX_STATUSES_LENGTH,
    )


def _seconds(description: str, *, minimum: int = 1) -> dict[str, Any]:
    return {
        "type": "number",
        "minimum": minimum,
        "maximum": MAX_RETRY_DELAY,
        "description": description,
    }


_RETRY_SCHEMA = {
    "type": "object",
    "description": "Which failures the service tries again, how often and when.",
    "properties": {
        "max_attempts": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_ATTEMPTS,
            "description": "The maximum number of requests of a run, including the first one.",
        },
        "min_delay": _seconds("The minimum number of seconds between two attempts."),
        "max_delay": _seconds("The maximum number of seconds between two attempts."),
        "max_age": _seconds(
            "The number of seconds after its fire time at which the service gives a run up.",
            minimum=60,
        ),
        "statuses": _statuses(
            "The statuses that the service tries again, such as `429,500-599`."
        ),
    },
}

# Lanes.


def read_lane_name(name: str, value: object) -> str:
    if isinstance(value, str) and _LANE_NAME.fullmatch(value):
        return value
    fields.raise_invalid(
        name, f"should have 1 to {MAX_LANE_NAME_LENGTH} of {_IN_LANE_NAMES}"
    )


def _read_lane(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    return {"lane_name": read_lane_name("lane", given["lane"])}


def lane_name(description: str) -> dict[str, Any]:
    return openapi.text(description, pattern=f"^{_LANE_NAME.pattern}$")


# They are read in this order, so the first wrong one is reported.
POLICY_FIELDS = (
    enum_field(
        "misfire",
        "Which fire times the service makes up for that passed while it was down: the latest "
        "one, none, or all of them.",
        Misfire.LATEST,
        needs_periodic=True,
    ),
    OptionalField("dst", _DST_SCHEMA, _read_dst, _show_dst),
    OptionalField(
        "expected_status",
        _statuses(
            "The statuses that count as success, such as `200-299`; if absent, any status "
            "below 400."
        ),
        _read_expected_status,
        column("expected_status"),
        default="",
        needs_url=True,
    ),
    enum_field(
        "overlap",
        "What a fire time does while an earlier run is unfinished: it runs beside it, is "
        "skipped, or waits in line.",
        Overlap.ALLOW,
        needs_url=True,
        needs_periodic=True,
    ),
    OptionalField(
        "catchup_window",
        {
            "type": "integer",
            "minimum": MIN_CATCHUP_WINDOW,
            "maximum": MAX_CATCHUP_WINDOW,
            "description": "The number of seconds by which a run may be late. The service "
            "records a later one as missed.",
        },
        _read_catchup_window,
        column("catchup_window"),
        needs_periodic=True,
    ),
    *SPREAD_FIELDS,
    CALENDARS_FIELD,
    OptionalField("retry", _RETRY_SCHEMA, _read_retry, _show_retry, needs_url=True),
    integer_field(
        "pause_after_failures",
        "The number of failed runs in a row after which the service pauses the task; if "
        "absent, it never does.",
        1,
        MAX_FAILURES_IN_A_ROW,
        needs_url=True,
        needs_periodic=True,
    ),
    integer_field(
        "max_runs",
        "The number of runs of its schedule after which the task ends; if absent, it goes on. "
        "Runs that are skipped or missed do not count, nor do manual ones.",
        1,
        MAX_RUNS,
        needs_periodic=True,
    ),
    flag_field(
        "stop_on_success",
        "Whether the task ends after the first run of its schedule that succeeds.",
        needs_periodic=True,
    ),
    OptionalField(
        "lane",
        lane_name(
            "The lane whose limits the runs of the task keep; if absent, the lane of the "
            "target's host, if there is one."
        ),
        _read_lane,
        column("lane_name"),
        default="",
        needs_url=True,
    ),
)
