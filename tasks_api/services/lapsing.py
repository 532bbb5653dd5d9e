"""End the tasks of tokens whose bounds nobody renewed in time."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import TokenBounds
from scheduler_service.db import locks
from scheduler_service.db.arrays import array
from scheduler_service.db.locks import LockKind
from scheduler_service.db.statements import prepared
from tasks_api.models import Task
from tasks_api.services.auditing import record_for_tenants
from tasks_api.services.finding import lock_rows
from tasks_api.services.unstarted_runs import cancel_unstarted
from tasks_api.storage import quota_statements as statements
from tasks_api.storage import schedule_changes, schedule_rows

# Bounds in one round, and tasks in one transaction.
MAX_BOUNDS = 100
BATCH_SIZE = 500
END_REASON = "not renewed"
REASON = "The bounds of its token were not renewed in time."


@transaction.atomic
def end_lapsed() -> bool:
    """End a batch of tasks whose bounds lapsed; return whether there may be more.

    A renewal afterwards does not bring them back. What a request is under way for
    finishes. Nothing is done while another process does so.
    """
    if not locks.try_turn(LockKind.LAPSED_BOUNDS):
        return False
    lapsed = _select_lapsed()
    if not lapsed:
        return False
    ids = _find_tasks(lapsed)
    if ids:
        _end(ids)
        return True
    # Locked last, as everywhere, and selected anew: somebody may have renewed them.
    done = TokenBounds.objects.filter(pk__in=lapsed, ends_at__lte=Now(), lapsed_at=None)
    locked = list(done.order_by("pk").select_for_update(no_key=True))
    if not _find_tasks([row.pk for row in locked]):
        TokenBounds.objects.filter(pk__in=[row.pk for row in locked]).update(
            lapsed_at=Now()
        )
    return len(lapsed) == MAX_BOUNDS


def _select_lapsed() -> list[int]:
    rows = TokenBounds.objects.filter(
        ends_at__lte=Now(), lapsed_at=None, tenant__frozen_at=None
    )
    return list(rows.order_by("ends_at").values_list("pk", flat=True)[:MAX_BOUNDS])


def _find_tasks(bounds_ids: list[int]) -> list[UUID]:
    with prepared() as cursor:
        values: dict[str, Any] = {"bounds": array(bounds_ids), "limit": BATCH_SIZE}
        cursor.execute(statements.FIND_LAPSED_TASKS, values)
        return [task_id for (task_id,) in cursor.fetchall()]


def _end(task_ids: list[UUID]) -> None:
    tasks = list(lock_rows(Task.objects.filter(pk__in=task_ids, ended_at=None)))
    ids = [task.pk for task in tasks]
    at = schedule_changes.record_change(ids, schedule_changes.ChangeKind.OVER)
    schedule_rows.end_tasks(ids, now=at, reason=END_REASON)
    cancel_unstarted(ids, reason=REASON)
    with audit.acting_as(audit.SERVICE):
        record_for_tenants("task.end", tasks)
