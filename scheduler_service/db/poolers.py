"""Is there a pooler in front of PostgreSQL that gives one session to several clients?

It would break what we keep in a session: the lock by which a worker is present, prepared
statements, and limits.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any

import psycopg

from scheduler_service.db.primaries import Unfit, ask, impatient

logger = logging.getLogger(__name__)

# Seconds that a pooler without a free session may take while we try what it does.
TRIAL = 3.0
WHO = "SELECT pg_backend_pid()"
REFUSAL = (
    "A pooler stands in front of PostgreSQL that gives one session to several clients, "
    "as PgBouncer does with pool_mode = transaction or statement. This service keeps "
    "locks, prepared statements and limits in its sessions: set pool_mode = session."
)


class Pooled(Unfit):
    """Only an operator can change it, so no start need wait for better times."""


def refuse_sharing(raw: Any, params: dict[str, Any]) -> None:
    """Find out by two clients whether each keeps a session to itself; else raise Pooled."""
    try:
        shares = _shares(raw, params)
    except psycopg.OperationalError as error:
        if "statement pooling" not in str(error):
            # As when all its sessions are taken.
            logger.info("Whether the pooler shares sessions is unknown: %s", error)
            return
        raise Pooled(REFUSAL) from error
    if shares:
        raise Pooled(REFUSAL)


def _shares(raw: Any, params: dict[str, Any]) -> bool:
    ours = ask(raw, WHO)
    plain = {
        name: params[name] for name in params.keys() - {"cursor_factory", "context"}
    }
    with closing(psycopg.connect(**plain)) as other:
        impatient(other, TRIAL)
        # In a transaction that stays open, so that its session cannot be ours meanwhile.
        theirs = other.execute(WHO, prepare=False).fetchone()
        return theirs == ours or ask(raw, WHO) != ours
