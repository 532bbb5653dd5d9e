"""Columns of many rows as PostgreSQL array literals, for `unnest()`.

psycopg writes lists element by element in Python, which was a third of what making
a run cost. These few types need less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID


def array(values: Iterable[object]) -> str:
    """`{a,b,…}` as the PostgreSQL manual defines it (8.15.6); to be cast to its type.

    For None, strings, aware datetimes, numbers and UUIDs.
    """
    values = list(values)
    kinds = set(map(type, values))
    if len(kinds) == 1:
        [kind] = kinds
        if (write := _WRITERS.get(kind)) is not None:
            return "{" + ",".join(map(write, values)) + "}"
    if all(issubclass(kind, str) for kind in kinds):
        return _texts(values)  # type: ignore[arg-type]  # as the line above found
    return "{" + ",".join(map(_element, values)) + "}"


def columns(rows: Iterable[Sequence[object]]) -> list[str]:
    """One array for each column of some rows, of which there is at least one."""
    rows = list(rows)
    if len(rows) == 1:
        return ["{" + _element(value) + "}" for value in rows[0]]
    return [_column(column) for column in zip(*rows, strict=True)]


def _column(values: Sequence[object]) -> str:
    # Most columns hold the same value in all rows, which is quick to find out.
    first, last = values[0], values[-1]
    if first == last and values.count(first) == len(values):
        return "{" + ",".join([_element(first)] * len(values)) + "}"
    return array(values)


def _texts(values: Sequence[str]) -> str:
    # All texts are escaped at once; no text of PostgreSQL holds a NUL.
    joined = "\0".join(values)
    if not values or joined.count("\0") >= len(values):
        return "{" + ",".join(map(_element, values)) + "}"
    return '{"' + _escaped(joined).replace("\0", '","') + '"}'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return f'"{_escaped(value)}"'
    return _WRITERS.get(type(value), str)(value)


def _hex_digits(value: UUID) -> str:
    # PostgreSQL needs no dashes, and this takes a third of the time.
    return f"{value.int:032x}"


# How values of a type are written, where no value needs to be looked at first.
_WRITERS: dict[type, Callable[[Any], str]] = {
    UUID: _hex_digits,
    datetime: datetime.isoformat,
    int: int.__repr__,
    float: float.__repr__,
}
