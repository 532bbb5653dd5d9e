"""Cursors of Django's connection whose parameters PostgreSQL binds, and quick timestamps.

Uses what Django 5.2 and psycopg 3 keep to themselves: `_prepare_cursor`,
`health_check_done`, `_reset` and `_tx`. Django offers server-side binding only for all cursors of
a connection at once, and checks the health of a connection with a statement of its own.
Needed until Django has options.

Django reads each timestamp in Python, by a regular expression, to give it the time zone
of the connection. psycopg does so in C, by the time zone of the session, which is the
same: Django sets it. Needed until Django uses psycopg's loader where the two agree.

A cursor is kept for its statement: psycopg finds out anew for each new cursor how to read
the rows, which takes as long as a short statement. Needed until psycopg keeps that with
what it prepares.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper
from psycopg import adapters
from psycopg.pq import Format

_TIMESTAMPTZ = adapters.types["timestamptz"].oid
# More statements than a process executes again and again.
MAX_IDLE_CURSORS = 100
_LOADER = adapters.get_loader(_TIMESTAMPTZ, Format.TEXT)


class PreparedCursor:
    """Executes each statement with the cursor that executed it before.

    A cursor that stays with its statement knows how to read the rows. While it is in use,
    the same statement gets another one.
    """

    def __init__(self, raw: Any, idle: dict[str, Any]) -> None:
        self._raw = raw
        self._idle = idle
        self._cursor: Any = None
        self._statement = ""

    def execute(self, statement: str, values: Any = None) -> None:
        self.close()
        self._cursor = self._idle.pop(statement, None) or self._make_cursor()
        self._statement = statement
        self._cursor.execute(statement, values)

    def close(self) -> None:
        """Drop the result, and keep the cursor for the next use of its statement."""
        if self._cursor is None:
            return
        self._cursor._reset()
        self._cursor._tx.set_pgresult(None)
        if len(self._idle) < MAX_IDLE_CURSORS:
            self._idle[self._statement] = self._cursor
        self._cursor = None

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchall(self) -> Any:
        return self._cursor.fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def _make_cursor(self) -> Any:
        cursor = ServerBindingCursor(self._raw)  # type: ignore[call-arg]  # the stubs know no psycopg 3
        load_timestamps_quickly(cursor)
        return cursor


# The idle cursors of each connection by their statements. A connection has one thread.
_idle_cursors: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def open_server_binding_cursor(connection: Any) -> CursorWrapper:
    """Like connection.cursor(), with parameters apart from the text of the statement."""
    # As Django's cursors do: no request fails because the server was restarted.
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    raw = connection.connection
    if (idle := _idle_cursors.get(raw)) is None:
        idle = _idle_cursors[raw] = {}
    wrapped: CursorWrapper = connection._prepare_cursor(PreparedCursor(raw, idle))
    return wrapped


def load_timestamps_quickly(cursor: Any) -> None:
    """Let a new cursor read timestamps as psycopg does."""
    if _LOADER is not None:
        cursor.adapters.register_loader(_TIMESTAMPTZ, _LOADER)


def skip_health_check(connection: Any) -> None:
    """Let Django send no statement of its own before the next one."""
    connection.health_check_done = True
