"""Make runs of recurring tasks that no worker has taken, before their fire times are lost.

While workers are away or have no room, due tasks wait. A one-off may wait for long. But a
recurring task would go on with its newest fire time, as after an outage of the service,
or with none. So beats make its run in time, and the run waits instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple
from uuid import UUID

from scheduler_service.db import clock
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import prepared, with_limit
from tasks_api.scheduler import statements
from tasks_api.taking import due_tasks, following, isolation
from tasks_api.taking.run_counts import RunCounts

# Tasks in one transaction.
BATCH_SIZE = 1000


class _OverdueTask(NamedTuple):
    task_id: UUID
    is_unplanned: bool


def let_wait(*, limit: int = BATCH_SIZE, since: datetime | None = None) -> bool:
    """Make waiting runs; returns whether more tasks may need them.

    A tenant has at most MAX_WAITING of them; what is due beyond is passed over.
    """
    overdue = _find_overdue(limit, since)
    if task_ids := _plan_the_unplanned(overdue):
        counts = RunCounts()
        counts.add(_make_runs(task_ids), clock.now())
        counts.write()
    return len(overdue) == limit


def _plan_the_unplanned(overdue: Sequence[_OverdueTask]) -> Sequence[UUID]:
    """Return the tasks that are overdue also when their next fire times are known.

    One of which nobody knows when it fires next counts as overdue until then.
    """
    task_ids = [task.task_id for task in overdue]
    unplanned = [task.task_id for task in overdue if task.is_unplanned]
    if not following.plan(unplanned):
        return task_ids
    with prepared(rows=len(task_ids)) as cursor:
        cursor.execute(statements.FIND_OVERDUE_AMONG, {"tasks": array(task_ids)})
        return [task_id for (task_id,) in cursor.fetchall()]


def _make_runs(task_ids: Sequence[UUID]) -> list[UUID]:
    """Make waiting runs; returns the task of each."""
    try:
        return due_tasks.let_wait(task_ids)
    except Exception as error:
        if isolation.is_foreign_error(error):
            raise
    made: list[UUID] = []
    for task_id in task_ids:
        made += isolation.isolate(task_id, partial(due_tasks.let_wait, [task_id]), [])
    return made


def _find_overdue(limit: int, since: datetime | None) -> list[_OverdueTask]:
    with prepared() as cursor:
        cursor.execute(
            with_limit(statements.FIND_OVERDUE.since(since), limit), {"since": since}
        )
        return [_OverdueTask._make(row) for row in cursor.fetchall()]
