"""Encode arguments for a request: path segments, queries, JSON bodies, headers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from scheduler_client.models import Task

Fields = Mapping[str, Any]
Timestamp = datetime | str
TaskOrId = Task | str


def quote_segment(text: str) -> str:
    """Quote one segment of a path. Raises ValueError where it would change the path."""
    if text in ("", ".", ".."):
        raise ValueError(f"{text!r} cannot be a segment of a path")
    return quote(text, safe="")


def to_task_id(task: TaskOrId) -> str:
    return task.id if isinstance(task, Task) else task


def task_segment(task: TaskOrId) -> str:
    return quote_segment(to_task_id(task))


def if_match_header(etag: str | None) -> dict[str, str]:
    return {"If-Match": etag} if etag else {}


def omit_none(fields: Fields) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def encode_value(value: Any) -> Any:
    """Convert a value to its JSON form. Raises ValueError for a naive datetime."""
    match value:
        case datetime():
            if value.tzinfo is None:
                raise ValueError(f"{value!r} has no time zone")
            return value.isoformat()
        case timedelta():
            seconds = value.total_seconds()
            return int(seconds) if seconds == int(seconds) else seconds
        case Mapping():
            return {name: encode_value(item) for name, item in value.items()}
        case list() | tuple():
            return [encode_value(item) for item in value]
    return value
