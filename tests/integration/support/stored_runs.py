"""Runs that tests store as if they had been sent, and their ids in a list."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from accounts.models import User
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import Overlap, Surface, TaskSpec
from tasks_api.domain.states import RunState, Stage
from tasks_api.models import Run, Task
from tasks_api.services import tasks
from tests.integration.support.stored_tasks import TARGET

MINUTE = timedelta(minutes=1)


def hourly_task(owner: User, *, overlap: Overlap = Overlap.ALLOW) -> Task:
    schedule = Interval(timezone.now() + 30 * MINUTE, 60 * MINUTE, None)
    spec = TaskSpec(Surface.TASKS, TARGET, schedule, "{}", overlap=overlap)
    return tasks.create_task(owner, spec, now=timezone.now())


def store_run(
    task: Task,
    *,
    ago: int = 1,
    at: datetime | None = None,
    state: RunState = RunState.FAILED,
    **more: Any,
) -> Run:
    """A run of some minutes ago, with an attempt if it was sent."""
    at = at or timezone.now() - ago * MINUTE
    was_sent = state in {RunState.FAILED, RunState.SUCCEEDED}
    if was_sent:
        more |= {
            "first_started_at": at,
            "first_duration_ms": 7,
            "first_status_code": 500 if state == RunState.FAILED else 200,
            "first_answer": "ok",
        }
    return Run.objects.create(
        id=id_for(at, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=at,
        state=state,
        finished_at=at,
        attempt_count=int(was_sent),
        stage=Stage.OVER,
        **more,
    )


def run_ids_of(answer: Any) -> list[str]:
    return [run["id"] for run in answer.json()["runs"]]


CRON = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "task_type": "periodic", "url": "http://example.com/"}  # fmt: skip
