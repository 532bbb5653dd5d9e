"""What a plan shows of a task: its fields before and after, without its secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import simplejson

from accounts import encryption
from tasks_api.api.json_codec import dumps
from tasks_api.api.tasks.rendering import render_task
from tasks_api.domain.request_options import parse_options
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Task
from tasks_api.services.coming import fire_times_of_task, schedule_of

# The next fire times that a plan shows of each task.
SHOWN_FIRE_TIMES = 3
# Fields of a task that its owner does not set.
_SERVICE_FIELDS = {"id", "next_run_datetime", "runs_left", "spread_offset"}


@dataclass(frozen=True)
class ShownTask:
    """A task as a plan shows it, with its hidden secrets by field for comparison."""

    task_id: str
    task_fields: Mapping[str, Any]
    fire_times: Sequence[str]
    secrets: Mapping[str, str] = field(repr=False)


def show_task(task: Task, now: datetime) -> ShownTask:
    is_paused = not task.periodic_task.enabled
    schedule = None if is_paused else schedule_of(task)
    coming = (
        fire_times_of_task(task, schedule, now, SHOWN_FIRE_TIMES) if schedule else []
    )
    shown = {
        name: value
        for name, value in render_task(task, now).items()
        if name not in _SERVICE_FIELDS
    }
    return ShownTask(
        str(task.pk),
        # Through JSON, because a body is text that was not parsed.
        simplejson.loads(dumps({**shown, "paused": is_paused}), use_decimal=True),
        [format_timestamp(each.at) for each in coming if each.at],
        _secrets_of(task),
    )


def _secrets_of(task: Task) -> dict[str, str]:
    """The header values and the URL of a task; empty if no key opens them."""
    sealed = parse_options(task.request).sealed_values if task.request else ""
    return {
        "headers": _open_or_empty(encryption.decrypt, sealed),
        "url": _open_or_empty(encryption.open_url, task.url),
    }


def _open_or_empty(opens: Callable[[str], str], sealed: str) -> str:
    try:
        return opens(sealed) if sealed else ""
    except encryption.Undecryptable:
        return ""


def find_changes(before: ShownTask | None, after: ShownTask | None) -> dict[str, Any]:
    """Each field that differs, with its old and new value; null if it is absent."""
    old = before.task_fields if before else {}
    new = after.task_fields if after else {}
    names = [*new, *(name for name in old if name not in new)]
    changes = {
        name: {"from": old.get(name), "to": new.get(name)}
        for name in names
        if old.get(name) != new.get(name)
    }
    # New secrets look like the old ones in a response, so they are compared apart.
    if before and after:
        for name in ("url", "headers"):
            if name in new and before.secrets[name] != after.secrets[name]:
                changes.setdefault(name, {"from": old.get(name), "to": new[name]})
    return changes
