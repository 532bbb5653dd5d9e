"""Copy the rows of a part between two databases, and sum them up to compare them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from tasks_api.moving import part_statements as statements
from tasks_api.moving.parts import Part

# psycopg reads row by row, and writes larger pieces with less work.
PIECE_BYTES = 128 * 1024


class PartTotals(NamedTuple):
    """How many rows a part has, and a sum of what is in them."""

    rows: int
    checksum: str


def sum_up(select: str) -> PartTotals:
    """The totals of what a SELECT reads in the default database."""
    with connection.cursor() as cursor:
        cursor.execute(statements.SUM_UP.replace("{select}", select))
        return PartTotals._make(cursor.fetchone())


def read_part(part: Part, home: BaseDatabaseWrapper) -> Iterator[bytes]:
    """Yield the rows of a part at home in PostgreSQL's binary format of COPY."""
    raw: Any = home.connection
    statement = f"COPY ({part.select}) TO STDOUT (FORMAT binary)"
    with raw.cursor() as cursor, cursor.copy(statement) as rows:
        piece = bytearray()
        for row in rows:
            piece += row
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)


def write_part(part: Part, pieces: Iterable[bytes]) -> int:
    """Store the rows of a part in the default database; returns how many."""
    raw: Any = connection.connection
    names = ", ".join(part.columns)
    statement = f"COPY {part.into} ({names}) FROM STDIN (FORMAT binary)"
    with raw.cursor() as cursor:
        with cursor.copy(statement) as rows:
            for piece in pieces:
                rows.write(piece)
        return int(cursor.rowcount)


def copy_part(part: Part, home: BaseDatabaseWrapper) -> int:
    return write_part(part, read_part(part, home))
