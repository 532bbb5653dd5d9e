"""Requests that change the tasks of a filter, and the plan that answers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accounts.models import User
from tasks_api.api import fields
from tasks_api.api.tasks.filters import read_filters, read_scope
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.models import Task
from tasks_api.services.fingerprints import digest_of
from tasks_api.services.listing import TaskScope
from tasks_api.services.task_selection import (
    MAX_TASKS,
    SelectedTasks,
    TaskSelection,
)

# The tasks that a plan shows.
SHOWN_TASKS = 100
# The fields that a plan does not depend on.
_CONTROL_FIELDS = ("dry_run", "hash")


def read_selection(data: Mapping[str, Any], user: User, verb: str) -> TaskSelection:
    """The filter of a request body, with the plan that its client has seen."""
    given = _filter(data)
    texts = {name: value for name, value in given.items() if name != "tag"}
    for name, value in texts.items():
        if not isinstance(value, str):
            _raise_invalid(name, "a string")
    request = {name: data[name] for name in data if name not in _CONTROL_FIELDS}
    scope = read_scope(texts, user)
    owner = _owner(texts, scope)
    described = {name: given[name] for name in given if name != "owner" or not owner}
    return TaskSelection(
        scope,
        read_filters(texts, _tags(given)),
        digest=digest_of({**request, "verb": verb}),
        described=described,
        owner=owner,
        limit=fields.number(data, "limit", 1, MAX_TASKS),
        expected=_hash(data),
        is_dry_run=bool(fields.boolean(data, "dry_run")),
    )


def _owner(texts: Mapping[str, str], scope: TaskScope) -> User | None:
    """The user whose tasks a filter is about, if it names one."""
    if texts.get("owner", "all") == "all":
        return None
    return User.objects.filter(pk__in=scope.owner_ids).first()


def _filter(data: Mapping[str, Any]) -> dict[str, Any]:
    value = fields.require_field(data, "filter")
    if not isinstance(value, Mapping):
        raise InvalidTask("filter", "Invalid value of filter. It should be an object")
    given = fields.without_nulls(value)
    if not given.keys() - {"owner"}:
        # An empty filter is more often a mistake than a wish for all tasks.
        raise InvalidTask(
            "filter",
            "Invalid value of filter. It should have a condition, such as a tag",
        )
    return given


def _tags(given: Mapping[str, Any]) -> list[str]:
    value = given.get("tag", [])
    tags = [value] if isinstance(value, str) else value
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        _raise_invalid("tag", "a string, or a list of strings")
    if not tags and "tag" in given:
        _raise_invalid("tag", "a string, or a list of strings")
    return list(tags)


def _raise_invalid(name: str, kind: str) -> None:
    raise InvalidTask(
        f"filter.{name}", f"Invalid value of filter.{name}. Value should be {kind}"
    )


def _hash(data: Mapping[str, Any]) -> str | None:
    value = data.get("hash")
    if isinstance(value, str | None):
        return value
    raise InvalidTask(
        "hash", "Invalid value of hash. Value should be the hash of a dry run"
    )


def render_selected(
    selection: TaskSelection, selected: SelectedTasks, message: str
) -> dict[str, Any]:
    """What was done with the tasks of a filter, or with `dry_run` would be."""
    return {
        "message": message if not selection.is_dry_run else "Nothing was changed",
        "dry_run": selection.is_dry_run,
        "hash": selected.fingerprint,
        "count": len(selected.tasks),
        "has_more": selected.has_more,
        "tasks": [name_task(task) for task in selected.tasks[:SHOWN_TASKS]],
    }


def name_task(task: Task) -> dict[str, Any]:
    return {"id": str(task.pk), "name": task.name}
