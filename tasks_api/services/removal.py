"""End tasks: when a user removes them, at their end, or when their targets are gone."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime

from django.db import transaction

from accounts import audit, encryption
from accounts.models import User
from tasks_api.domain.specs import Surface
from tasks_api.models import Task, TaskQuerySet
from tasks_api.services import notifications
from tasks_api.services.auditing import record_for_tenants
from tasks_api.services.finding import lock_rows, lock_task
from tasks_api.services.unstarted_runs import cancel_unstarted
from tasks_api.storage import schedule_changes, schedule_rows, task_counts


@transaction.atomic
def remove_task(
    owner: User, task_id: str, *, now: datetime, surface: Surface | None = None
) -> None:
    """Remove a task that the user reaches."""
    remove_locked(lock_task(owner, task_id, now=now, surface=surface))


def remove_locked(task: Task) -> None:
    """Remove a task that the caller has locked."""
    end_removed([task.pk])
    audit.record(task.tenant_id, "task.remove", [task.pk])


@transaction.atomic
def remove_tasks(tasks: TaskQuerySet, *, now: datetime) -> int:
    """Remove the living ones of these tasks; return how many there were."""
    gone = list(lock_rows(tasks.alive(now)))
    end_removed([task.pk for task in gone])
    record_for_tenants("task.remove", gone)
    return len(gone)


def end_removed(ids: Collection[uuid.UUID]) -> None:
    """Remove tasks that the caller has locked; it must write the audit entry, too."""
    if not ids:
        return
    at = schedule_changes.record_change(ids, schedule_changes.ChangeKind.REMOVED)
    schedule_rows.end_tasks(ids, now=at, reason="removed")
    cancel_unstarted(ids, reason="The task was removed.")


def end_expired(tasks: TaskQuerySet, *, now: datetime) -> None:
    """End the tasks that are past their end, which frees their names."""
    past = tasks.filter(ended_at=None, ends_at__lt=now).order_by("pk")
    locked = past.select_for_update(no_key=True)
    if ids := list(locked.values_list("pk", flat=True)):
        task_counts.end_expired_tasks(
            ids,
            now=schedule_changes.record_change(ids, schedule_changes.ChangeKind.OVER),
        )


@transaction.atomic
def end_gone_tasks(gone: Mapping[uuid.UUID, str], *, now: datetime) -> None:
    """End the tasks whose targets answered 410 (gone).

    A task that has another URL by now does not end. A run under way finishes.
    """
    alive = Task.objects.filter(pk__in=gone, ended_at=None).select_related("owner")
    ended = [
        task
        for task in lock_rows(alive)
        if encryption.is_same_url(task.url, gone[task.pk])
    ]
    if not ended:
        return
    ids = [task.pk for task in ended]
    at = schedule_changes.record_change(ids, schedule_changes.ChangeKind.OVER)
    schedule_rows.end_tasks(ids, now=at, reason="gone (HTTP 410)")
    reason = "The target of the task is gone (HTTP 410)."
    cancel_unstarted(ids, reason=reason)
    notices = [
        notifications.Notice("task.ended", task, reason, "HTTP 410") for task in ended
    ]
    with audit.acting_as(audit.SERVICE):
        record_for_tenants("task.end", ended)
        notifications.notify_tenants(notices, now=at)
