"""The last outcomes of many tasks: one statement for a page of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from scheduler_service.db.arrays import array
from scheduler_service.db.statements import fetch_all, with_limit
from tasks_api.services.run_statements import LIST_LAST_RUNS


class LastRun(NamedTuple):
    """A run of a task, without its details."""

    task_id: UUID
    run_id: UUID
    scheduled_for: datetime
    state: str


def last_runs(
    tenant_id: int, task_ids: Iterable[UUID], *, each: int
) -> dict[UUID, list[LastRun]]:
    """Return the newest runs of tasks of a tenant, at most `each` per task, newest first.

    Runs that were made ahead are not among them before their fire time.
    """
    values: dict[str, Any] = {"tenant": tenant_id, "tasks": array(task_ids)}
    found: defaultdict[UUID, list[LastRun]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(with_limit(LIST_LAST_RUNS, each), values)
        for run in fetch_all(cursor, LastRun):
            found[run.task_id].append(run)
    return found
