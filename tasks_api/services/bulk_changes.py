"""Change chosen tasks of any wire format at once, and say which ones refused.

The tasks of a filter are changed by `bulk_pausing` and `bulk_editing`, over the same
functions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from accounts.models import User
from tasks_api.domain.exceptions import InvalidTask, TaskNotFound
from tasks_api.domain.specs import Surface
from tasks_api.models import Run, Task, TaskQuerySet
from tasks_api.services.auditing import record_for_tenants
from tasks_api.services.bell import ring_after_commit
from tasks_api.services.finding import lock_ids, read_tasks
from tasks_api.services.manual_runs import fire_tasks
from tasks_api.services.pausing import pause_locked, resume_chosen
from tasks_api.services.removal import end_removed

MAX_TASKS = 100


class Change(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    RUN = "run"
    REMOVE = "remove"


class Refusal(NamedTuple):
    """A task that was not changed, and why."""

    task: Task
    reason: str


class ChangeResult(NamedTuple):
    changed: list[Task]
    refused: list[Refusal]


@transaction.atomic
def change_tasks(
    user: User, ids: Collection[UUID], change: Change, *, now: datetime
) -> ChangeResult:
    """Change the tasks that the change applies to, in a constant number of statements.

    Raises TaskNotFound if the user never had one of them, and InvalidTask if they are
    more than MAX_TASKS.
    """
    if len(ids) > MAX_TASKS:
        raise InvalidTask("task", f"Choose at most {MAX_TASKS} tasks at once")
    own = Task.objects.visible_to(user).exclude(surface=Surface.NOTICES)
    wanted = own.filter(pk__in=ids)
    tasks = read_tasks(lock_ids(wanted.alive(now)))
    ended = _find_ended(wanted, set(ids) - {task.pk for task in tasks})
    result = _CHANGES[change](user, tasks, now)
    return ChangeResult(result.changed, ended + result.refused)


def _find_ended(wanted: TaskQuerySet, ids: Collection[UUID]) -> list[Refusal]:
    if not ids:
        return []
    ended = list(wanted.filter(pk__in=ids).order_by("pk"))
    if len(ended) < len(ids):
        raise TaskNotFound("Task not found")
    return [Refusal(task, "It has ended.") for task in ended]


def _pause(user: User, tasks: Sequence[Task], now: datetime) -> ChangeResult:
    result = _split(
        tasks,
        lambda task: task.periodic_task.enabled or task.suspended,
        "It was paused before.",
    )
    pause_locked(user, result.changed)
    return result


def _resume(user: User, tasks: Sequence[Task], now: datetime) -> ChangeResult:
    paused = _split(
        tasks, lambda task: not task.periodic_task.enabled, "It is not paused."
    )
    owned = _split(
        paused.changed, lambda task: task.owner.is_active, "Its owner is deactivated."
    )
    resume_chosen(user, owned.changed)
    return ChangeResult(owned.changed, paused.refused + owned.refused)


def _run(user: User, tasks: Sequence[Task], now: datetime) -> ChangeResult:
    made = fire_tasks(_ids(tasks), now=now)
    started = set(Run.objects.filter(pk__in=made).values_list("task", flat=True))
    ring_after_commit()
    reason = "Its run before is not over, and its runs may not overlap."
    return _split(tasks, lambda task: task.pk in started, reason)


def _remove(user: User, tasks: Sequence[Task], now: datetime) -> ChangeResult:
    end_removed(_ids(tasks))
    record_for_tenants("task.remove", tasks)
    return ChangeResult(list(tasks), [])


_CHANGES: Mapping[Change, Callable[[User, Sequence[Task], datetime], ChangeResult]] = {
    Change.PAUSE: _pause,
    Change.RESUME: _resume,
    Change.RUN: _run,
    Change.REMOVE: _remove,
}


def _split(
    tasks: Sequence[Task], applies: Callable[[Task], bool], reason: str
) -> ChangeResult:
    return ChangeResult(
        [task for task in tasks if applies(task)],
        [Refusal(task, reason) for task in tasks if not applies(task)],
    )


def _ids(tasks: Sequence[Task]) -> list[UUID]:
    return [task.pk for task in tasks]
