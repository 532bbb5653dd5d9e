"""Runs and tasks of long ago, and a round that prunes them."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from django.utils import timezone

from accounts.models import User
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.states import RunState, Stage
from tasks_api.models import Run, Task
from tasks_api.storage import retention
from tests.integration.support.stored_tasks import HOUR, store_task

DAY = timedelta(days=1)


LONG_AGO = 40 * DAY


def finished_run(
    task: Task,
    ago: timedelta,
    *,
    state: RunState = RunState.SUCCEEDED,
    took: timedelta = timedelta(),
) -> Run:
    moment = timezone.now() - ago
    return Run.objects.create(
        id=id_for(moment, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=moment,
        state=state,
        finished_at=moment + took,
        stage=Stage.OVER,
        first_started_at=moment,
        first_duration_ms=1,
    )


def waiting_run(task: Task, ago: timedelta) -> Run:
    moment = timezone.now() - ago
    return Run.objects.create(
        id=id_for(moment, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=moment,
        wake_at=moment,
    )


def periodic_task(owner: User) -> Task:
    return store_task(owner, Interval(timezone.now() + HOUR, HOUR, None))


def ended_task(owner: User, ago: timedelta) -> Task:
    task = store_task(owner, Once(timezone.now() + HOUR))
    moment = timezone.now() - ago
    Task.objects.filter(pk=task.pk).update(ended_at=moment, next_fire_at=None)
    return task


def prune_all(**options: retention.Pause) -> Counter[str]:
    """Without a rest between bites, unless told."""
    pause = options.get("pause", lambda _: False)
    return retention.prune(now=timezone.now(), pause=pause)
