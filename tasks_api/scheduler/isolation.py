"""Keep the failure of one task, or of one part of a tick, from stopping the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import connection

from tasks_api.services import admin_edits
from tasks_api.taking.isolation import is_foreign_error, isolate

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Seconds until a failed part runs again: after the first failure, and at most.
FIRST_REST_SECONDS = 1.0
MAX_REST_SECONDS = 10.0


class DatabaseAway(Exception):
    """The database does not answer, so no part of the tick can work."""


@dataclass
class PartFailure:
    text: str
    pause: float
    again_at: float


class TickParts:
    """Runs the parts of a tick. A part that fails is logged once and rests."""

    def __init__(self) -> None:
        self._troubles: dict[str, PartFailure] = {}

    def run(self, name: str, part: Callable[[], T], otherwise: T) -> T:
        """Return the result of a part, or `otherwise` if the part fails or still rests.

        Raises DatabaseAway if the connection is lost.
        """
        trouble = self._troubles.get(name)
        if trouble is not None and time.monotonic() < trouble.again_at:
            return otherwise
        try:
            result = part()
        except Exception as error:
            if isinstance(error, DatabaseError) and _is_disconnected():
                raise DatabaseAway(str(error)) from error
            self._failed(name, error)
            return otherwise
        if self._troubles.pop(name, None):
            logger.info("%s: it works again.", name)
        return result

    def _failed(self, name: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        before = self._troubles.get(name)
        if before is None or before.text != text:
            # The server may recover soon; any other error is a bug.
            is_ours = not is_foreign_error(error)
            logger.log(
                logging.ERROR if is_ours else logging.WARNING,
                "%s: it fails, and the rest goes on. %s",
                name,
                text,
                exc_info=error if is_ours else None,
            )
        pause = (
            FIRST_REST_SECONDS
            if before is None
            else min(2 * before.pause, MAX_REST_SECONDS)
        )
        self._troubles[name] = PartFailure(text, pause, time.monotonic() + pause)


def _is_disconnected() -> bool:
    session = connection.connection
    return session is None or bool(session.closed)


def sync_admin_edits(ids: Sequence[UUID]) -> int:
    """Follow edits as admin_edits does, and pause only a task that fails."""
    try:
        return admin_edits.sync_admin_edits(ids)
    except Exception as error:
        if is_foreign_error(error):
            raise
        logger.warning("Edits are followed one by one: %s", error)
    return sum(
        isolate(each, partial(admin_edits.sync_admin_edits, [each]), 1) for each in ids
    )
