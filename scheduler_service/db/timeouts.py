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
HEAD_START = 5.0
SILENCE = "PostgreSQL did not answer for %g seconds."
LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def give_up_in_time(
    raw: Any, objection: Callable[[], str] = str, *, midway: bool = False
) -> None:
    """Let a connection fail when its server has gone silent, or there is an objection.

    That is a sentence, which is asked for before each statement, and `midway` while one
    is waited for.
    """
    limit = settings.DATABASE_STATEMENT_TIMEOUT
    patience = limit + HEAD_START if limit else None
    # By a proxy, because a connection that held itself would not be closed at once.
    itself, wait = weakref.proxy(raw), type(raw).wait

    def wait_in_bounds(generator: Any, *args: Any, **kwargs: Any) -> Any:
        if reason := objection():
            itself.close()
            raise psycopg.OperationalError(reason)
        talk = _interrupted(generator, objection) if midway else generator
        try:
            return wait(itself, talk, *args, **{"timeout": patience, **kwargs})
        except psycopg.OperationalError as error:
            if itself.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            # What comes now would answer a question that nobody asks any more.
            itself.close()
            if reason := objection():
                raise psycopg.OperationalError(reason) from error
            # Said here, because what fails next may be all that is told of.
            logger.warning(SILENCE, patience)
            raise psycopg.OperationalError(SILENCE % patience) from error

    raw.wait = wait_in_bounds


def _interrupted(
    generator: Any, objection: Callable[[], str]
) -> Generator[Any, Any, Any]:
    """The same talk with the server, ended as soon as there is an objection."""
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            if reason := objection():
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
        for limit in LIMITS:
            cursor.execute(statement.format(limit))
