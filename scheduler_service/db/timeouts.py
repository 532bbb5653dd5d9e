"""No statement waits for PostgreSQL for ever, even if the server cannot say so itself.

The limits in settings.py are the server's: it ends a statement, a wait for a lock, or a
transaction left open. One that is frozen ends nothing, so that each of our connections
gives up by itself, too.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

logger = logging.getLogger(__name__)

# Seconds by which a server that still works is quicker to speak than we to give up.
SERVER_HEAD_START = 5.0
NO_ANSWER = "PostgreSQL did not answer for %g seconds."
LIMIT_SETTINGS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
)


def bound_waits(
    raw: Any, find_problem: Callable[[], str] = str, *, midway: bool = False
) -> None:
    """Let a connection fail when its server has gone silent, or there is an find_problem.

    That is a sentence, which is asked for before each statement, and `midway` while one
    is waited for.
    """
    limit = settings.DATABASE_STATEMENT_TIMEOUT
    patience = limit + SERVER_HEAD_START if limit else None
    # By a proxy, because a connection that held itself would not be closed at once.
    itself, wait = weakref.proxy(raw), type(raw).wait

    def wait_in_bounds(generator: Any, *args: Any, **kwargs: Any) -> Any:
        if reason := find_problem():
            itself.close()
            raise psycopg.OperationalError(reason)
        talk = _interrupted(generator, find_problem) if midway else generator
        try:
            return wait(itself, talk, *args, **{"timeout": patience, **kwargs})
        except psycopg.OperationalError as error:
            if itself.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            # What comes now would answer a question that nobody asks any more.
            itself.close()
            if reason := find_problem():
                raise psycopg.OperationalError(reason) from error
            # Said here, because what fails next may be all that is told of.
            logger.warning(NO_ANSWER, patience)
            raise psycopg.OperationalError(NO_ANSWER % patience) from error

    raw.wait = wait_in_bounds


def _interrupted(
    generator: Any, find_problem: Callable[[], str]
) -> Generator[Any, Any, Any]:
    """The same talk with the server, ended as soon as there is an find_problem."""
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            if reason := find_problem():
                raise psycopg.OperationalError(reason)
            wanted = generator.send(ready)
    except StopIteration as end:
        return end.value


@contextmanager
def without_limits(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let a migration take as long as it needs."""
    connection.ensure_connection()
    raw: Any = connection.connection
    bounded = raw.__dict__.pop("wait", None)
    _execute(connection, "SET {} = 0")
    try:
        yield
    finally:
        if connection.connection is raw and connection.is_usable():
            _execute(connection, "RESET {}")
            if bounded is not None:
                raw.wait = bounded


def _execute(connection: BaseDatabaseWrapper, statement: str) -> None:
    with connection.cursor() as cursor:
        for limit in LIMIT_SETTINGS:
            cursor.execute(statement.format(limit))
