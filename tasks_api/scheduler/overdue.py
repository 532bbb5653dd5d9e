"""Make runs of recurring tasks that no worker has taken, before their fire times are lost.

While workers are away or have no room, due tasks wait. A one-off may wait for long. But a
recurring task would go on with its newest fire time, as after an outage of the service,
or with none. So beats make its run in time, and the run waits instead.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from uuid import UUID

from scheduler_service.db.statements import prepared, with_limit
from tasks_api.scheduler import statements
from tasks_api.taking import due_tasks, isolation

# Tasks in one transaction.
BATCH_SIZE = 1000


def let_wait(*, limit: int = BATCH_SIZE, since: datetime | None = None) -> bool:
    """Make waiting runs; returns whether more tasks may need them.

    A tenant has at most MAX_WAITING of them; what is due beyond is passed over.
    """
    task_ids = _find_at_risk(limit, since)
    if not task_ids:
        return False
    try:
        due_tasks.let_wait(task_ids)
    except Exception as error:
        if isolation.is_foreign_error(error):
            raise
        for task_id in task_ids:
            isolation.isolate(task_id, partial(due_tasks.let_wait, [task_id]), 0)
    return len(task_ids) == limit


def _find_at_risk(limit: int, since: datetime | None) -> list[UUID]:
    with prepared() as cursor:
        cursor.execute(
            with_limit(statements.FIND_TASKS_AT_RISK.since(since), limit),
            {"since": since},
        )
        return [task_id for (task_id,) in cursor.fetchall()]
