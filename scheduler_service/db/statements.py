"""Statements of the hot path, which PostgreSQL plans once for each connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from django.db import InterfaceError, NotSupportedError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from scheduler_service.compat.django_cursors import (
    open_server_binding_cursor,
    skip_health_check,
)

# A plan for any number of rows is made for a hundred.
MANY = 1000
# What PostgreSQL says of a prepared statement after a migration.
CHANGED_RESULT = "cached plan must not change result type"


AnyRow = TypeVar("AnyRow", bound=NamedTuple)


@contextmanager
def prepared(
    *, rows: int = 1, on: BaseDatabaseWrapper | None = None
) -> Iterator[CursorWrapper]:
    """Like connection.cursor(), for statements that are said again and again.

    Django's own cursor writes the parameters into the text, so that each statement is
    parsed and planned anew, which for short ones is most of their cost. Here the text
    stays the same and is prepared at its second use (`prepare_threshold`). A parameter
    must be castable from text, and a LIMIT should stand in the text: planned for any
    number, it is planned for a tenth of the table. A statement about more than MANY rows
    is planned for them, each time.

    Nothing is prepared where a pooler shares sessions: `prepare_threshold` is None there.
    """
    if rows > MANY:
        with connection.cursor() as plain:
            # Those of foreign keys, too: made when a table had one page, they read all of
            # it for each row.
            plain.execute("DISCARD PLANS")
            yield plain
        return
    chosen = on or connection
    with (
        _renewed_after_migrations(chosen),
        open_server_binding_cursor(chosen) as cursor,
    ):
        yield cursor


@contextmanager
def _renewed_after_migrations(chosen: BaseDatabaseWrapper) -> Iterator[None]:
    """Close a session whose prepared statements a migration made useless.

    PostgreSQL refuses a prepared statement whose result has other types than before, for
    as long as the session lasts. Raises OperationalError instead, as after a lost session.
    In a transaction the error stays: psycopg prepares anew after the rollback.
    """
    try:
        yield
    except NotSupportedError as error:
        if CHANGED_RESULT not in str(error) or chosen.in_atomic_block:
            raise
        chosen.close()
        raise OperationalError(str(error)) from error


def first(statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The first row of a statement that only reads, and opens what a request does.

    It finds out by itself whether the connection still works, and is asked again on a
    fresh one where it does not. Django would ask for that alone, before each request.
    """
    skip_health_check(connection)
    try:
        return _first(statement, values)
    except (InterfaceError, OperationalError):
        if connection.in_atomic_block or connection.is_usable():
            raise
        connection.close()
    return _first(statement, values)


def _first(statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    with prepared() as cursor:
        cursor.execute(statement, values)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


@lru_cache(maxsize=100)
def with_limit(statement: str, limit: int) -> str:
    """The statement with its `{limit}` in the text, so that it is planned for that many."""
    return statement.replace("{limit}", f"{limit:d}")


def fetch_all(cursor: CursorWrapper, row: type[AnyRow]) -> list[AnyRow]:
    """The rows of the last statement. Its columns must be called as the fields are.

    Names are compared once, so that a row costs what a tuple does. Raises TypeError.
    """
    check_columns(cursor, row._fields)
    return [row._make(values) for values in cursor.fetchall()]


def check_columns(cursor: CursorWrapper, names: tuple[str, ...]) -> None:
    """Raises TypeError when the last statement's columns are not called so, in order."""
    found = tuple(column.name for column in cursor.description)
    if found != names:
        raise TypeError(f"A statement returned the columns {found} instead of {names}.")
