"""Tasks that tests store, and what became of their runs."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from accounts.models import User
from tasks_api.domain.schedules import Schedule
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Run, Task
from tasks_api.scheduler import dispatch
from tasks_api.services import tasks

SECOND = timedelta(seconds=1)


HOUR = timedelta(hours=1)


TARGET = "http://127.0.0.1:9/"


def store_task(owner: User, schedule: Schedule, url: str = TARGET) -> Task:
    spec = TaskSpec(Surface.TASKS, url, schedule, "{}")
    return tasks.create_task(owner, spec, now=timezone.now())


def run_states(task: Task) -> list[str]:
    runs = Run.objects.filter(task=task).order_by("scheduled_for")
    return list(runs.values_list("state", flat=True))


def dispatch_all() -> list[UUID]:
    return dispatch.dispatch_due().run_ids
