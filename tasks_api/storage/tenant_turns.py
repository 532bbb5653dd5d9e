"""Go around very many tenants, or rows, in turns, some of them at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection

# The most tenants of a turn. With fewer, each turn is a whole round.
MAX_TENANTS = 10_000

# Where the next turn of each statement begins in this process: after this tenant.
_turns: dict[str, int] = {}


def take_turn(
    statement: str, values: Mapping[str, Any], *, most: int = MAX_TENANTS
) -> list[tuple[Any, ...]]:
    """Execute a statement about the next tenants, or rows of a table; return its rows.

    It takes the next `most` of them in the order of their ids, with ids above `after`,
    and returns a row for each, with the id first.
    """
    began = _turns.pop(statement, 0)
    rows = _execute(statement, values, after=began, most=most)
    if len(rows) >= most:
        _turns[statement] = max(row[0] for row in rows)
    elif began:
        rest = _execute(statement, values, after=0, most=most)
        rows += [row for row in rest if row[0] <= began]
    return rows


def _execute(
    statement: str, values: Mapping[str, Any], *, after: int, most: int
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {**values, "after": after, "most": most})
        return list(cursor.fetchall())
