"""How things are said to the service, and its answers read: paths, queries, bodies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from scheduler_client.connection import Answer
from scheduler_client.models import FireTime, FireTimes, Plan, Step, Task, read

Fields = Mapping[str, Any]


def part(text: str) -> str:
    """A text as one part of a path. Raises ValueError where it would be another path."""
    if text in ("", ".", ".."):
        raise ValueError(f"{text!r} cannot stand in a path")
    return quote(text, safe="")


def id_of(task: str | Task) -> str:
    """A task that is named by its id or by itself, as one part of a path."""
    return part(task.id if isinstance(task, Task) else task)


def if_match(etag: str | None) -> dict[str, str]:
    return {"If-Match": etag} if etag else {}


def query(query: Fields) -> dict[str, Any]:
    return {name: written(value) for name, value in query.items() if value is not None}


def written(value: Any) -> Any:
    """As JSON has it. Raises ValueError for a datetime that says no zone."""
    match value:
        case datetime():
            if value.tzinfo is None:
                raise ValueError(f"{value!r} has no time zone")
            return value.isoformat()
        case timedelta():
            seconds = value.total_seconds()
            return int(seconds) if seconds == int(seconds) else seconds
        case Mapping():
            return {name: written(each) for name, each in value.items()}
        case list() | tuple():
            return [written(each) for each in value]
    return value


def was_replayed(answer: Answer) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def task(answer: Answer) -> Task:
    return read_task(answer.body, etag=answer.headers.get("ETag", ""))


def read_task(data: Fields, **more: Any) -> Task:
    return read(Task, data, tags=tuple(data.get("tags") or ()), **more)


def fire_times(answer: Answer) -> FireTimes:
    found = [read(FireTime, each) for each in answer.body["fire_times"]]
    return read(FireTimes, answer.body, fire_times=found)


def plan(answer: Answer) -> Plan:
    steps = [read(Step, each) for each in answer.body["tasks"]]
    return read(Plan, answer.body, steps=steps)
