"""Read files of tasks in YAML or JSON, and insert environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scheduler_client import documents

_VARIABLE = re.compile(r"\$(\$)?\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}")


class FileError(Exception):
    """The file cannot be used; the message says why."""


class TaskFile(NamedTuple):
    """A tag, and all tasks that are to have it."""

    tag: str
    tasks: list[dict[str, Any]]


def load_task_file(path: Path, environment: Mapping[str, str]) -> TaskFile:
    """Read a file with `tag`, `tasks`, and `defaults` for the fields of each task.

    `${NAME}` in a value is replaced by that environment variable, and `$${NAME}` by
    `${NAME}`. Raises FileError for an invalid file. The fields of a task are sent as they
    are: the service knows which there are, and refuses an unknown one.
    """
    data = _expand(read_file(path), environment)
    if not isinstance(data, Mapping):
        raise FileError("The file should be a mapping with tag and tasks")
    if unknown := data.keys() - {"tag", "tasks", "defaults"}:
        raise FileError(
            f"Unknown keys: {', '.join(map(str, sorted(unknown, key=str)))}"
        )
    tag, tasks = data.get("tag"), data.get("tasks")
    if not isinstance(tag, str) or not tag:
        raise FileError("tag should be a string")
    defaults = data.get("defaults") or {}
    if not isinstance(tasks, list) or not isinstance(defaults, Mapping):
        raise FileError("tasks should be a list, and defaults a mapping")
    return TaskFile(
        tag, [_merge_defaults(i, task, defaults) for i, task in enumerate(tasks)]
    )


def read_file(path: Path) -> Any:
    """Read a YAML or JSON file; dates stay strings. Raises FileError."""
    try:
        return documents.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(str(error.strerror)) from None
    except (documents.DocumentError, UnicodeDecodeError) as error:
        raise FileError(str(error)) from None


def _expand(value: Any, environment: Mapping[str, str]) -> Any:
    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if match[1]:
            return f"${{{name}}}"
        if name not in environment:
            raise FileError(f"The environment variable {name} is not set")
        return environment[name]

    match value:
        case str():
            return _VARIABLE.sub(replace, value)
        case Mapping():
            return {name: _expand(item, environment) for name, item in value.items()}
        case list():
            return [_expand(item, environment) for item in value]
    return value


def _merge_defaults(
    index: int, task: object, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    if not isinstance(task, Mapping):
        raise FileError(f"tasks[{index}] should be a mapping")
    merged = with_task_type({**defaults, **task})
    if not isinstance(merged.get("name"), str):
        raise FileError(f"tasks[{index}] has no name")
    return merged


def with_task_type(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task with its `task_type`, derived from its fields if it is absent."""
    is_one_time = task.get("run_datetime") is not None
    return {"task_type": "one_time" if is_one_time else "periodic", **task}
