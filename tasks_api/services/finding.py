"""Find tasks by the ids that a client sent, and lock those that the user may change."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from datetime import datetime

from accounts.models import User
from tasks_api.domain.exceptions import TaskAccessDenied, TaskNotFound
from tasks_api.domain.specs import Surface
from tasks_api.models import Task, TaskQuerySet


def parse_id(task_id: str) -> uuid.UUID:
    """Parse an id that a client sent. Raises TaskNotFound if the text is no id."""
    try:
        return uuid.UUID(task_id)
    except ValueError:
        raise TaskNotFound("Task not found") from None


def find_living(user: User, task_id: uuid.UUID, *, now: datetime) -> Task:
    """Return a living task that the user reaches, with its schedule, without a lock.

    Raises TaskNotFound.
    """
    own = Task.objects.visible_to(user).exclude(surface=Surface.NOTICES)
    task = own.alive(now).with_schedule().filter(pk=task_id).first()
    if task is None:
        raise TaskNotFound("Task not found")
    return task


def lock_task(
    user: User, task_id: str, *, now: datetime, surface: Surface | None = None
) -> Task:
    """Lock a task that the user reaches, with its schedule, for the transaction."""
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
    """Lock tasks that the user reaches, all of them or none.

    Raises TaskNotFound, or TaskAccessDenied if another user owns one of them.
    """
    wanted = {parse_id(task_id) for task_id in ids}
    found = Task.objects.alive(now).filter(pk__in=wanted)
    if surface is not None:
        found = found.filter(surface=surface)
    # Count the tasks of other users without a lock, so that this user cannot delay
    # them.
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
    """Lock tasks in the order that all code uses, so that no two callers deadlock."""
    return tasks.order_by("pk").select_for_update(no_key=True, of=("self",))


def lock_ids(tasks: TaskQuerySet) -> list[uuid.UUID]:
    """Lock tasks, and return their ids.

    The caller reads the rows afterwards: a statement that waits for a lock reads the
    rows of joined tables as they were before.
    """
    return list(lock_rows(tasks).values_list("pk", flat=True))


def read_tasks(ids: Collection[uuid.UUID]) -> list[Task]:
    """Return tasks with their schedules and owners, the oldest first."""
    rows = Task.objects.filter(pk__in=ids).with_schedule().select_related("owner")
    return list(rows.order_by("pk")) if ids else []
