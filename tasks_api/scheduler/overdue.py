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

from django.db import connection, transaction

from scheduler_service.db import clock, locks
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

    A tenant has at most MAX_WAITING of them; what is due beyond is passed over. Nothing is
    done while another beat does so.
    """
    overdue: list[_OverdueTask] = []
    try:
        made = _make_runs_in_turn(overdue, limit, since)
    except Exception as error:
        if isolation.is_foreign_error(error):
            raise
        made = _make_runs_one_by_one(overdue)
    if made:
        counts = RunCounts()
        counts.add(made, clock.now())
        counts.write()
    return len(overdue) == limit


@transaction.atomic(durable=True)
def _make_runs_in_turn(
    overdue: list[_OverdueTask], limit: int, since: datetime | None
) -> list[UUID]:
    """Find overdue tasks, and make their runs; returns the task of each.

    Beats that did so at once would all look at the same tasks, and count the same runs.
    """
    if not locks.try_acquire(locks.LockKind.OVERDUE_TASKS):
        return []
    with connection.cursor() as cursor:
        cursor.execute(statements.LIMIT_IDLE_TIME)
    overdue += _find_overdue(limit, since)
    return due_tasks.let_wait(_plan_the_unplanned(overdue))


def _make_runs_one_by_one(overdue: Sequence[_OverdueTask]) -> list[UUID]:
    made: list[UUID] = []
    for task_id in _plan_the_unplanned(overdue):
        made += isolation.isolate(task_id, partial(due_tasks.let_wait, [task_id]), [])
    return made


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


def _find_overdue(limit: int, since: datetime | None) -> list[_OverdueTask]:
    with prepared() as cursor:
        cursor.execute(
            with_limit(statements.FIND_OVERDUE.since(since), limit), {"since": since}
        )
        return [_OverdueTask._make(row) for row in cursor.fetchall()]
