"""Columns of many rows as PostgreSQL array literals, for `unnest()`.

psycopg writes lists element by element in Python, which was a third of what dispatching
a run cost. These few types need less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime


def array(values: Iterable[object]) -> str:
    """`{a,b,…}` as the PostgreSQL manual defines it (8.15.6); to be cast to its type.

    For None, strings, aware datetimes, numbers and UUIDs.
    """
    return "{" + ",".join([_element(value) for value in values]) + "}"


def columns(rows: Iterable[Sequence[object]]) -> list[str]:
    """One array for each column of some rows, of which there is at least one."""
    return [array(column) for column in zip(*rows, strict=True)]


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
