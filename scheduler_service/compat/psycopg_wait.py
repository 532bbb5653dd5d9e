"""Limit how long a psycopg connection waits for an answer.

Changes `Connection.wait` of single connections, of psycopg 3.2 and 3.3. psycopg waits for
an answer without a timeout and has no option for one, so a server that is frozen would
block its caller for ever. Needed until psycopg can bound the time of a statement.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

logger = logging.getLogger(__name__)

NO_ANSWER = "PostgreSQL did not answer for %g seconds."


def set_wait_timeout(raw: Any, seconds: float) -> None:
    """Let a connection wait no longer than this for an answer."""
    itself, wait = weakref.proxy(raw), type(raw).wait
    raw.wait = lambda generator, *args, **kwargs: wait(
        itself, generator, *args, **{**kwargs, "timeout": seconds}
    )


def guard_waits(
    raw: Any,
    *,
    seconds: float | None,
    find_problem: Callable[[], str],
    during_waits: bool,
) -> None:
    """Close a connection whose server does not answer in time, or that has a problem.

    `find_problem` returns a sentence, or nothing. It is called before each wait, and with
    `during_waits` also whenever the socket is ready. Raises psycopg.OperationalError.
    """
    # A proxy, because a connection that referred to itself would not be closed at once.
    itself, wait = weakref.proxy(raw), type(raw).wait

    def guarded_wait(generator: Any, *args: Any, **kwargs: Any) -> Any:
        _raise_problem(itself, find_problem)
        steps = _interrupted(generator, find_problem) if during_waits else generator
        try:
            return wait(itself, steps, *args, **{"timeout": seconds, **kwargs})
        except psycopg.OperationalError as error:
            if itself.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            raise _close(itself, find_problem, seconds) from error

    raw.wait = guarded_wait


def _raise_problem(raw: Any, find_problem: Callable[[], str]) -> None:
    if problem := find_problem():
        raw.close()
        raise psycopg.OperationalError(problem)


def _close(
    raw: Any, find_problem: Callable[[], str], seconds: float | None
) -> psycopg.OperationalError:
    # An answer that comes later would be taken for that of the next statement.
    raw.close()
    if problem := find_problem():
        return psycopg.OperationalError(problem)
    # Logged here, because the caller may report only the error that follows from it.
    logger.warning(NO_ANSWER, seconds)
    return psycopg.OperationalError(NO_ANSWER % seconds)


def _interrupted(
    generator: Any, find_problem: Callable[[], str]
) -> Generator[Any, Any, Any]:
    """The same steps, which end as soon as there is a problem."""
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            if problem := find_problem():
                raise psycopg.OperationalError(problem)
            wanted = generator.send(ready)
    except StopIteration as end:
        return end.value


@contextmanager
def unguarded(raw: Any) -> Iterator[None]:
    """Let a connection wait without end meanwhile."""
    guarded = raw.__dict__.pop("wait", None)
    try:
        yield
    finally:
        if guarded is not None and not raw.closed:
            raw.wait = guarded
