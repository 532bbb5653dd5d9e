"""The columns of a task that hold what its owner wants, one for each field of TaskSpec.

A field of TaskSpec is stored in the column of Task that has the same name. So a new one
needs nothing here, unless PostgreSQL has no type for it.
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

# A task keeps its surface. The others are stored as something else.
_NO_COLUMNS = {"surface", "schedule", "is_paused", "task_id"}
_KINDS = get_type_hints(TaskSpec)
SPEC_COLUMNS = tuple(name for name in _KINDS if name not in _NO_COLUMNS)

_SQL_TYPES = {
    UUID: "uuid",
    int: "bigint",
    bool: "bool",
    datetime: "timestamptz",
}


def sql_types(kinds: Mapping[str, Any]) -> dict[str, str]:
    """PostgreSQL's types for columns, by those of Python; texts for all that it lacks."""
    return {name: _sql_type(kind) for name, kind in kinds.items()}


def _sql_type(kind: Any) -> str:
    given = [each for each in get_args(kind) or (kind,) if each is not NoneType]
    return _SQL_TYPES.get(given[0], "text")


# A text[] is given as a text: an array of arrays cannot be unnested by rows.
SPEC_TYPES = sql_types({name: _KINDS[name] for name in SPEC_COLUMNS})


def columns_of(spec: TaskSpec) -> dict[str, Any]:
    """What a task's columns say when it is what its owner wants, as its model reads them."""
    values = {name: getattr(spec, name) for name in SPEC_COLUMNS}
    values["tags"] = list(spec.tags)
    values["retry"] = _written_policy(spec.retry)
    values["request"] = _written_options(spec.request)
    return values


def parameters(values: Iterable[Any]) -> list[Any]:
    """Values of a row's columns as a statement takes them."""
    return [array(value) if isinstance(value, list) else value for value in values]


def cast(name: str) -> str:
    """SQL that makes a column's parameter what the column holds."""
    return f"{name}::text[]" if name == "tags" else name


def _written_policy(policy: RetryPolicy | Backoff | None) -> str:
    return json.dumps(asdict(policy)) if policy else ""


def _written_options(options: RequestOptions) -> str:
    return "" if options == RequestOptions() else json.dumps(asdict(options))
