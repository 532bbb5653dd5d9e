"""Detect a pooler in front of PostgreSQL that shares one session among several clients.

It breaks what we keep in a session: the presence lock of a worker, and prepared
statements. With DATABASE_DIRECT_URL neither goes through the pooler of DATABASE_URL.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any

import psycopg
from django.conf import settings
from psycopg.rows import tuple_row

from scheduler_service.compat.psycopg_wait import set_wait_timeout
from scheduler_service.db.primaries import UnusableSession, fetch_row

logger = logging.getLogger(__name__)

# Seconds that a pooler without a free session may take during the check.
PROBE_TIMEOUT = 3.0
LOAD_BACKEND_PID = "SELECT pg_backend_pid()"
SHARED_SESSIONS_MESSAGE = (
    "A pooler stands in front of PostgreSQL that gives one session to several clients, "
    "as PgBouncer does with pool_mode = transaction or statement. This service keeps "
    "locks and prepared statements in its sessions: set pool_mode = session, or set "
    "pool_mode = transaction and DATABASE_DIRECT_URL to a URL without the pooler."
)
DIRECT_MESSAGE = (
    "DATABASE_DIRECT_URL leads to a pooler that gives one session to several clients. "
    "Workers hold locks in these sessions: name PostgreSQL itself."
)
SPLIT_TRANSACTIONS_MESSAGE = (
    "The pooler of DATABASE_URL gives the statements of one transaction to several "
    "sessions, as PgBouncer does with pool_mode = statement: set pool_mode = transaction."
)


class SharedSessions(UnusableSession):
    """The pooler shares sessions. Only an operator can change that, so no retry helps."""


def check_sessions_are_private(raw: Any, params: dict[str, Any]) -> None:
    """Raise SharedSessions unless each of two clients keeps its own session."""
    try:
        shares = _are_sessions_shared(raw, params)
    except psycopg.OperationalError as error:
        if "statement pooling" not in str(error):
            # For instance because all its sessions are taken.
            logger.info("Whether the pooler shares sessions is unknown: %s", error)
            return
        raise SharedSessions(_shared_sessions_message()) from error
    if shares:
        raise SharedSessions(_shared_sessions_message())


def _shared_sessions_message() -> str:
    # With that URL, only its own sessions have to be private.
    is_direct = settings.DATABASE_DIRECT_URL
    return DIRECT_MESSAGE if is_direct else SHARED_SESSIONS_MESSAGE


def check_transactions_are_whole(raw: Any) -> None:
    """Raise SharedSessions unless a transaction has one session from its first statement."""
    try:
        with raw.transaction():
            cursor = psycopg.Cursor(raw, row_factory=tuple_row)
            first, second = (
                cursor.execute(LOAD_BACKEND_PID, prepare=False).fetchone()
                for _ in range(2)
            )
    except psycopg.OperationalError as error:
        if "statement pooling" not in str(error):
            raise
        raise SharedSessions(SPLIT_TRANSACTIONS_MESSAGE) from error
    if first != second:
        raise SharedSessions(SPLIT_TRANSACTIONS_MESSAGE)


def _are_sessions_shared(raw: Any, params: dict[str, Any]) -> bool:
    ours = fetch_row(raw, LOAD_BACKEND_PID, tuple_row)
    plain = {
        name: params[name] for name in params.keys() - {"cursor_factory", "context"}
    }
    with closing(psycopg.connect(**plain)) as other:
        set_wait_timeout(other, PROBE_TIMEOUT)
        # In a transaction that stays open, so that its session cannot be ours meanwhile.
        theirs = other.execute(LOAD_BACKEND_PID, prepare=False).fetchone()
        return theirs == ours or fetch_row(raw, LOAD_BACKEND_PID, tuple_row) != ours
