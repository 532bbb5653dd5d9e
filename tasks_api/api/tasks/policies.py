"""The policies and request options of the tasks surface: read strictly, shown redacted.

Every field is optional, and null is as good as absent. Rules: docs/policies.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, urlencode

import simplejson
from django.conf import settings

from accounts import encryption
from tasks_api.api.json import dumps
from tasks_api.cron import Dst
from tasks_api.delivery.request import JSON, options_of
from tasks_api.delivery.retry import statuses_of
from tasks_api.exceptions import InvalidTask
from tasks_api.models import Task
from tasks_api.schedules import Cron, Interval, Once, Schedule, first_after
from tasks_api.specs import (
    Backoff,
    BodyForm,
    Misfire,
    Overlap,
    RequestOptions,
    TaskSpec,
)

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
# Many servers refuse a body of theirs, so they have none that was not asked for.
MAYBE_BODILESS = ("DELETE", "OPTIONS")
# What is shown in the place of a header's value.
REDACTED = "[redacted]"
MAX_HEADERS = 50
MAX_HEADER_BYTES = 16 * 1024
LONGEST_STATUSES = 200
DAY = 24 * 3600
MAX_ATTEMPTS = 185
MAX_WINDOW = 365 * DAY
MAX_DEADLINE = 7 * DAY
MAX_STREAK = 1000
# RFC 9110: 5.1 and 5.6.2 for names; of values (5.5) what everybody reads alike.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", re.ASCII)
_VALUE = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?", re.ASCII)
_STATUSES = re.compile(r"[1-9][0-9]{2}(?:-[1-9][0-9]{2})?", re.ASCII)
_MEDIA_TYPE = re.compile(
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*;[ -~]*)?",
    re.ASCII,
)
FORM = "application/x-www-form-urlencoded"
# What the connection, the signature and the account of runs depend on.
RESERVED = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
        "idempotency-key",
        "x-scheduled-for",
    }
)
RESERVED_PREFIXES = ("proxy-", "webhook-", "x-scheduler-")
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
    """The task with its policies, as a request body asks for them.

    Raises InvalidTask naming the field, also where it means nothing for such a task.
    """
    if data.keys().isdisjoint(_OWN):
        return spec
    given = {name: value for name, value in data.items() if value is not None}
    if spec.queue:
        _refuse_any(given, _OF_REQUESTS, "goes with a url, not with a queue")
    if isinstance(spec.schedule, Once):
        _refuse_any(given, _OF_PERIODIC, "goes with a periodic task")
    method = _method(given)
    body, form, content_type = _body(given, spec, method)
    misfire = _word(given, "misfire", Misfire, Misfire.LATEST)
    names, sealed = _headers(given)
    if content_type and "content-type" in {name.lower() for name in names}:
        _refuse("content_type", "is given in headers, too")
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
        request=RequestOptions(
            names, sealed, _timeout(given), form, content_type, _deadline(given)
        ),
        pause_after_failures=_number(given, "pause_after_failures", 1, MAX_STREAK),
    )


def _refuse(name: str, why: str) -> NoReturn:
    raise InvalidTask(name, f"Invalid value of {name}. It {why}")


def _refuse_any(given: Mapping[str, Any], names: Sequence[str], why: str) -> None:
    for name in names:
        # What is so anyway may be said.
        if given.get(name) and given[name] not in (Overlap.ALLOW, Misfire.LATEST):
            _refuse(name, why)


def _word(
    given: Mapping[str, Any], name: str, words: type[Word], default: Word
) -> Word:
    value = given.get(name, default)
    try:
        return words(value)
    except ValueError:
        raise InvalidTask(
            name, f"Invalid value of {name}. Value should be {_listed(words)}"
        ) from None


def _listed(words: Collection[str] | type[StrEnum]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}"


def _number(
    given: Mapping[str, Any],
    name: str,
    least: int,
    most: int,
    *,
    label: str = "",
    is_whole: bool = True,
) -> Any:
    """A JSON number in a range, None where there is none; never a bool."""
    value = given.get(name)
    match value:
        case None:
            return None
        case bool():
            pass
        # The range first: it is not worth writing out a number of many digits.
        case int() | float() | Decimal() if least <= value <= most:
            if value == int(value):
                return int(value)
            if not is_whole:
                return float(value)
    name = label or name
    kind = "whole number" if is_whole else "number"
    raise InvalidTask(
        name,
        f"Invalid value of {name}. Value should be a {kind} from {least} to {most}",
    )


# When it fires.


def _schedule(given: Mapping[str, Any], schedule: Schedule, now: datetime) -> Schedule:
    if "dst" not in given:
        return schedule
    if not isinstance(schedule, Cron):
        _refuse("dst", "goes with a cron expression")
    value = given["dst"]
    if not isinstance(value, Mapping):
        _refuse("dst", "should be an object of gap and overlap")
    changed = replace(
        schedule,
        dst=Dst(
            skips_gap=_choice(value, "gap", "next_valid", "skip"),
            runs_twice=_choice(value, "overlap", "first", "both"),
        ),
    )
    if first_after(changed, now) is None:
        _refuse("dst", "leaves nothing: the task would never fire")
    return changed


def _choice(dst: Mapping[str, Any], name: str, usual: str, other: str) -> bool:
    value = dst.get(name)
    if value is not None and value not in (usual, other):
        _refuse("dst", f"should have {usual} or {other} as {name}")
    return bool(value == other)


def _spread(given: Mapping[str, Any], schedule: Schedule) -> int:
    window: int | None = _number(given, "spread", 0, DAY)
    every = schedule.every if isinstance(schedule, Interval) else timedelta.max
    if window and timedelta(seconds=window) >= every:
        _refuse("spread", "should be less than frequency")
    return window or 0


def _catchup_window(given: Mapping[str, Any], misfire: Misfire) -> int | None:
    window: int | None = _number(given, "catchup_window", 10, MAX_WINDOW)
    if window is not None and misfire == Misfire.SKIP:
        _refuse("catchup_window", "goes with misfire latest or all")
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
            if all(map(_STATUSES.fullmatch, items)) and all(statuses_of(text)):
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
        _refuse("retry", "should be an object")
    usual = Backoff()

    def number(name: str, least: int, most: int, *, is_whole: bool = False) -> Any:
        return _number(
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
        _refuse("retry.max_delay", "should not be less than min_delay")
    return Backoff(
        max_attempts=attempts or usual.max_attempts,
        min_delay=shortest,
        max_delay=longest,
        max_age=number("max_age", 60, 7 * DAY) or usual.max_age,
        statuses=_statuses(value, "statuses", "retry.statuses") or usual.statuses,
    )


def _deadline(given: Mapping[str, Any]) -> int | None:
    value = given.get("long_work")
    if value is None:
        return None
    if not isinstance(value, Mapping) or value.get("deadline") is None:
        _refuse("long_work", "should be an object with a deadline, in seconds")
    deadline: int = _number(
        value, "deadline", 1, MAX_DEADLINE, label="long_work.deadline"
    )
    return deadline


# What is sent.


def _method(given: Mapping[str, Any]) -> str:
    value = given.get("method", "POST")
    method = value.strip().upper() if isinstance(value, str) else ""
    if method not in METHODS:
        raise InvalidTask(
            "method", f"Invalid value of method. Value should be {_listed(METHODS)}"
        )
    return method


def _timeout(given: Mapping[str, Any]) -> int | None:
    most = settings.SCHEDULER_MAX_REQUEST_TIMEOUT
    timeout: int | None = _number(given, "timeout_seconds", 1, most)
    return timeout


def _headers(given: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The names, and all values sealed."""
    headers = given.get("headers", {})
    if headers == {}:
        return (), ""
    if not isinstance(headers, Mapping):
        _refuse("headers", "should be an object of strings")
    if len(headers) > MAX_HEADERS:
        _refuse("headers", f"has more than {MAX_HEADERS} headers")
    seen: set[str] = set()
    for name, value in headers.items():
        _check_header(name, value)
        if name.lower() in seen:
            _refuse("headers", f"has {name} twice")
        seen.add(name.lower())
    if (
        sum(len(name) + len(value) for name, value in headers.items())
        > MAX_HEADER_BYTES
    ):
        _refuse("headers", f"has more than {MAX_HEADER_BYTES} bytes")
    return tuple(headers), encryption.encrypt(json.dumps(list(headers.values())))


