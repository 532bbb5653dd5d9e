"""The fields that say what is sent: method, headers and body, read strictly, and shown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import simplejson
from django.conf import settings

from accounts import encryption
from tasks_api.api import fields
from tasks_api.api.json_codec import dumps
from tasks_api.delivery.request import JSON_TYPE
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.request_options import comparable, parse_options
from tasks_api.domain.specs import BodyForm, RequestOptions, TaskSpec
from tasks_api.models import Task

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
# Many servers refuse a body of theirs, so they have none that was not asked for.
MAYBE_BODILESS = ("DELETE", "OPTIONS")
# What is shown in the place of a header's value.
REDACTED = "[redacted]"
MAX_HEADERS = 50
MAX_HEADER_BYTES = 16 * 1024
MAX_DEADLINE = 7 * 24 * 3600
# RFC 9110: 5.1 and 5.6.2 for names; of values (5.5) what everybody reads alike.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", re.ASCII)
_VALUE = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?", re.ASCII)
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


# What comes in.


def read_options(
    given: Mapping[str, Any], spec: TaskSpec
) -> tuple[str, str, RequestOptions]:
    """The method, the text of the body, and what else a request has beyond the usual."""
    method = _method(given)
    body, form, content_type = _body(given, spec, method)
    names, sealed = _headers(given)
    if content_type and "content-type" in map(comparable, names):
        fields.refuse("content_type", "is given in headers, too")
    options = RequestOptions(
        names, sealed, _timeout(given), form, content_type, _deadline(given)
    )
    return method, body, options


def _method(given: Mapping[str, Any]) -> str:
    value = given.get("method", "POST")
    method = value.strip().upper() if isinstance(value, str) else ""
    if method not in METHODS:
        raise InvalidTask(
            "method",
            f"Invalid value of method. Value should be {fields.listed(METHODS)}",
        )
    return method


def _timeout(given: Mapping[str, Any]) -> int | None:
    most = settings.SCHEDULER_MAX_REQUEST_TIMEOUT
    timeout: int | None = fields.number(given, "timeout_seconds", 1, most)
    return timeout


def _headers(given: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The names, and all values sealed."""
    headers = given.get("headers", {})
    if headers == {}:
        return (), ""
    if not isinstance(headers, Mapping):
        fields.refuse("headers", "should be an object of strings")
    if len(headers) > MAX_HEADERS:
        fields.refuse("headers", f"has more than {MAX_HEADERS} headers")
    seen: set[str] = set()
    for name, value in headers.items():
        _check_header(name, value)
        if comparable(name) in seen:
            fields.refuse("headers", f"has {name} twice")
        seen.add(comparable(name))
    if (
        sum(len(name) + len(value) for name, value in headers.items())
        > MAX_HEADER_BYTES
    ):
        fields.refuse("headers", f"has more than {MAX_HEADER_BYTES} bytes")
    return tuple(headers), encryption.encrypt(json.dumps(list(headers.values())))


def _check_header(name: str, value: object) -> None:
    known_as = comparable(name)
    if not _NAME.fullmatch(name):
        fields.refuse("headers", "has a name that is not a header's")
    if known_as in RESERVED or known_as.startswith(RESERVED_PREFIXES):
        fields.refuse("headers", f"has {name}, which the service sets itself")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        fields.refuse(
            "headers",
            f"should have printable ASCII without space around it as {name}",
        )
    if value == REDACTED:
        # It was read from an answer, and would replace the real one.
        fields.refuse("headers", f"has {REDACTED} as {name} instead of its value")


def _body(
    given: Mapping[str, Any], spec: TaskSpec, method: str
) -> tuple[str, BodyForm | None, str]:
    """The text that is sent, the form it was given in, and its media type."""
    content_type = _content_type(given)
    if "body" not in given:
        if content_type and not _is_json(content_type):
            fields.refuse("content_type", "goes with a body, unless it is JSON")
        is_empty = method in MAYBE_BODILESS and "post_data" not in given
        return "" if is_empty else spec.body, None, content_type
    if "post_data" in given:
        fields.refuse("body", "takes the place of post_data; a task has one of them")
    value = given["body"]
    if not content_type or _is_json(content_type):
        return dumps(value), BodyForm.JSON, content_type
    if isinstance(value, str):
        return value, BodyForm.TEXT, content_type
    is_form = content_type.partition(";")[0].strip().lower() == FORM
    if is_form and isinstance(value, Mapping):
        if not all(isinstance(each, str) for each in value.values()):
            fields.refuse(
                "body", "should be an object of strings, as it is sent as a form"
            )
        return urlencode(value), BodyForm.FORM, content_type
    fields.refuse("body", f"should be a string, as it is sent as {content_type}")


def _content_type(given: Mapping[str, Any]) -> str:
    value = given.get("content_type", "")
    if value == "":
        return ""
    if isinstance(value, str) and len(value) <= 200 and _MEDIA_TYPE.fullmatch(value):
        return value
    fields.refuse("content_type", "should be a media type, such as text/plain")


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == JSON_TYPE or media_type.endswith("+json")


def _deadline(given: Mapping[str, Any]) -> int | None:
    value = given.get("long_work")
    if value is None:
        return None
    if not isinstance(value, Mapping) or value.get("deadline") is None:
        fields.refuse("long_work", "should be an object with a deadline, in seconds")
    deadline: int = fields.number(
        value, "deadline", 1, MAX_DEADLINE, label="long_work.deadline"
    )
    return deadline


# What goes out.


def post_data_of(task: Task) -> simplejson.RawJSON | None:
    """The body as it was posted; None where it was given as `body`, or there is none."""
    if task.request and parse_options(task.request).form:
        return None
    if not task.body and task.method in MAYBE_BODILESS:
        return None
    return simplejson.RawJSON(task.body or "{}")


def render_options(task: Task, *, opens: bool) -> dict[str, Any]:
    """As a request body would give them; with `opens` the values of headers, too."""
    options = parse_options(task.request)
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
