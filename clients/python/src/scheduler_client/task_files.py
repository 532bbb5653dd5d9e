"""Files of declared tasks: YAML or JSON, read strictly, with values of the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scheduler_client import documents

_VARIABLE = re.compile(r"\$(\$)?\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}")


class FileError(Exception):
    """The file cannot be used; the text says why."""


class Declared(NamedTuple):
    """A tag, and the tasks that those with it are to be."""

    tag: str
    tasks: list[dict[str, Any]]


def load(path: Path, environment: Mapping[str, str]) -> Declared:
    """Read a file of `tag`, `tasks` and `defaults` for each of them.

    `${NAME}` in a value becomes that variable, and `$${NAME}` stays `${NAME}`. Raises
    FileError for whatever is not understood. Which fields a task has is for the service
    to say: it refuses those that it does not know.
    """
    data = _expand(parse(path), environment)
    if not isinstance(data, Mapping):
        raise FileError("It should be a mapping of tag and tasks")
    if unknown := data.keys() - {"tag", "tasks", "defaults"}:
        raise FileError(f"Unknown: {', '.join(map(str, sorted(unknown, key=str)))}")
    tag, tasks = data.get("tag"), data.get("tasks")
    if not isinstance(tag, str) or not tag:
        raise FileError("tag should be a text")
    defaults = data.get("defaults") or {}
    if not isinstance(tasks, list) or not isinstance(defaults, Mapping):
        raise FileError("tasks should be a list, and defaults a mapping")
    return Declared(tag, [_task(i, task, defaults) for i, task in enumerate(tasks)])


def parse(path: Path) -> Any:
    """What a YAML or JSON file holds, dates as texts. Raises FileError."""
    try:
        return documents.read(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(str(error.strerror)) from None
    except (documents.DocumentError, UnicodeDecodeError) as error:
        raise FileError(str(error)) from None


def _expand(value: Any, environment: Mapping[str, str]) -> Any:
    def replaced(found: re.Match[str]) -> str:
        name = found["name"]
        if found[1]:
            return f"${{{name}}}"
        if name not in environment:
            raise FileError(f"The environment has no {name}")
        return environment[name]

    match value:
        case str():
            return _VARIABLE.sub(replaced, value)
        case Mapping():
            return {name: _expand(each, environment) for name, each in value.items()}
        case list():
            return [_expand(each, environment) for each in value]
    return value


def _task(index: int, task: object, defaults: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(task, Mapping):
        raise FileError(f"tasks[{index}] should be a mapping")
    merged = typed({**defaults, **task})
    if not isinstance(merged.get("name"), str):
        raise FileError(f"tasks[{index}] has no name")
    return merged


def typed(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task with its type, which its fields tell where it does not say so."""
    is_one_time = task.get("run_datetime") is not None
    return {"task_type": "one_time" if is_one_time else "periodic", **task}
