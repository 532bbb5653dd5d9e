"""Limits on how long the service waits for PostgreSQL, also when the server is frozen.

The server enforces the limits in settings.py: it ends a statement, a wait for a lock, or
a transaction that is left open. A frozen server ends nothing, so each of our connections
gives up by itself, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from scheduler_service.compat import psycopg_wait

# Seconds that a server which still works has for its own, more precise error.
SERVER_HEAD_START = 5.0
LIMIT_SETTINGS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
)


def bound_waits(
    raw: Any, find_problem: Callable[[], str] = str, *, during_waits: bool = False
) -> None:
    """Let a connection fail when its server is silent, or `find_problem` finds one."""
    limit = settings.DATABASE_STATEMENT_TIMEOUT
    psycopg_wait.guard_waits(
        raw,
        seconds=limit + SERVER_HEAD_START if limit else None,
        find_problem=find_problem,
        during_waits=during_waits,
    )


@contextmanager
def without_limits(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let a migration take as long as it needs."""
    connection.ensure_connection()
    raw: Any = connection.connection
    with psycopg_wait.unguarded(raw):
        _execute(connection, "SET {} = 0")
        try:
            yield
        finally:
            if connection.connection is raw and connection.is_usable():
                _execute(connection, "RESET {}")


def _execute(connection: BaseDatabaseWrapper, statement: str) -> None:
    with connection.cursor() as cursor:
        for setting in LIMIT_SETTINGS:
            cursor.execute(statement.format(setting))
