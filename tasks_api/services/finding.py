"""Find the tasks that a client names by id, and lock those that its user may change."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime

from accounts.models import User
from tasks_api.domain.exceptions import TaskAccessDenied, TaskNotFound
from tasks_api.domain.specs import Surface
from tasks_api.models import Task, TaskQuerySet


def parse_id(task_id: str) -> uuid.UUID:
    """The id that a client wrote; text that cannot be one is the id of no task."""
    try:
        return uuid.UUID(task_id)
    except ValueError:
        raise TaskNotFound("Task not found") from None


def lock_task(
    user: User, task_id: str, *, now: datetime, surface: Surface | None = None
) -> Task:
    """Lock a task that the user reaches, with its schedule, until the transaction ends."""
    [task] = lock_tasks(user, [task_id], now=now, surface=surface, schedules=True)
    return task


def lock_tasks(
    user: User,
    ids: Iterable[str],
    *,
    now: datetime,
    surface: Surface | None,
    schedules: bool = False,
) -> list[Task]:
    """Lock tasks that the user reaches: all of them, or none when one cannot be had.

    Raises TaskNotFound, and TaskAccessDenied where another user has one of them.
    """
    wanted = {parse_id(task_id) for task_id in ids}
    found = Task.objects.alive(now).filter(pk__in=wanted)
    if surface is not None:
        found = found.filter(surface=surface)
    # The tasks of other users are counted and never locked, so this caller cannot hold
    # them up.
    rows = found.visible_to(user).select_related("periodic_task")
    if schedules:
        rows = rows.with_schedule()
    tasks = list(lock_rows(rows))
    if len(tasks) == len(wanted):
        return tasks
    if found.count() < len(wanted):
        raise TaskNotFound("Task not found")
    raise TaskAccessDenied("Task does not belong to this user")


def lock_rows(tasks: TaskQuerySet) -> TaskQuerySet:
    """The tasks in the one order in which everybody locks them, so nobody deadlocks."""
    return tasks.order_by("pk").select_for_update(no_key=True, of=("self",))
