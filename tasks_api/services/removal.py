"""End tasks: when a user removes them, at their end, or when their targets are gone."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from django.db import transaction

from accounts import audit, encryption
from accounts.models import User
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import EndReason, RunState
from tasks_api.models import Run, Task, TaskQuerySet
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


def end_after_last_runs(ends: Mapping[uuid.UUID, datetime], *, now: datetime) -> None:
    """End tasks that have made as many runs as they may, each at its last fire time.

    Call it in the transaction that makes the runs; they are sent.
    """
    task_counts.end_finished_tasks(ends, reason=EndReason.MAX_RUNS)
    _tell_of_ends(_with_owners(ends), "It has made all its runs.", now=now)


def end_succeeded_tasks(run_ids: Collection[uuid.UUID]) -> None:
    """End tasks of which these runs succeeded, unless they are manual runs.

    The caller has locked the tasks, and calls this in the transaction that records the
    runs. Requests under way finish; runs that wait are cancelled, but for manual ones.
    """
    of_schedules = Run.objects.filter(
        pk__in=run_ids, by_hand=False, state=RunState.SUCCEEDED, task__ended_at=None
    )
    ids = set(of_schedules.values_list("task", flat=True))
    if not ids:
        return
    at = schedule_changes.record_change(ids, schedule_changes.ChangeKind.OVER)
    task_counts.end_finished_tasks(dict.fromkeys(ids, at), reason=EndReason.SUCCEEDED)
    reason = "A run of the task has succeeded."
    cancel_unstarted(ids, reason=reason, spares_by_hand=True)
    _tell_of_ends(_with_owners(ids), reason, now=at)


def _with_owners(ids: Iterable[uuid.UUID]) -> list[Task]:
    return list(Task.objects.filter(pk__in=ids).select_related("owner"))


def _tell_of_ends(
    ended: Sequence[Task], reason: str, *, now: datetime, last_error: str = ""
) -> None:
    """Write the audit entries and the notices of tasks that the service ended."""
    notices = [
        notifications.Notice("task.ended", task, reason, last_error) for task in ended
    ]
    with audit.acting_as(audit.SERVICE):
        record_for_tenants("task.end", ended)
        notifications.notify_tenants(notices, now=now)


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
    schedule_rows.end_tasks(ids, now=at, reason=EndReason.GONE)
    reason = "The target of the task is gone (HTTP 410)."
    cancel_unstarted(ids, reason=reason)
    _tell_of_ends(ended, reason, now=at, last_error="HTTP 410")
