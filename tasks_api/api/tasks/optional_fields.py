"""The optional fields of a task: read from requests, shown in responses, and described.

Each field is one entry of `request_fields` or `policy_fields`; nothing else in the API
repeats it. A field that is null means the same as one that is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as attributes_of
from dataclasses import replace
from datetime import datetime
from typing import Any

from accounts import encryption
from tasks_api.api import fields
from tasks_api.api.tasks.policy_fields import POLICY_FIELDS
from tasks_api.api.tasks.request_fields import (
    REDACTED,
    REQUEST_FIELDS,
    open_headers,
    post_data_of,
)
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.request_options import parse_options
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Misfire, Overlap, RequestOptions, TaskSpec
from tasks_api.models import Task

OPTIONAL_FIELDS = (*REQUEST_FIELDS, *POLICY_FIELDS)
REQUEST_SCHEMAS = {field.name: field.request_schema for field in OPTIONAL_FIELDS}
RESPONSE_SCHEMAS = {
    field.name: field.response_schema or field.schema for field in OPTIONAL_FIELDS
}
_NAMES = {field.name for field in OPTIONAL_FIELDS}
_REQUEST_OPTIONS = {each.name for each in attributes_of(RequestOptions)}


def read_optional_fields(
    data: Mapping[str, Any], spec: TaskSpec, *, now: datetime
) -> TaskSpec:
    """The task with the optional fields of a request body.

    Raises InvalidTask naming the field, also if such a task cannot have it.
    """
    if data.keys().isdisjoint(_NAMES):
        return spec
    given = fields.without_nulls(data)
    _check_applicable(given, spec)
    attributes: dict[str, Any] = {}
    for field in OPTIONAL_FIELDS:
        if field.name in given or field.reads_absence:
            attributes |= field.read(given, spec, now)
    options = {
        name: attributes.pop(name) for name in attributes.keys() & _REQUEST_OPTIONS
    }
    return replace(spec, **attributes, request=RequestOptions(**options))


def _check_applicable(given: Mapping[str, Any], spec: TaskSpec) -> None:
    is_once = isinstance(spec.schedule, Once)
    for field in OPTIONAL_FIELDS:
        value = given.get(field.name)
        # A default says nothing new, so any task may have it.
        if not value or value in (Overlap.ALLOW, Misfire.LATEST):
            continue
        if field.needs_url and spec.queue:
            fields.raise_invalid(field.name, "goes with a url, not with a queue")
        if field.needs_periodic and is_once:
            fields.raise_invalid(field.name, "goes with a periodic task")


def render_optional_fields(task: Task) -> dict[str, Any]:
    """The fields that a task has set, without the values of its headers."""
    options = parse_options(task.request) if task.request else RequestOptions()
    shown = {field.name: field.show(task, options) for field in OPTIONAL_FIELDS}
    return {
        field.name: shown[field.name]
        for field in OPTIONAL_FIELDS
        if shown[field.name] is not None and shown[field.name] != field.default
    }


def stored_fields(task: Task) -> dict[str, Any]:
    """The fields that a task has set, as a request body would give them.

    Raises Unreadable if no key opens the values of its headers.
    """
    stored = render_optional_fields(task)
    if "headers" in stored:
        stored["headers"] = open_headers(parse_options(task.request))
    return stored


def merge_optional_fields(task: Task, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a task, replaced by those of a request body.

    Raises InvalidTask if headers would stay that no key opens.
    """
    kept = render_optional_fields(task) if "headers" in data else _open_fields(task)
    if "post_data" in data:
        kept.pop("body", None)
    elif "body" not in kept and task.body:
        kept["post_data"] = post_data_of(task)
    if "body" in data:
        kept.pop("post_data", None)
    given = data.keys() & (_NAMES | {"post_data"})
    return kept | {name: data[name] for name in given}


def restore_headers(task: Task, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """A request body in which redacted values are replaced by those of the task.

    Raises InvalidTask if no key opens these.
    """
    given = data.get("headers")
    if not isinstance(given, Mapping) or REDACTED not in given.values():
        return data
    own = _open_fields(task).get("headers", {})
    values = {name.lower(): value for name, value in own.items()}
    headers = {
        name: values.get(name.lower(), value) if value == REDACTED else value
        for name, value in given.items()
    }
    return {**data, "headers": headers}


def _open_fields(task: Task) -> dict[str, Any]:
    try:
        return stored_fields(task)
    except encryption.Undecryptable:
        raise InvalidTask(
            "headers",
            "The stored headers cannot be decrypted any more; send them again",
        ) from None
