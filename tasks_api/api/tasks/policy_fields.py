"""The policies of the tasks surface: read strictly, and shown.

Every field is optional, and null is as good as absent. Rules: docs/reference/policies.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from accounts import encryption
from tasks_api.api import fields
from tasks_api.api.tasks.request_fields import (
    REDACTED,
    post_data_of,
    read_options,
    render_options,
)
from tasks_api.delivery.retry import parse_statuses
from tasks_api.domain.cron import Dst
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.schedules import (
    Cron,
    Interval,
    Once,
    Schedule,
    first_after,
)
from tasks_api.domain.specs import (
    Backoff,
    Misfire,
    Overlap,
    TaskSpec,
)
from tasks_api.models import Task

LONGEST_STATUSES = 200
DAY = 24 * 3600
MAX_ATTEMPTS = 185
MAX_WINDOW = 365 * DAY
MAX_STREAK = 1000
_STATUSES = re.compile(r"[1-9][0-9]{2}(?:-[1-9][0-9]{2})?", re.ASCII)
# What only means something where a request is sent, or fire times repeat.
_OF_REQUESTS = (
    "method",
    "headers",
    "timeout_seconds",
    "expected_status",
    "content_type",
    "retry",
    "overlap",
    "long_work",
    "pause_after_failures",
)
_OF_PERIODIC = (
    "overlap",
    "misfire",
    "catchup_window",
    "spread",
    "pause_after_failures",
)

_OWN = {*_OF_REQUESTS, *_OF_PERIODIC, "dst", "body"}
FIELDS = _OWN | {"post_data"}

Word = TypeVar("Word", bound=StrEnum)


def read_policies(
    data: Mapping[str, Any], spec: TaskSpec, *, now: datetime
) -> TaskSpec:
    """The task with its policies and options, as a request body asks for them.

    Raises InvalidTask naming the field, also where it means nothing for such a task.
    """
    if data.keys().isdisjoint(_OWN):
        return spec
    given = fields.without_nulls(data)
    if spec.queue:
        _refuse_any(given, _OF_REQUESTS, "goes with a url, not with a queue")
    if isinstance(spec.schedule, Once):
        _refuse_any(given, _OF_PERIODIC, "goes with a periodic task")
    method, body, options = read_options(given, spec)
    misfire = _word(given, "misfire", Misfire, Misfire.LATEST)
    return replace(
        spec,
        method=method,
        body=body,
        schedule=_schedule(given, spec.schedule, now),
        expected_status=_statuses(given, "expected_status"),
        overlap=_word(given, "overlap", Overlap, Overlap.ALLOW),
        misfire=misfire,
        catchup_window=_catchup_window(given, misfire),
        spread=_spread(given, spec.schedule),
        retry=_retry(given),
        request=options,
        pause_after_failures=fields.number(
            given, "pause_after_failures", 1, MAX_STREAK
        ),
    )


def _refuse_any(given: Mapping[str, Any], names: Sequence[str], why: str) -> None:
    for name in names:
        # What is so anyway may be said.
        if given.get(name) and given[name] not in (Overlap.ALLOW, Misfire.LATEST):
            fields.refuse(name, why)


def _word(
    given: Mapping[str, Any], name: str, words: type[Word], default: Word
) -> Word:
    value = given.get(name, default)
    try:
        return words(value)
    except ValueError:
        raise InvalidTask(
            name, f"Invalid value of {name}. Value should be {fields.listed(words)}"
        ) from None


# When it fires.


def _schedule(given: Mapping[str, Any], schedule: Schedule, now: datetime) -> Schedule:
    if "dst" not in given:
        return schedule
    if not isinstance(schedule, Cron):
        fields.refuse("dst", "goes with a cron expression")
    value = given["dst"]
    if not isinstance(value, Mapping):
        fields.refuse("dst", "should be an object of gap and overlap")
    changed = replace(
        schedule,
        dst=Dst(
            skips_gap=_choice(value, "gap", "next_valid", "skip"),
            runs_twice=_choice(value, "overlap", "first", "both"),
        ),
    )
    if first_after(changed, now) is None:
        fields.refuse("dst", "leaves nothing: the task would never fire")
    return changed


def _choice(dst: Mapping[str, Any], name: str, usual: str, other: str) -> bool:
    value = dst.get(name)
    if value is not None and value not in (usual, other):
        fields.refuse("dst", f"should have {usual} or {other} as {name}")
    return bool(value == other)


def _spread(given: Mapping[str, Any], schedule: Schedule) -> int:
    window: int | None = fields.number(given, "spread", 0, DAY)
    every = schedule.every if isinstance(schedule, Interval) else timedelta.max
    if window and timedelta(seconds=window) >= every:
        fields.refuse("spread", "should be less than frequency")
    return window or 0


def _catchup_window(given: Mapping[str, Any], misfire: Misfire) -> int | None:
    window: int | None = fields.number(given, "catchup_window", 10, MAX_WINDOW)
    if window is not None and misfire == Misfire.SKIP:
        fields.refuse("catchup_window", "goes with misfire latest or all")
    return window


# What an answer does.


def _statuses(given: Mapping[str, Any], name: str, label: str = "") -> str:
    """Codes and ranges in the order given, without spaces; empty where there are none."""
    value = given.get(name)
    name = label or name
    match value:
        case None:
            return ""
        case str() if value.strip() and len(value) <= LONGEST_STATUSES:
            items = ["".join(item.split()) for item in value.split(",")]
            text = ",".join(items)
            if all(map(_STATUSES.fullmatch, items)) and all(parse_statuses(text)):
                return text
        case int() if not isinstance(value, bool) and 100 <= value <= 999:
            return str(value)
    raise InvalidTask(
        name,
        f"Invalid value of {name}. Value should be status codes and ranges of them, "
        "such as 200-299,304",
    )


def _retry(given: Mapping[str, Any]) -> Backoff | None:
    value = given.get("retry")
    if value is None:
        return None
    if not isinstance(value, Mapping):
        fields.refuse("retry", "should be an object")
    usual = Backoff()

    def number(name: str, least: int, most: int, *, is_whole: bool = False) -> Any:
        return fields.number(
            value, name, least, most, label=f"retry.{name}", is_whole=is_whole
        )

    attempts = number("max_attempts", 1, MAX_ATTEMPTS, is_whole=True)
    shortest = number("min_delay", 1, 7 * DAY)
    longest = number("max_delay", 1, 7 * DAY)
    if shortest is None:
        shortest = min(usual.min_delay, longest or usual.min_delay)
    if longest is None:
        longest = max(usual.max_delay, shortest)
    if longest < shortest:
        fields.refuse("retry.max_delay", "should not be less than min_delay")
    return Backoff(
        max_attempts=attempts or usual.max_attempts,
        min_delay=shortest,
        max_delay=longest,
        max_age=number("max_age", 60, 7 * DAY) or usual.max_age,
        statuses=_statuses(value, "statuses", "retry.statuses") or usual.statuses,
    )


# What goes out.


def render_policies(task: Task) -> dict[str, Any]:
    """The fields that are set, for all to see: the values of headers are not."""
    return given_by(task, opens=False)


def given_by(task: Task, *, opens: bool = True) -> dict[str, Any]:
    """The policies and options that a task has, as a request body would give them.

    What is as usual is left out. Raises Unreadable where the values of its headers
    cannot be opened any more; without `opens` they are not shown at all.
    """
    set_fields: dict[str, Any] = {
        "expected_status": task.expected_status,
        "overlap": task.overlap if task.overlap != Overlap.ALLOW else None,
        "misfire": task.misfire if task.misfire != Misfire.LATEST else None,
        "catchup_window": task.catchup_window,
        "spread": task.spread,
        "dst": _dst_of(task),
        "method": task.method if task.method != "POST" else None,
        "retry": json.loads(task.retry) if task.retry else None,
        "pause_after_failures": task.pause_after_failures,
        **(render_options(task, opens=opens) if task.request else {}),
    }
    return {
        name: value for name, value in set_fields.items() if value or name == "body"
    }


def keeping_headers(task: Task, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """A request body in which values that were shown redacted are those of the task.

    Raises InvalidTask where these cannot be opened any more.
    """
    given = data.get("headers")
    if not isinstance(given, Mapping) or REDACTED not in given.values():
        return data
    try:
        own = given_by(task).get("headers", {})
    except encryption.Unreadable:
        raise InvalidTask(
            "headers", "The headers cannot be read any more; give them anew"
        ) from None
    values = {name.lower(): value for name, value in own.items()}
    headers = {
        name: values.get(name.lower(), value) if value == REDACTED else value
        for name, value in given.items()
    }
    return {**data, "headers": headers}


def merged(task: Task, data: Mapping[str, Any]) -> dict[str, Any]:
    """A task's policies and options, with those of a request body in their place.

    Raises InvalidTask where headers would stay that cannot be opened any more.
    """
    try:
        own = given_by(task, opens="headers" not in data)
    except encryption.Unreadable:
        raise InvalidTask(
            "headers", "The headers cannot be read any more; give them anew"
        ) from None
    if "post_data" in data:
        own.pop("body", None)
    elif "body" not in own and task.body:
        own["post_data"] = post_data_of(task)
    if "body" in data:
        own.pop("post_data", None)
    return own | {name: data[name] for name in data.keys() & FIELDS}


def _dst_of(task: Task) -> dict[str, str] | None:
    if not task.dst:
        return None
    gap, overlap = task.dst.split()
    return {"gap": gap, "overlap": overlap}
