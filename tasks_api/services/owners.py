"""Suspend and restore the tasks of users, and transfer tasks to other users."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q

from accounts import audit
from accounts.models import User
from accounts.services import AccountError, name_in_audit
from scheduler_service.db.arrays import array
from tasks_api.domain.specs import Surface
from tasks_api.models import Task
from tasks_api.services import auditing, pausing, rollups
from tasks_api.services.finding import lock_rows
from tasks_api.services.statements import SUSPEND_TASKS, TRANSFER_TASKS
from tasks_api.storage import schedule_changes

# The most tasks in one transaction of a transfer.
TRANSFER_BATCH_SIZE = 1000


def follow_activity(user: User) -> None:
    """Suspend or restore the tasks of a user who was deactivated or activated.

    The accounts call this function, which `ACCOUNTS_ACTIVITY_HANDLER` names, in their
    own transaction.
    """
    if user.is_active:
        restore_tasks([user.pk])
    else:
        suspend_tasks([user.pk])


@transaction.atomic
def suspend_tasks(owner_ids: Collection[int]) -> int:
    """Pause all tasks of deactivated users; return how many there were.

    Paused tasks and notices, which belong to the tenant, do not change. Uses a constant
    number of statements.
    """
    enabled = Task.objects.filter(
        owner__in=owner_ids,
        owner__is_active=False,
        ended_at=None,
        periodic_task__enabled=True,
    )
    wanted = lock_rows(enabled.exclude(surface=Surface.NOTICES))
    # Do not read the bodies, because there may be very many tasks.
    narrow = wanted.select_related("periodic_task").only(
        "tenant", "periodic_task__one_off"
    )
    tasks = list(narrow)
    if tasks:
        ids = [task.pk for task in tasks]
        schedule_changes.record_change(ids, schedule_changes.ChangeKind.PAUSED)
        pausing.stop_locked(tasks)
        with connection.cursor() as cursor:
            cursor.execute(SUSPEND_TASKS, [pausing.SUSPENDED_REASON, array(ids)])
        auditing.record_for_tenants("task.pause", tasks)
    return len(tasks)


@transaction.atomic
def restore_tasks(owner_ids: Collection[int]) -> int:
    """Resume the tasks that were suspended with their users; return how many."""
    waiting = Task.objects.filter(owner__in=owner_ids, suspended=True, ended_at=None)
    tasks = list(lock_rows(waiting).with_schedule().defer("body", "request", "retry"))
    pausing.resume_locked(tasks)
    auditing.record_for_tenants("task.resume", tasks)
    return len(tasks)


def transfer_tasks(
    source: User, target: User, *, batch_size: int = TRANSFER_BATCH_SIZE
) -> int:
    """Give all tasks of a user, living and ended, to another user of the tenant.

    Suspended tasks are resumed. Each batch has its own transaction, so a caller may
    repeat an interrupted transfer. Returns how many tasks there were.
    """
    if source.pk == target.pk:
        raise AccountError(f"{source} has them already.")
    if source.tenant_id is None or source.tenant_id != target.tenant_id:
        raise AccountError("Tasks are handed over within a tenant.")
    if not target.is_active:
        raise AccountError(f"{target} is deactivated, so the tasks would not fire.")
    count = sum(len(ids) for ids in _transfer_batches(source, target, batch_size))
    rollups.move_to_owner(source, target)
    return count


def _transfer_batches(
    source: User, target: User, batch_size: int
) -> Iterator[list[UUID]]:
    while ids := _transfer_batch(source, target, batch_size):
        yield ids


@transaction.atomic
def _transfer_batch(source: User, target: User, batch_size: int) -> list[UUID]:
    # The new owner must exist and be active when this commits.
    User.objects.select_for_update(no_key=True).get(Q(is_active=True), pk=target.pk)
    tasks = list(
        lock_rows(Task.objects.filter(owner=source)).with_schedule()[:batch_size]
    )
    if not tasks:
        return []
    ids = [task.pk for task in tasks]
    with connection.cursor() as cursor:
        cursor.execute(
            TRANSFER_TASKS,
            {
                "tasks": array(ids),
                "target": target.pk,
                "was": f" for {source}",
                "is": f" for {target}",
            },
        )
    pausing.resume_locked([task for task in tasks if task.suspended])
    names = {"user": (name_in_audit(source), name_in_audit(target))}
    audit.record(source.tenant_id, "task.transfer", ids, names)
    return ids
