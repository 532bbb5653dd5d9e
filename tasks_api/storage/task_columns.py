"""The columns of a task that its owner chooses, one for each field of TaskSpec.

A field of TaskSpec is stored in the column of Task with the same name. A new field
needs no code here, unless PostgreSQL has no type for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from types import NoneType
from typing import Any, get_args, get_type_hints
from uuid import UUID

from scheduler_service.db.arrays import array
from tasks_api.domain.specs import Backoff, RequestOptions, RetryPolicy, TaskSpec

# A task keeps its surface; the others are stored in other columns.
_NO_COLUMNS = {"surface", "schedule", "calendars", "is_paused", "task_id"}
_NO_COLUMNS |= {"spread_offset"}
_KINDS = get_type_hints(TaskSpec)
SPEC_COLUMNS = tuple(name for name in _KINDS if name not in _NO_COLUMNS)

# The host and port of a task's URL in SQL, as guard.host_of() returns them: without the
# credentials. A regular expression would take five times as long.
HOST = """
    split_part(split_part(split_part(split_part(split_part(
        task.url, '://', 2), '/', 1), '?', 1), '#', 1), '@', -1)
"""

_SQL_TYPES = {
    UUID: "uuid",
    int: "bigint",
    bool: "bool",
    datetime: "timestamptz",
}


def sql_types(kinds: Mapping[str, Any]) -> dict[str, str]:
    """Return the PostgreSQL types of columns by their Python types; text by default."""
    return {name: _sql_type(kind) for name, kind in kinds.items()}


def _sql_type(kind: Any) -> str:
    given = [each for each in get_args(kind) or (kind,) if each is not NoneType]
    return _SQL_TYPES.get(given[0], "text")


# A statement passes a text[] as text: unnest() would flatten an array of arrays.
SPEC_TYPES = sql_types({name: _KINDS[name] for name in SPEC_COLUMNS})


def columns_of(spec: TaskSpec) -> dict[str, Any]:
    """Return the columns of a task and their values, as the model reads them."""
    values = {name: getattr(spec, name) for name in SPEC_COLUMNS}
    values["tags"] = list(spec.tags)
    values["retry"] = _written_policy(spec.retry)
    values["request"] = _written_options(spec.request)
    return values


def parameters(values: Iterable[Any]) -> list[Any]:
    """Return the values of a row's columns as parameters of a statement."""
    return [array(value) if isinstance(value, list) else value for value in values]


def cast(name: str) -> str:
    """Return SQL that casts the parameter of a column to the type of the column."""
    return f"{name}::text[]" if name == "tags" else name


def _written_policy(policy: RetryPolicy | Backoff | None) -> str:
    return json.dumps(asdict(policy)) if policy else ""


def _written_options(options: RequestOptions) -> str:
    return "" if options == RequestOptions() else json.dumps(asdict(options))
