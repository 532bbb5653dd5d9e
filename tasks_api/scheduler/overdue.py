"""Make runs of recurring tasks that no worker has taken, before their fire times are lost.

While workers are away or have no room, due tasks wait. A one-off may wait for long. But a
recurring task would go on with its newest fire time, as after an outage of the service,
or with none. So beats make its run in time, and the run waits instead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from scheduler_service.db import clock, locks
from scheduler_service.db.arrays import array
from scheduler_service.db.locks import LockKind
from scheduler_service.db.statements import fetch_all, prepared, with_limit
from tasks_api.scheduler import statements
from tasks_api.taking import due_tasks, following, isolation
from tasks_api.taking.run_counts import RunCounts

# Tasks in one transaction.
BATCH_SIZE = 1000
# Seconds for which a tenant that has as many waiting runs as it may have is passed over.
FULL_SECONDS = 5.0


class _OverdueTask(NamedTuple):
    task_id: UUID
    tenant_id: int
    is_unplanned: bool
    # Whether its tenant has MAX_WAITING runs; None: that was not counted.
    is_full: bool | None


class FullTenants:
    """Tenants that are passed over for a while, so that others are found behind them."""

    def __init__(self) -> None:
        # By the monotonic clock.
        self._until: dict[int, float] = {}

    def list_ids(self) -> list[int]:
        now = time.monotonic()
        self._until = {
            tenant_id: until for tenant_id, until in self._until.items() if until > now
        }
        return list(self._until)

    def note(self, overdue: Sequence[_OverdueTask]) -> None:
        full = {task.tenant_id for task in overdue if task.is_full}
        self._until |= dict.fromkeys(full, time.monotonic() + FULL_SECONDS)


def let_wait(
    *,
    limit: int = BATCH_SIZE,
    since: datetime | None = None,
    full: FullTenants | None = None,
) -> bool:
    """Make waiting runs; returns whether more tasks may need them.

    A tenant has at most MAX_WAITING of them, or a batch more; what is due beyond is passed
    over. Nothing is done while another beat does so.
    """
    full = full or FullTenants()
    overdue: list[_OverdueTask] = []
    try:
        made = _make_runs_in_turn(overdue, limit, since, full)
    except Exception as error:
        if isolation.is_foreign_error(error):
            raise
        made = _make_runs_one_by_one(overdue)
    full.note(overdue)
    if made:
        counts = RunCounts()
        counts.add(made, clock.now())
        counts.write()
    return len(overdue) == limit or any(task.is_full is None for task in overdue)


@transaction.atomic(durable=True)
def _make_runs_in_turn(
    overdue: list[_OverdueTask],
    limit: int,
    since: datetime | None,
    full: FullTenants,
) -> list[UUID]:
    """Find overdue tasks, and make their runs; returns the task of each.

    Beats that did so at once would all look at the same tasks, and count the same runs.
    """
    if not locks.try_turn(LockKind.OVERDUE_TASKS):
        return []
    overdue += _find_overdue(limit, since, full)
    return due_tasks.let_wait(_plan_the_unplanned(overdue))


def _make_runs_one_by_one(overdue: Sequence[_OverdueTask]) -> list[UUID]:
    made: list[UUID] = []
    for task_id in _plan_the_unplanned(overdue):
        made += isolation.isolate(task_id, partial(due_tasks.let_wait, [task_id]), [])
    return made


def _plan_the_unplanned(overdue: Sequence[_OverdueTask]) -> Sequence[UUID]:
    """Return the tasks with room that are overdue also when their next fire times are known.

    One of which nobody knows when it fires next counts as overdue until then.
    """
    with_room = [task for task in overdue if task.is_full is False]
    task_ids = [task.task_id for task in with_room]
    unplanned = [task.task_id for task in with_room if task.is_unplanned]
    if not following.plan(unplanned):
        return task_ids
    with prepared(rows=len(task_ids)) as cursor:
        cursor.execute(statements.FIND_OVERDUE_AMONG, {"tasks": array(task_ids)})
        return [task_id for (task_id,) in cursor.fetchall()]


def _find_overdue(
    limit: int, since: datetime | None, full: FullTenants
) -> list[_OverdueTask]:
    statement = with_limit(statements.FIND_OVERDUE.since(since), limit)
    with prepared() as cursor:
        cursor.execute(statement, {"since": since, "full": array(full.list_ids())})
        return fetch_all(cursor, _OverdueTask)
