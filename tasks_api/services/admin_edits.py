"""Make tasks follow edits of their schedules in django-celery-beat's tables."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import F

from tasks_api.models import Run, Task
from tasks_api.services.auditing import record_for_tenants
from tasks_api.services.pausing import stop_locked, suspend_ownerless
from tasks_api.services.rescheduling import reschedule
from tasks_api.services.unstarted_runs import delete_unstarted
from tasks_api.storage import schedule_changes


@transaction.atomic(durable=True)
def sync_admin_edits(ids: Sequence[uuid.UUID]) -> int:
    """Make tasks follow their edited schedules; return how many tasks there were.

    Unstarted runs of one-offs are deleted first, and so are those that a beat of the
    release before made before their fire times.
    """
    locked = Task.objects.filter(pk__in=ids, ended_at=None).with_schedule()
    tasks = list(locked.select_for_update(no_key=True, of=("self",), skip_locked=True))
    at = schedule_changes.record_change(
        [task.pk for task in tasks], schedule_changes.ChangeKind.EDITED
    )
    suspend_ownerless(tasks)
    stop_locked([task for task in tasks if not task.periodic_task.enabled])
    _forget_one_offs([task for task in tasks if task.periodic_task.enabled])
    reschedule(tasks, now=at)
    record_for_tenants("schedule.change", tasks)
    return len(tasks)


def _forget_one_offs(tasks: Sequence[Task]) -> None:
    """Delete unstarted runs of one-offs; clear `last_fire_at` if no run has begun.

    An edit back to a moment that has its run makes no second one.
    """
    one_offs = [
        task.pk for task in tasks if task.periodic_task.one_off or task.is_one_off
    ]
    delete_unstarted(one_offs)
    begun = _find_last_runs(one_offs, F("task__last_fire_at"))
    repeated = _find_last_runs(
        one_offs, F("task__periodic_task__clocked__clocked_time")
    )
    for task in tasks:
        if task.pk in repeated:
            task.last_fire_at = repeated[task.pk]
        elif task.pk not in begun:
            task.last_fire_at = None


def _find_last_runs(task_ids: Sequence[uuid.UUID], at: F) -> dict[uuid.UUID, datetime]:
    runs = Run.objects.filter(task__in=task_ids, scheduled_for=at)
    return dict(runs.values_list("task_id", "scheduled_for"))
