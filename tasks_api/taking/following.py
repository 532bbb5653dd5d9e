"""Compute the following fire times of crons and the like, after their requests left.

With the fire time after the next one beside it, a crowd of crons is taken by a statement,
as intervals are, and no request waits for a calendar.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.domain import schedules
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.storage import stored_schedules
from tasks_api.storage.stored_schedules import StoredSchedule, fetch_with_schedule
from tasks_api.taking import task_statements

logger = logging.getLogger(__name__)

# Fire times that are written at once: each is used up by a fire, and costs 8 bytes.
STEPS = 8
# Seconds of computing in one call. Python decides the tasks that are left.
MAX_COMPUTE_SECONDS = 0.25


class UnplannedTask(NamedTuple):
    task_id: UUID
    next_fire_at: datetime
    version: int
    stored: StoredSchedule


def plan(task_ids: Collection[UUID]) -> int:
    """Compute and write the following fire times of tasks; returns how many have them.

    A task that changed meanwhile, that has none, or whose schedule takes too long or
    cannot be computed, is left as it is: Python decides it when it is due.
    """
    if not task_ids:
        return 0
    with prepared(rows=len(task_ids)) as cursor:
        cursor.execute(task_statements.READ_UNPLANNED_TASKS, {"tasks": array(task_ids)})
        tasks = fetch_with_schedule(cursor, UnplannedTask)
    until = time.thread_time() + MAX_COMPUTE_SECONDS
    rows = []
    for task in tasks:
        if time.thread_time() > until:
            break
        if following := _follow(task):
            literal = "{" + ",".join(at.isoformat() for at in following) + "}"
            rows.append((task.task_id, task.next_fire_at, task.version, literal))
    if not rows:
        return 0
    with prepared(rows=len(rows)) as cursor:
        rules = settings.TIME_ZONE_RULES.version
        cursor.execute(task_statements.WRITE_FOLLOWING, [rules, *columns(rows)])
        return int(cursor.rowcount)


def has_following(stored: StoredSchedule) -> bool:
    """Whether a schedule is recurring, and none that a statement follows by itself."""
    return (
        stored.once_at is None
        and not stored.is_one_off
        and (
            stored.interval_period != "seconds"
            or bool(stored.rules or stored.calendars)
        )
    )


def _follow(task: UnplannedTask) -> tuple[datetime, ...]:
    stored = task.stored
    if not has_following(stored):
        return ()
    # Schedules are alike, whenever their tasks were created.
    if stored.interval_every is None or stored.rules:
        stored = stored._replace(created_at=stored_schedules.EPOCH)
    try:
        return _compute(stored, task.next_fire_at)
    except Exception as error:  # noqa: BLE001 (Python decides the task, and pauses it alone)
        if not isinstance(error, ScheduleError):
            logger.warning("A schedule cannot be followed: %s", type(error).__name__)
        return ()


@lru_cache(maxsize=10_000)
def _compute(stored: StoredSchedule, after: datetime) -> tuple[datetime, ...]:
    """The fire times after one of them. Many tasks share a schedule."""
    schedule = stored_schedules.to_schedule(stored)
    found: list[datetime] = []
    at: datetime | None = schedules.first_after(schedule, after)
    while at is not None and len(found) < STEPS:
        found.append(at)
        at = schedules.first_after(schedule, at)
    return tuple(found)
