"""Tasks with policies, and fire times that are due."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import User
from tasks_api.domain.schedules import Interval, Schedule
from tasks_api.domain.specs import Overlap, Surface, TaskSpec
from tasks_api.models import Task
from tasks_api.services import tasks


def make_task_with(owner: User, schedule: Schedule, **rules: Any) -> Task:
    spec = TaskSpec(
        Surface.CRON_JOBS,
        rules.pop("url", "http://127.0.0.1:9/"),
        schedule,
        '{"n": 1}',
        name=rules.pop("name", "job"),
        **{"overlap": Overlap.SKIP, **rules},
    )
    return tasks.create_task(owner, spec, now=timezone.now())


def due_every(span: timedelta, *, since: timedelta) -> Interval:
    return Interval(timezone.now() - since, span)


def make_due(task: Task) -> None:
    """Let the next fire time be now, as if time had passed."""
    Task.objects.filter(pk=task.pk).update(next_fire_at=timezone.now())
