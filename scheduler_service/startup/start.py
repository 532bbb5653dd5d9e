"""Check the settings and the database before a process begins."""

from __future__ import annotations

import logging
from itertools import chain

from django.core.checks import ERROR
from django.db import OperationalError, connection

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
    try:
        connection.ensure_connection()
    except OperationalError as error:
        if isinstance(error.__cause__, SharedSessions):
            raise SystemExit(str(error)) from error
        logger.warning("The database does not answer: %s", error)
    finally:
        # A forked process must not inherit the connection.
        connection.close()