def _check_header(name: str, value: object) -> None:
    lower = name.lower()
    if not _NAME.fullmatch(name):
        _refuse("headers", "has a name that is not a header's")
    if lower in RESERVED or lower.startswith(RESERVED_PREFIXES):
        _refuse("headers", f"has {name}, which the service sets itself")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        _refuse(
            "headers",
            f"should have printable ASCII without space around it as {name}",
        )
    if value == REDACTED:
        # It was read from an answer, and would replace the real one.
        _refuse("headers", f"has {REDACTED} as {name} instead of its value")


def _body(
    given: Mapping[str, Any], spec: TaskSpec, method: str
) -> tuple[str, BodyForm | None, str]:
    """The text that is sent, the form it was given in, and its media type."""
    content_type = _content_type(given)
    if "body" not in given:
        if content_type and not _is_json(content_type):
            _refuse("content_type", "goes with a body, unless it is JSON")
        is_empty = method in MAYBE_BODILESS and "post_data" not in given
        return "" if is_empty else spec.body, None, content_type
    if "post_data" in given:
        _refuse("body", "takes the place of post_data; a task has one of them")
    value = given["body"]
    if not content_type or _is_json(content_type):
        return dumps(value), BodyForm.JSON, content_type
    if isinstance(value, str):
        return value, BodyForm.TEXT, content_type
    is_form = content_type.partition(";")[0].strip().lower() == FORM
    if is_form and isinstance(value, Mapping):
        if not all(isinstance(each, str) for each in value.values()):
            _refuse("body", "should be an object of strings, as it is sent as a form")
        return urlencode(value), BodyForm.FORM, content_type
    _refuse("body", f"should be a string, as it is sent as {content_type}")


