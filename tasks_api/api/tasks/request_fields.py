"""The fields of the request of a task: method, headers and body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import simplejson
from django.conf import settings

from accounts import encryption
from tasks_api.api import fields, openapi
from tasks_api.api.json_codec import dumps
from tasks_api.api.tasks.field_types import Fields, OptionalField
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.request_options import JSON_TYPE, comparable, parse_options
from tasks_api.domain.specs import BodyForm, RequestOptions, TaskSpec
from tasks_api.models import Task

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
# Many servers refuse these with a body, so they get one only if the task gives it.
BODILESS_METHODS = ("DELETE", "OPTIONS")
# Responses show this instead of the value of a header.
REDACTED = "[redacted]"
MAX_HEADERS = 50
MAX_HEADER_BYTES = 16 * 1024
MAX_CONTENT_TYPE_LENGTH = 200
MAX_DEADLINE = 7 * 24 * 3600
# RFC 9110: 5.1 and 5.6.2 for names; of values (5.5) those that all servers read alike.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", re.ASCII)
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?", re.ASCII)
_MEDIA_TYPE = re.compile(
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*;[ -~]*)?",
    re.ASCII,
)
FORM_TYPE = "application/x-www-form-urlencoded"
# The connection, the signature and the identity of a run depend on these.
RESERVED_HEADERS = frozenset(
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


# Method and headers.


def _read_method(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    return {"method": _method(given)}


def _method(given: Fields) -> str:
    value = given.get("method", "POST")
    method = value.strip().upper() if isinstance(value, str) else ""
    if method not in METHODS:
        raise InvalidTask(
            "method",
            f"Invalid value of method. Value should be {fields.join_choices(METHODS)}",
        )
    return method


def _read_headers(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    """The names, and all values sealed in one text."""
    headers = given["headers"]
    if headers == {}:
        return {}
    if not isinstance(headers, Mapping):
        fields.raise_invalid("headers", "should be an object of strings")
    if len(headers) > MAX_HEADERS:
        fields.raise_invalid("headers", f"has more than {MAX_HEADERS} headers")
    _check_headers(headers)
    if _content_type(given) and "content-type" in map(comparable, headers):
        fields.raise_invalid("content_type", "is given in headers, too")
    sealed = encryption.encrypt(json.dumps(list(headers.values())))
    return {"header_names": tuple(headers), "sealed_values": sealed}


def _check_headers(headers: Fields) -> None:
    seen: set[str] = set()
    for name, value in headers.items():
        _check_header(name, value)
        if comparable(name) in seen:
            fields.raise_invalid("headers", f"has {name} twice")
        seen.add(comparable(name))
    if sum(len(name) + len(value) for name, value in headers.items()) > (
        MAX_HEADER_BYTES
    ):
        fields.raise_invalid("headers", f"has more than {MAX_HEADER_BYTES} bytes")


def _check_header(name: str, value: object) -> None:
    comparable_name = comparable(name)
    if not _HEADER_NAME.fullmatch(name):
        fields.raise_invalid("headers", "has a name that is not a header's")
    if comparable_name in RESERVED_HEADERS or comparable_name.startswith(
        RESERVED_PREFIXES
    ):
        fields.raise_invalid("headers", f"has {name}, which the service sets itself")
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        fields.raise_invalid(
            "headers",
            f"should have printable ASCII without space around it as {name}",
        )
    if value == REDACTED:
        # The client took it from a response, and it would replace the real value.
        fields.raise_invalid(
            "headers", f"has {REDACTED} as {name} instead of its value"
        )


def _show_headers(task: Task, options: RequestOptions) -> dict[str, str]:
    return dict.fromkeys(options.header_names, REDACTED)


def open_headers(options: RequestOptions) -> dict[str, str]:
    """The headers with their values. Raises Unreadable if no key opens them."""
    values = json.loads(encryption.decrypt(options.sealed_values))
    return dict(zip(options.header_names, values, strict=True))


# Body and content type.


def _read_body(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    """The text that is sent, and the form in which it was given."""
    content_type = _content_type(given)
    if "body" not in given:
        if content_type and not _is_json(content_type):
            fields.raise_invalid("content_type", "goes with a body, unless it is JSON")
        is_empty = _method(given) in BODILESS_METHODS and "post_data" not in given
        return {"body": ""} if is_empty else {}
    if "post_data" in given:
        fields.raise_invalid(
            "body", "takes the place of post_data; a task has one of them"
        )
    text, form = _encode_body(given["body"], content_type)
    return {"body": text, "form": form}


def _encode_body(value: Any, content_type: str) -> tuple[str, BodyForm]:
    if not content_type or _is_json(content_type):
        return dumps(value), BodyForm.JSON
    if isinstance(value, str):
        return value, BodyForm.TEXT
    is_form = content_type.partition(";")[0].strip().lower() == FORM_TYPE
    if is_form and isinstance(value, Mapping):
        if not all(isinstance(each, str) for each in value.values()):
            fields.raise_invalid(
                "body", "should be an object of strings, as it is sent as a form"
            )
        return urlencode(value), BodyForm.FORM
    fields.raise_invalid("body", f"should be a string, as it is sent as {content_type}")


def _read_content_type(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    return {"content_type": _content_type(given)}


def _content_type(given: Fields) -> str:
    value = given.get("content_type", "")
    if value == "":
        return ""
    if (
        isinstance(value, str)
        and len(value) <= MAX_CONTENT_TYPE_LENGTH
        and _MEDIA_TYPE.fullmatch(value)
    ):
        return value
    fields.raise_invalid("content_type", "should be a media type, such as text/plain")


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == JSON_TYPE or media_type.endswith("+json")


def post_data_of(task: Task) -> simplejson.RawJSON | None:
    """The body as it was posted; None if it was given as `body`, or there is none."""
    if task.request and parse_options(task.request).form:
        return None
    if not task.body and task.method in BODILESS_METHODS:
        return None
    return simplejson.RawJSON(task.body or "{}")


def _show_body(task: Task, options: RequestOptions) -> Any:
    match options.form:
        case None:
            return None
        case BodyForm.TEXT:
            return task.body
        case BodyForm.FORM:
            return dict(parse_qsl(task.body, keep_blank_values=True))
    return simplejson.RawJSON(task.body)


# Time limits.


def _read_timeout(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    maximum = settings.SCHEDULER_MAX_REQUEST_TIMEOUT
    return {"timeout_seconds": fields.number(given, "timeout_seconds", 1, maximum)}


def _read_long_work(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    value = given["long_work"]
    if not isinstance(value, Mapping) or value.get("deadline") is None:
        fields.raise_invalid(
            "long_work", "should be an object with a deadline, in seconds"
        )
    deadline = fields.number(
        value, "deadline", 1, MAX_DEADLINE, label="long_work.deadline"
    )
    return {"deadline": deadline}


def _show_long_work(task: Task, options: RequestOptions) -> dict[str, int] | None:
    return {"deadline": options.deadline} if options.deadline else None


_LONG_WORK_SCHEMA = {
    "type": "object",
    "description": "For targets that answer 202 and report later how the work went. The run "
    "stays open until then.",
    "required": ["deadline"],
    "properties": {
        "deadline": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_DEADLINE,
            "description": "The number of seconds within which the target has to complete "
            "the run or send a heartbeat.",
        }
    },
}

# They are read in this order, so the first wrong one is reported.
REQUEST_FIELDS = (
    OptionalField(
        "method",
        {
            "type": "string",
            "description": f"{', '.join(METHODS)}, in any case; POST if absent.",
        },
        _read_method,
        lambda task, options: task.method,
        default="POST",
        needs_url=True,
        response_schema=openapi.text("The method of the request.", enum=list(METHODS)),
    ),
    OptionalField(
        "body",
        {
            "description": "The body of the request, instead of `post_data`: any JSON value "
            "but null. With a `content_type` it is the text that is sent, or the fields of a "
            "form."
        },
        _read_body,
        _show_body,
        reads_absence=True,
        is_nullable=False,
    ),
    OptionalField(
        "content_type",
        openapi.text(
            "The media type of the body; `application/json` if absent.",
            maxLength=MAX_CONTENT_TYPE_LENGTH,
        ),
        _read_content_type,
        lambda task, options: options.content_type,
        default="",
        needs_url=True,
    ),
    OptionalField(
        "headers",
        {
            "type": "object",
            "maxProperties": MAX_HEADERS,
            "additionalProperties": openapi.TEXT,
            "description": "Headers of the request. The service stores their values "
            "encrypted and does not show them again.",
        },
        _read_headers,
        _show_headers,
        default={},
        needs_url=True,
        response_schema={
            "type": "object",
            "description": "The names of the headers; their values are not shown.",
            "additionalProperties": {"type": "string", "enum": [REDACTED]},
        },
    ),
    OptionalField(
        "timeout_seconds",
        {
            "type": "integer",
            "minimum": 1,
            "description": "The number of seconds that a request may take, from the "
            "connection to the end of the answer.",
        },
        _read_timeout,
        lambda task, options: options.timeout_seconds,
        needs_url=True,
    ),
    OptionalField(
        "long_work",
        _LONG_WORK_SCHEMA,
        _read_long_work,
        _show_long_work,
        needs_url=True,
    ),
)
