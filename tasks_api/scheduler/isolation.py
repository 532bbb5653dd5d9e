"""Keep the failure of one task, or of one part of a tick, from stopping the others."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection, transaction

from scheduler_service.db.statements import prepared
from tasks_api.domain.exceptions import reason_of
from tasks_api.scheduler import dispatch
from tasks_api.services import admin_edits
from tasks_api.storage import schedule_changes, schedule_edits, schedule_rows

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Seconds until a failed part runs again: after the first failure, and at most.
FIRST_REST_SECONDS = 1.0
MAX_REST_SECONDS = 10.0


class DatabaseAway(Exception):
    """The database does not answer, so no part of the tick can work."""


def is_server_error(error: Exception) -> bool:
    """Return whether the state of the server caused the error, and no row did."""
    return isinstance(error, OperationalError | InterfaceError)


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
            is_ours = not is_server_error(error)
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


def dispatch_due(
    *, limit: int = dispatch.BATCH_SIZE, since: datetime | None = None
) -> dispatch.DispatchResult:
    """Dispatch as dispatch.dispatch_due() does, and pause only a task that fails."""
    try:
        return dispatch.dispatch_due(limit=limit, since=since)
    except Exception as error:
        if is_server_error(error):
            raise
        logger.warning("A batch fails, so its tasks are fired one by one: %s", error)
    run_ids: list[UUID] = []
    for task_id in dispatch.find_due(limit):
        run_ids += _isolate(task_id, partial(dispatch.dispatch_one, task_id), [])
    return dispatch.DispatchResult(run_ids, is_full=False)


def sync_admin_edits(ids: Sequence[UUID]) -> int:
    """Follow edits as admin_edits does, and pause only a task that fails."""
    try:
        return admin_edits.sync_admin_edits(ids)
    except Exception as error:
        if is_server_error(error):
            raise
        logger.warning("Edits are followed one by one: %s", error)
    return sum(
        _isolate(each, partial(admin_edits.sync_admin_edits, [each]), 1) for each in ids
    )


def _isolate(task_id: UUID, deed: Callable[[], T], otherwise: T) -> T:
    try:
        return deed()
    except Exception as error:
        if is_server_error(error):
            raise
        _pause_task(task_id, error)
        return otherwise


@transaction.atomic(durable=True)
def _pause_task(task_id: UUID, error: Exception) -> None:
    """Pause a task without reading its schedule, which may be unreadable."""
    reason = reason_of(error)
    logger.error("The task pauses: %s", reason, extra={"task_id": task_id})
    with prepared() as cursor:
        cursor.execute(
            "SELECT FROM tasks_api_task WHERE id = %s FOR NO KEY UPDATE", [task_id]
        )
        schedule_changes.record_change([task_id], schedule_changes.ChangeKind.BROKEN)
        cursor.execute(
            "UPDATE tasks_api_task SET next_fire_at = NULL, pause_reason = %s"
            " WHERE id = %s",
            [reason, task_id],
        )
    schedule_rows.set_enabled([task_id], False)
    with contextlib.suppress(DatabaseError), transaction.atomic():
        schedule_edits.copy_schedule_unread(task_id)
