"""Statements of the hot path, which the database plans once for each connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper

# A plan for any number of rows is made for a hundred.
MANY = 1000


@contextmanager
def prepared(*, rows: int = 1) -> Iterator[CursorWrapper]:
    """Like connection.cursor(), for statements that are said again and again.

    Django's own cursor writes the parameters into the text, so that each statement is
    parsed and planned anew, which for short ones is most of their cost. Here the text
    stays the same and is prepared at its second use (`prepare_threshold`). A parameter
    must be castable from text, and a LIMIT should stand in the text: planned for any
    number, it is planned for a tenth of the table. A statement about more than MANY rows
    is planned for them, each time.
    """
    if rows > MANY:
        with connection.cursor() as plain:
            # Those of foreign keys, too: made when a table had one page, they read all of
            # it for each row.
            plain.execute("DISCARD PLANS")
            yield plain
        return
    # As Django's cursors do: after a restart of the server, no request must fail for it.
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor = ServerBindingCursor(connection.connection)  # type: ignore[call-arg]  # the stubs know no psycopg 3
    with connection._prepare_cursor(cursor) as wrapped:  # type: ignore[attr-defined]  # what connection.cursor() does with its own
        yield wrapped
