"""Make manual runs of tasks, beside their schedules."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime

from django.db import transaction

from accounts.models import User
from tasks_api.domain.exceptions import TaskBusy
from tasks_api.domain.ids import id_for
from tasks_api.domain.specs import Overlap, Surface
from tasks_api.models import Run, Task
from tasks_api.services import waiting_limits
from tasks_api.services.auditing import record_for_tenants
from tasks_api.services.finding import lock_rows, lock_tasks
from tasks_api.storage import run_rows


@transaction.atomic
def run_now(owner: User, task_id: str, *, surface: Surface, now: datetime) -> uuid.UUID:
    """Make a manual run of a task, paused or not. Raises TaskBusy if it would overlap.

    The caller must ring for the run after the commit.
    """
    [task] = lock_tasks(owner, [task_id], now=now, surface=surface)
    waiting_limits.require_places([task], now=now)
    run_id = fire_task(task.pk, now=now)
    if run_id is None:
        raise TaskBusy("The task may not overlap, and the run before is not over")
    return run_id


def fire_task(task_id: uuid.UUID, *, now: datetime) -> uuid.UUID | None:
    """Make a manual run of a task, as fire_tasks() does.

    Returns None if the task has ended, or if the run would overlap. With the policy
    queue_one, the new run may be the one that waits.
    """
    return next(iter(fire_tasks([task_id], now=now)), None)


@transaction.atomic
def fire_tasks(task_ids: Collection[uuid.UUID], *, now: datetime) -> list[uuid.UUID]:
    """Make a manual run of each of these tasks; return the runs that were made.

    It makes none of a task for whose bounds too many runs wait.

    Uses a constant number of statements. The caller must ring after the commit.
    """
    # Lock the tasks first, because a worker may take them at the same moment.
    found = lock_rows(Task.objects.alive(now).filter(pk__in=task_ids))
    tasks = waiting_limits.with_places(found)
    runs = [_manual_run(task, now) for task in tasks]
    Run.objects.bulk_create(runs, ignore_conflicts=True)
    run_rows.start_waiting_runs_of_locked([run.task_id for run in runs if run.is_next])
    stored = Run.objects.filter(pk__in=[run.pk for run in runs])
    ids = set(stored.values_list("pk", flat=True))
    made = [run for run in runs if run.pk in ids]
    record_for_tenants("task.run", [run.task for run in made])
    return [run.pk for run in made]


def _manual_run(task: Task, now: datetime) -> Run:
    is_in_line = task.overlap == Overlap.QUEUE_ONE
    return Run(
        id=id_for(now, task.tenant_id),
        task=task,
        tenant_id=task.tenant_id,
        scheduled_for=now,
        wake_at=now,
        exclusive=task.overlap == Overlap.SKIP,
        is_next=is_in_line,
        reason=run_rows.WAITING_REASON if is_in_line else "",
        by_hand=True,
    )
