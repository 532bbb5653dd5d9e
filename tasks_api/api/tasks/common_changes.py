"""A change of many tasks: the fields of a PATCH, and changes of parts of fields.

`set_headers`, `add_tags`, `remove_tags` and `url_host` change a part of what each task
has. From them follows the PATCH of a single task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from accounts import url_credentials
from tasks_api.api import fields
from tasks_api.api.tasks.request_fields import REDACTED
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.guard import replace_host
from tasks_api.domain.request_options import parse_options
from tasks_api.models import Task

# The part of a field that a change is about, and the whole field, which excludes it.
_WHOLE_FIELDS = {
    "set_headers": "headers",
    "add_tags": "tags",
    "remove_tags": "tags",
    "url_host": "url",
}


def check_changes(value: object) -> Mapping[str, Any]:
    """The `set` of a request. Its fields are read with each task. Raises InvalidTask."""
    if not isinstance(value, Mapping) or not value:
        raise InvalidTask(
            "set", "Invalid value of set. It should be an object with a field to change"
        )
    for part, whole in _WHOLE_FIELDS.items():
        if part in value and whole in value:
            raise InvalidTask(part, f"A change has either {part} or {whole}")
    _check_headers(value)
    for name in ("add_tags", "remove_tags"):
        tags = value.get(name, [])
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            fields.raise_invalid(name, "should be a list of strings")
    host = value.get("url_host", "")
    if not isinstance(host, str) or any(each in host for each in "/?#@\\ "):
        fields.raise_invalid("url_host", "should be a host, with a port or without")
    return value


def _check_headers(changes: Mapping[str, Any]) -> None:
    headers = changes.get("set_headers", {})
    if not isinstance(headers, Mapping) or not all(
        isinstance(value, str | None) for value in headers.values()
    ):
        fields.raise_invalid("set_headers", "should be an object of strings and nulls")
    if len({name.lower() for name in headers}) < len(headers):
        fields.raise_invalid("set_headers", "has a header twice")
    if REDACTED in headers.values():
        fields.raise_invalid("set_headers", f"has {REDACTED} instead of a value")


def changes_of_task(task: Task, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a PATCH that makes the changes of a single task."""
    body = {name: changes[name] for name in changes if name not in _WHOLE_FIELDS}
    if headers := changes.get("set_headers"):
        body["headers"] = _merge_headers(task, headers) or None
    added, removed = changes.get("add_tags", ()), changes.get("remove_tags", ())
    if added or removed:
        body["tags"] = _merge_tags(task.tags, added, removed)
    if "url_host" in changes:
        body["url"] = _move_url(task, changes["url_host"])
    return body


def _merge_headers(task: Task, headers: Mapping[str, str | None]) -> dict[str, str]:
    """The headers of a task with some replaced by name; the others stay as secrets."""
    options = parse_options(task.request) if task.request else None
    merged = dict.fromkeys(options.header_names if options else (), REDACTED)
    names = {name.lower(): name for name in merged}
    for name, value in headers.items():
        known = names.get(name.lower(), name)
        if value is None:
            merged.pop(known, None)
        else:
            merged[known] = value
    return merged


def _merge_tags(
    tags: Iterable[str], added: Iterable[str], removed: Iterable[str]
) -> list[str]:
    gone = set(removed)
    return [tag for tag in dict.fromkeys([*tags, *added]) if tag not in gone]


def _move_url(task: Task, host: str) -> str:
    if not task.url:
        fields.raise_invalid("url_host", "goes with a url, not with a queue")
    if url_credentials.find(task.url):
        # Nobody may send hidden credentials to a host of their choice.
        fields.raise_invalid(
            "url_host", "does not go with credentials in the url; give it anew"
        )
    return replace_host(task.url, host)
