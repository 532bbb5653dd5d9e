"""Cursors of Django's connection whose parameters PostgreSQL binds, and quick timestamps.

Uses what Django 5.2 keeps to itself: `_prepare_cursor` and `health_check_done`. Django
offers server-side binding only for all cursors of a connection at once, and checks the
health of a connection with a statement of its own. Needed until Django has options.

Django reads each timestamp in Python, by a regular expression, to give it the time zone
of the connection. psycopg does so in C, by the time zone of the session, which is the
same: Django sets it. Needed until Django uses psycopg's loader where the two agree.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper
from psycopg import adapters
from psycopg.pq import Format

_TIMESTAMPTZ = adapters.types["timestamptz"].oid
_LOADER = adapters.get_loader(_TIMESTAMPTZ, Format.TEXT)


def open_server_binding_cursor(connection: Any) -> CursorWrapper:
    """Like connection.cursor(), with parameters apart from the text of the statement."""
    # As Django's cursors do: no request fails because the server was restarted.
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor = ServerBindingCursor(connection.connection)  # type: ignore[call-arg]  # the stubs know no psycopg 3
        load_timestamps_quickly(cursor)
    wrapped: CursorWrapper = connection._prepare_cursor(cursor)
    return wrapped


def load_timestamps_quickly(cursor: Any) -> None:
    """Let a new cursor read timestamps as psycopg does."""
    if _LOADER is not None:
        cursor.adapters.register_loader(_TIMESTAMPTZ, _LOADER)


def skip_health_check(connection: Any) -> None:
    """Let Django send no statement of its own before the next one."""
    connection.health_check_done = True
