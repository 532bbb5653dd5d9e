"""Check the settings and the database before a process begins."""

from __future__ import annotations

import logging
from itertools import chain

from django.core.checks import ERROR
from django.db import OperationalError, connection, connections

from scheduler_service.db.direct import find_direct_problem
from scheduler_service.db.poolers import SharedSessions
from scheduler_service.startup.checks import CHECKS

logger = logging.getLogger(__name__)


def check_or_exit() -> None:
    """Exit with a sentence if a setting is wrong, or the database cannot be used.

    Raises SystemExit. A database that does not answer is no error: the caller waits for it.
    """
    for message in chain.from_iterable(check() for check in CHECKS):
        if message.level >= ERROR:
            raise SystemExit(message.msg)
        logger.warning("%s", message.msg)
    if problem := _find_database_problem():
        raise SystemExit(problem)


def _find_database_problem() -> str:
    """What only an operator can change about the database; empty if there is nothing."""
    try:
        connection.ensure_connection()
        return find_direct_problem()
    except OperationalError as error:
        if isinstance(error.__cause__, SharedSessions):
            return str(error)
        logger.warning("The database does not answer: %s", error)
        return ""
    finally:
        # A forked process must not inherit a connection.
        connections.close_all()
