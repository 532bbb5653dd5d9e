"""Count the living tasks of users, and end tasks that are past their end.

A statement that stores or ends tasks updates the task tallies itself, with parts of
`count_statements.py`. So a total is the sum of a few rows, and exact at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared, with_limit
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import EndReason
from tasks_api.storage.count_statements import (
    COUNT_ALIVE,
    END_ALL_EXPIRED,
    END_ALL_EXPIRED_SINCE,
    END_EXPIRED_TASKS,
    END_FINISHED_TASKS,
)


def count_alive(
    tenant_id: int, owner_ids: Collection[int], surface: Surface, *, now: datetime
) -> int:
    """Count the living tasks of some users of a tenant.

    Tasks that are past their end, and that no beat has ended yet, are subtracted:
    indexes that hold nothing else find them.
    """
    values: dict[str, Any] = {
        "owners": array(owner_ids),
        "tenant": tenant_id,
        "surface": surface.value,
        "now": now,
    }
    with prepared() as cursor:
        cursor.execute(COUNT_ALIVE, values)
        return int(cursor.fetchone()[0])


def end_expired_tasks(task_ids: Collection[UUID], *, now: datetime) -> None:
    """End tasks that are past their end, at once; their runs under way finish."""
    with connection.cursor() as cursor:
        cursor.execute(END_EXPIRED_TASKS, [now, array(task_ids)])


def end_finished_tasks(ends: Mapping[UUID, datetime], *, reason: EndReason) -> None:
    """End tasks, each at its moment, as if that were their end."""
    with connection.cursor() as cursor:
        cursor.execute(END_FINISHED_TASKS, [reason, *columns(list(ends.items()))])


def end_all_expired_tasks(*, limit: int = 1000, since: datetime | None = None) -> int:
    """End tasks that are past their end and never fire again; return how many.

    Their runs are not changed. Tasks that another process has locked come later. Tasks
    whose end was before `since` are left alone.
    """
    with prepared() as cursor:
        statement = END_ALL_EXPIRED if since is None else END_ALL_EXPIRED_SINCE
        cursor.execute(with_limit(statement, limit), {"since": since})
        return int(cursor.fetchone()[0])
