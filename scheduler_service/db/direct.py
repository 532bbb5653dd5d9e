"""The connection whose session belongs to this thread alone, past any pooler.

For what a session holds beyond a transaction: locks that end with it, and migrations. A
pooler of DATABASE_URL may give one session to several clients if DATABASE_DIRECT_URL is set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from scheduler_service.db.server_statements import LOAD_DATABASE_IDENTITY

DIRECT_ALIAS = "direct"
OTHER_DATABASE_MESSAGE = (
    "DATABASE_DIRECT_URL names another database than DATABASE_URL: workers would hold "
    "their locks where nobody looks for them."
)


def direct() -> BaseDatabaseWrapper:
    """This thread's direct connection; without DATABASE_DIRECT_URL it is the usual one."""
    return connections[DIRECT_ALIAS if is_separate() else DEFAULT_DB_ALIAS]


def is_separate() -> bool:
    return DIRECT_ALIAS in connections.settings


def find_direct_problem() -> str:
    """Why the two URLs do not fit; empty if they do. Raises OperationalError."""
    if not is_separate():
        return ""
    try:
        usual, ours = (
            _load_identity(connections[DEFAULT_DB_ALIAS]),
            _load_identity(direct()),
        )
    except ProgrammingError:
        # A compatible server that does not tell.
        return ""
    return "" if usual == ours else OTHER_DATABASE_MESSAGE


def _load_identity(connection: BaseDatabaseWrapper) -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(LOAD_DATABASE_IDENTITY)
        identity: tuple[int, int] = cursor.fetchone()
    return identity


@contextmanager
def direct_as_default() -> Iterator[None]:
    """Let this thread do all its work on a direct connection.

    For migrations, many of which use the default connection without naming it.
    """
    if not is_separate():
        yield
        return
    usual = connections[DEFAULT_DB_ALIAS]
    ours = connections.create_connection(DIRECT_ALIAS)
    ours.alias = DEFAULT_DB_ALIAS
    connections[DEFAULT_DB_ALIAS] = ours
    try:
        yield
    finally:
        ours.close()
        connections[DEFAULT_DB_ALIAS] = usual