def _content_type(given: Mapping[str, Any]) -> str:
    value = given.get("content_type", "")
    if value == "":
        return ""
    if isinstance(value, str) and len(value) <= 200 and _MEDIA_TYPE.fullmatch(value):
        return value
    _refuse("content_type", "should be a media type, such as text/plain")


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == JSON or media_type.endswith("+json")


# What goes out.


def render_policies(task: Task) -> dict[str, Any]:
    """The fields that are set, for all to see: the values of headers are not."""
    return given_by(task, opens=False)


def given_by(task: Task, *, opens: bool = True) -> dict[str, Any]:
    """The fields of this module that a task has, as a request body would give them.

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
        **(_options_of(task, opens) if task.request else {}),
    }
    return {
        name: value for name, value in set_fields.items() if value or name == "body"
    }


def merged(task: Task, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of this module, those of a request body in the place of the task's.

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


def post_data_of(task: Task) -> simplejson.RawJSON | None:
    """The body as it was posted; None where it was given as `body`."""
    if task.request and options_of(task.request).form:
        return None
    return simplejson.RawJSON(task.body or "{}")


def _dst_of(task: Task) -> dict[str, str] | None:
    if not task.dst:
        return None
    gap, overlap = task.dst.split()
    return {"gap": gap, "overlap": overlap}


def _options_of(task: Task, opens: bool) -> dict[str, Any]:
    options = options_of(task.request)
    names = options.header_names
    values = [REDACTED] * len(names)
    if opens and names:
        values = json.loads(encryption.decrypt(options.sealed_values))
    return {
        "headers": dict(zip(names, values, strict=True)),
        "timeout_seconds": options.timeout_seconds,
        "content_type": options.content_type,
        "long_work": options.deadline and {"deadline": options.deadline},
        **({"body": _body_of(task, options)} if options.form else {}),
    }


def _body_of(task: Task, options: RequestOptions) -> Any:
    match options.form:
        case BodyForm.TEXT:
            return task.body
        case BodyForm.FORM:
            return dict(parse_qsl(task.body, keep_blank_values=True))
    return simplejson.RawJSON(task.body)
