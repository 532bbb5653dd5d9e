"""Erase a user or a tenant: tasks with their history, messages, idempotency keys.

Erasure works in batches, each in its own transaction, and deletes the row of the user
or the tenant last: an operator may repeat an interrupted command. No row of another
user or tenant is locked or read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from uuid import UUID

from django.conf import settings
from django.db import connection

from accounts.models import Tenant, User
from accounts.services import AccountError, change_user
from accounts.services import erasure as accounts
from scheduler_service.db import clock
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import with_limit
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import owners, removal, rollups
from tasks_api.services.statements import (
    DELETE_KEYS_OF_USER,
    DELETE_MESSAGES_OF_TENANT,
    DELETE_QUEUE_TALLIES_OF_TENANT,
    DELETE_RUNS_OF_TASKS,
    DELETE_TAGS_OF_USER,
    DELETE_TASK_TALLIES_OF_USER,
    DELETE_TASKS,
)

# Rows in one statement.
BATCH_SIZE = 1000
# Seconds between two checks for requests under way, and beyond the limit of a request.
POLL_SECONDS = 0.2
WAIT_MARGIN_SECONDS = 60.0

ReportProgress = Callable[[str], object]


def erase_tenant(tenant: Tenant, *, report: ReportProgress) -> None:
    """Delete a tenant with all its rows."""
    if tenant.name == settings.SCHEDULER_ANONYMOUS_TENANT:
        raise AccountError(
            f"{tenant} is SCHEDULER_ANONYMOUS_TENANT, so clients would make it again."
        )
    accounts.close_tenant(tenant)
    # Otherwise beats would make tasks that send its notices.
    tenant.channels.all().delete()
    report("Nobody gets in any more.")
    _erase_tasks(
        Task.objects.filter(tenant=tenant).values_list("pk", flat=True), report
    )
    _erase_messages(tenant)
    for user in tenant.users.order_by("pk"):
        _erase_keys(user)
    accounts.delete_tenant(tenant)


def erase_user(
    user: User, *, heir: User | None, removes_tasks: bool, report: ReportProgress
) -> None:
    """Delete a user; the tasks go to an heir, or are deleted as well."""
    if user.tenant_id is None or user.is_staff or user.is_superuser:
        raise AccountError(f"{user} is staff of the service; deactivate them instead.")
    mine = Task.objects.filter(owner=user)
    if heir is None and not removes_tasks and mine.exists():
        raise AccountError(
            f"{user} has tasks, or history of some: hand them over with --transfer-to, "
            "or delete them with --remove-tasks."
        )
    # Transfer first, so that an unfit heir is refused before any change.
    if heir is not None:
        owners.transfer_tasks(user, heir)
    change_user(user, is_active=False)
    report("Nobody gets in any more.")
    if heir is not None:
        # A request that was under way may have created tasks meanwhile.
        owners.transfer_tasks(user, heir)
    _erase_tasks(mine.values_list("pk", flat=True), report)
    rollups.move_to_owner(user, None)
    _erase_keys(user)
    accounts.delete_user(user)


def erase_moved_tenant(tenant: Tenant, *, report: ReportProgress) -> None:
    """Delete the rows of a frozen tenant that lives in another database.

    Nothing of it is under way, and nobody is told that its tasks go.
    """
    tenant.channels.all().delete()
    ids = list(Task.objects.filter(tenant=tenant).values_list("pk", flat=True))
    for number, batch in enumerate(_batches(ids), start=1):
        while _execute(DELETE_RUNS_OF_TASKS, batch) == BATCH_SIZE:
            pass
        _execute(DELETE_TASKS, batch)
        report(f"{min(number * BATCH_SIZE, len(ids))} of {len(ids)} tasks are deleted.")
    _erase_messages(tenant)
    for user in tenant.users.order_by("pk"):
        _erase_keys(user)
    accounts.delete_tenant(tenant, lives_elsewhere=True)


def _erase_tasks(found: Iterable[UUID], report: ReportProgress) -> None:
    ids = list(found)
    for batch in _batches(ids):
        removal.remove_tasks(Task.objects.filter(pk__in=batch), now=clock.now())
    for batch in _batches(ids):
        _await_requests(batch)
        while _execute(DELETE_RUNS_OF_TASKS, batch) == BATCH_SIZE:
            pass
        _execute(DELETE_TASKS, batch)
    report(f"{len(ids)} tasks are deleted, with their history.")


def _batches(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), BATCH_SIZE):
        yield ids[start : start + BATCH_SIZE]


def _await_requests(task_ids: Sequence[UUID]) -> None:
    """Wait for requests under way, because workers record their results."""
    under_way = Run.objects.filter(task__in=task_ids, state=RunState.RUNNING)
    deadline = (
        time.monotonic() + settings.SCHEDULER_MAX_REQUEST_TIMEOUT + WAIT_MARGIN_SECONDS
    )
    while under_way.exists():
        if time.monotonic() > deadline:
            raise AccountError(
                "Requests are still under way; see that a beat runs, and say it again."
            )
        time.sleep(POLL_SECONDS)


def _execute(statement: str, task_ids: Sequence[UUID]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"tasks": array(task_ids), "batch_size": BATCH_SIZE})
        return int(cursor.fetchone()[0])


def _erase_messages(tenant: Tenant) -> None:
    for statement in (DELETE_MESSAGES_OF_TENANT, DELETE_QUEUE_TALLIES_OF_TENANT):
        _delete(statement, tenant.pk)


def _erase_keys(user: User) -> None:
    for statement in (
        DELETE_KEYS_OF_USER,
        DELETE_TASK_TALLIES_OF_USER,
        DELETE_TAGS_OF_USER,
    ):
        _delete(statement, user.pk)


def _delete(statement: str, key: int) -> None:
    """Repeat a statement until it has deleted all of its rows, batch by batch."""
    deleted = BATCH_SIZE
    while deleted == BATCH_SIZE:
        with connection.cursor() as cursor:
            cursor.execute(with_limit(statement, BATCH_SIZE), [key])
            deleted = cursor.rowcount
