"""Erase what a user or a tenant has: tasks with their history, messages, keys.

In bites, each for itself, and the row of the user or the tenant last: whatever cuts it
off, it may be said again, and goes on. Nobody else's rows are locked or read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from uuid import UUID

from django.conf import settings
from django.db import connection

from accounts import erasure as accounts
from accounts.models import Tenant, User
from accounts.services import AccountError, change_user
from scheduler_service.db import clock
from scheduler_service.db.arrays import array
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import owners, tasks

# Rows in one statement.
BITE = 1000
# Seconds between two looks at what is under way, and how long to wait besides a request.
LOOK_EVERY = 0.2
MARGIN = 60.0

Say = Callable[[str], object]


def erase_tenant(tenant: Tenant, *, say: Say) -> None:
    """Delete a tenant with all that there is of it."""
    if tenant.name == settings.SCHEDULER_ANONYMOUS_TENANT:
        raise AccountError(
            f"{tenant} is SCHEDULER_ANONYMOUS_TENANT, so clients would make it again."
        )
    accounts.close_tenant(tenant)
    say("Nobody gets in any more.")
    _erase_tasks(Task.objects.filter(tenant=tenant).values_list("pk", flat=True), say)
    for table in ("tasks_api_message", "tasks_api_queuetally"):
        _delete(table, "tenant_id", tenant.pk)
    for user in tenant.users.order_by("pk"):
        _erase_keys(user)
    accounts.delete_tenant(tenant)


def erase_user(user: User, *, heir: User | None, removes_tasks: bool, say: Say) -> None:
    """Delete a user; the tasks go to an heir, or are deleted as well."""
    if user.tenant_id is None or user.is_staff or user.is_superuser:
        raise AccountError(f"{user} is staff of the service; deactivate them instead.")
    mine = Task.objects.filter(owner=user)
    if heir is None and not removes_tasks and mine.exists():
        raise AccountError(
            f"{user} has tasks, or history of some: hand them over with --transfer-to, "
            "or delete them with --remove-tasks."
        )
    # First, so that a heir who cannot be one is refused before anything is done.
    if heir is not None:
        owners.transfer(user, heir)
    change_user(user, is_active=False)
    say("Nobody gets in any more.")
    if heir is not None:
        # What a request that was under way has made meanwhile.
        owners.transfer(user, heir)
    _erase_tasks(mine.values_list("pk", flat=True), say)
    _erase_keys(user)
    accounts.delete_user(user)


def _erase_tasks(found: Iterable[UUID], say: Say) -> None:
    ids = list(found)
    for bite in _bites(ids):
        tasks.remove_tasks(Task.objects.filter(pk__in=bite), now=clock.now())
    for bite in _bites(ids):
        _await_requests(bite)
        while _execute(_RUNS, bite) == BITE:
            pass
        _execute(_TASKS, bite)
    say(f"{len(ids)} tasks are deleted, with their history.")


def _bites(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), BITE):
        yield ids[start : start + BITE]


def _await_requests(task_ids: Sequence[UUID]) -> None:
    """Let requests finish that are under way: their workers write down what came back."""
    under_way = Run.objects.filter(task__in=task_ids, state=RunState.RUNNING)
    deadline = time.monotonic() + settings.SCHEDULER_MAX_REQUEST_TIMEOUT + MARGIN
    while under_way.exists():
        if time.monotonic() > deadline:
            raise AccountError(
                "Requests are still under way; see that a beat runs, and say it again."
            )
        time.sleep(LOOK_EVERY)


def _execute(statement: str, task_ids: Sequence[UUID]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"tasks": array(task_ids), "bite": BITE})
        return int(cursor.fetchone()[0])


_RUNS = """
    WITH old AS MATERIALIZED (
        SELECT id FROM tasks_api_run WHERE task_id = ANY(%(tasks)s::uuid[])
        LIMIT %(bite)s FOR UPDATE
    ), attempts AS (
        DELETE FROM tasks_api_attempt WHERE run_id = ANY(ARRAY(SELECT id FROM old))
    ), runs AS (
        DELETE FROM tasks_api_run WHERE id = ANY(ARRAY(SELECT id FROM old))
    )
    SELECT count(*) FROM old
"""
# As retention deletes them, whatever their age; shared schedules stay.
_TASKS = """
    WITH tasks AS (
        DELETE FROM tasks_api_task WHERE id = ANY(%(tasks)s::uuid[])
        RETURNING id, periodic_task_id
    ), changes AS (
        DELETE FROM tasks_api_schedulechange
        WHERE task_id = ANY(ARRAY(SELECT id FROM tasks))
    ), tags AS (
        DELETE FROM tasks_api_tasktag WHERE task_id = ANY(ARRAY(SELECT id FROM tasks))
    ), schedules AS (
        DELETE FROM django_celery_beat_periodictask
        WHERE id = ANY(ARRAY(SELECT periodic_task_id FROM tasks))
        RETURNING clocked_id
    ), moments AS (
        DELETE FROM django_celery_beat_clockedschedule clocked
        WHERE id = ANY(ARRAY(SELECT clocked_id FROM schedules)) AND NOT EXISTS (
            SELECT FROM django_celery_beat_periodictask other
            WHERE other.clocked_id = clocked.id
                AND other.id <> ALL(ARRAY(SELECT periodic_task_id FROM tasks)))
    )
    SELECT count(*) FROM tasks
"""


def _erase_keys(user: User) -> None:
    for table, column in (
        ("tasks_api_idempotencykey", "user_id"),
        ("tasks_api_tasktally", "owner_id"),
        ("tasks_api_tasktag", "owner_id"),
    ):
        _delete(table, column, user.pk)


def _delete(table: str, column: str, key: int) -> None:
    """Delete the rows of a table that belong to somebody, in bites."""
    statement = f"""
        DELETE FROM {table} WHERE id IN (
            SELECT id FROM {table} WHERE {column} = %s LIMIT {BITE})
    """  # noqa: S608 (names of tables and columns)
    deleted = BITE
    while deleted == BITE:
        with connection.cursor() as cursor:
            cursor.execute(statement, [key])
            deleted = cursor.rowcount
