"""What is wrong now with a user's tasks: failures, paused tasks, and queues that grow."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from accounts.models import User
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import AnyRow, fetch_all, with_limit
from tasks_api.domain.ids import id_range
from tasks_api.domain.states import FINAL_STATES, RunState
from tasks_api.models import Task
from tasks_api.services import outcomes
from tasks_api.services import overview_statements as statements
from tasks_api.services.overview_statements import ROWS_EXAMINED

# The most rows in one answer.
MAX_FAILURES = 100
MAX_PAUSED = 20
MAX_QUEUES = 20
# The newest runs of a task among which its last outcome is looked for.
MAX_UNFINISHED = 3


class TaskFailure(NamedTuple):
    """The newest runs of a task that failed for one reason."""

    task_id: UUID
    title: str
    state: RunState
    reason: str
    runs: int
    latest_at: datetime
    latest_run_id: UUID
    # Whether the last outcome of the task was a failure, for this or another reason.
    still_fails: bool


class PausedTask(NamedTuple):
    """A task that the service has paused, and why."""

    task_id: UUID
    title: str
    reason: str


class WaitingMessages(NamedTuple):
    """How many messages wait in a queue, up to some thousands, and since when."""

    name: str
    depth: int
    oldest_at: datetime | None

    @property
    def is_cut(self) -> bool:
        """Whether more messages may wait."""
        return self.depth == ROWS_EXAMINED


class _FailureRow(NamedTuple):
    state: str
    reason: str
    task_id: UUID
    runs: int
    latest_at: datetime
    latest_run_id: UUID


def list_failures(user: User, *, since: datetime) -> list[TaskFailure]:
    """Return the failures of the user's tasks by task and reason, the newest first.

    Of very many, only the newest are among them.
    """
    first_id, _ = id_range(since, None)
    values = {**_scope(user), "since": since, "first_id": first_id}
    rows = _fetch(statements.GROUP_NEWEST_FAILURES, _FailureRow, MAX_FAILURES, values)
    tasks = Task.objects.in_bulk({row.task_id for row in rows})
    failing = _find_failing(user, tasks)
    return [
        TaskFailure(
            row.task_id,
            title_of(tasks[row.task_id]),
            RunState(row.state),
            row.reason,
            row.runs,
            row.latest_at,
            row.latest_run_id,
            still_fails=row.task_id in failing,
        )
        for row in rows
        if row.task_id in tasks
    ]


def _find_failing(user: User, task_ids: Iterable[UUID]) -> set[UUID]:
    """Return those of the tasks whose last outcome was a failure."""
    assert user.tenant_id is not None
    last = outcomes.last_runs(user.tenant_id, task_ids, each=MAX_UNFINISHED)
    return {task_id for task_id, runs in last.items() if _has_failed(runs)}


def _has_failed(newest_first: Iterable[outcomes.LastRun]) -> bool:
    over = (run.state for run in newest_first if run.state in FINAL_STATES)
    return next(over, None) in (RunState.FAILED, RunState.MISSED)


def list_paused_by_service(user: User) -> list[PausedTask]:
    """Return tasks that the service has paused itself, at most MAX_PAUSED of them."""
    users = User.objects.filter(tenant=user.tenant_id)
    owners = users.values_list("pk", flat=True) if user.reaches_tenant else [user.pk]
    values = {"owners": array(owners)}
    with connection.cursor() as cursor:
        cursor.execute(
            with_limit(statements.FIND_PAUSED_BY_SERVICE, MAX_PAUSED), values
        )
        ids = [task_id for (task_id,) in cursor.fetchall()]
    tasks = Task.objects.filter(pk__in=ids).order_by("name", "pk")
    return [PausedTask(task.pk, title_of(task), task.pause_reason) for task in tasks]


def title_of(task: Task) -> str:
    """What people call a task: its name, or else its request."""
    return task.name or str(task)


def count_waiting_messages(user: User) -> list[WaitingMessages]:
    """Return the queues of the user's tenant, the fullest first, at most MAX_QUEUES."""
    values = {"tenant": user.tenant_id}
    return _fetch(
        statements.COUNT_WAITING_MESSAGES, WaitingMessages, MAX_QUEUES, values
    )


def _scope(user: User) -> dict[str, Any]:
    owner = None if user.reaches_tenant else user.pk
    return {"tenant": user.tenant_id, "owner": owner}


def _fetch(
    statement: str, row: type[AnyRow], limit: int, values: dict[str, Any]
) -> list[AnyRow]:
    with connection.cursor() as cursor:
        cursor.execute(with_limit(statement, limit), values)
        return fetch_all(cursor, row)
