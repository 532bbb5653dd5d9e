"""Keep a task that the statements cannot bear from stopping the others."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import transaction

from scheduler_service.db.statements import prepared
from tasks_api.delivery import faults
from tasks_api.domain.exceptions import reason_of
from tasks_api.storage import schedule_changes, schedule_edits, schedule_rows
from tasks_api.taking import due_tasks, leases
from tasks_api.taking.due_tasks import TakenTasks
from tasks_api.taking.room import Room
from tasks_api.taking.tenant_shares import TenantShare

T = TypeVar("T")

logger = logging.getLogger(__name__)

# What the trigger of tasks says that live in another cell.
IN_OTHER_CELL = "SC001"


def is_foreign_error(error: Exception) -> bool:
    """Return whether the database or this machine caused the error, and no row did."""
    return faults.is_outage(error) or faults.is_shortage(error)


def take_due(
    room: Room,
    lease: UUID,
    *,
    shares: Sequence[TenantShare] | None = None,
    since: datetime | None = None,
) -> TakenTasks:
    """Take as due_tasks.take_due() does, and pause only a task that fails."""
    take = partial(due_tasks.take_due, room, lease, shares=shares, since=since)
    return _take_one_by_one_if_needed(take, room, lease)


def take_and_look(
    room: Room, lease: UUID, *, shares: Sequence[TenantShare] | None
) -> TakenTasks:
    """Take as due_tasks.take_and_look() does, and pause only a task that fails."""
    assert shares is None, "Only the earliest tasks are taken so."
    take = partial(due_tasks.take_and_look, room, lease)
    return _take_one_by_one_if_needed(take, room, lease)


def _take_one_by_one_if_needed(
    take: Callable[[], TakenTasks], room: Room, lease: UUID
) -> TakenTasks:
    try:
        return take()
    except Exception as error:
        if is_foreign_error(error):
            raise
        logger.warning("A batch fails, so its tasks are taken one by one: %s", error)
        leases.undo_take(lease)
    # The runs that were given back wait now, and are to be taken at once.
    taken = TakenTasks(unfinished=1)
    for task_id in due_tasks.find_due(room.limit):
        left = room.after(taken.runs)
        take_one = partial(due_tasks.take_one, task_id, left, lease)
        taken += isolate(task_id, take_one, TakenTasks())
    return taken


def isolate(task_id: UUID, deed: Callable[[], T], otherwise: T) -> T:
    """Return what the deed returns; if it fails for its task, pause the task."""
    try:
        return deed()
    except Exception as error:
        if is_foreign_error(error):
            raise
        if getattr(error.__cause__, "sqlstate", "") != IN_OTHER_CELL:
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
