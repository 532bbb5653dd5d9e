"""Lanes with tasks, and with runs that wait there or are under way."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.utils import timezone

from accounts.models import User
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Cron, Schedule
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.states import RunState, Stage
from tasks_api.models import Lane, Run, Task
from tasks_api.services import lanes, tasks
from tests.integration.support.stored_runs import MINUTE

HOURLY = Cron("0 * * * *")
# The rows of the lists of runs and of tasks.
RUN_ROW = re.compile(r'class="fired"><a href="/app/runs/([0-9a-f-]{36})')
TASK_ROW = re.compile(r'<a id="task-([0-9a-f-]{36})"')


def make_lane(admin: User, name: str = "crm", **columns: Any) -> Lane:
    return lanes.create_lane(admin, {"name": name, **columns})


def task_in_lane(
    owner: User,
    lane: str = "crm",
    *,
    name: str = "",
    schedule: Schedule = HOURLY,
    url: str = "https://crm.example.com/sync",
    spread: int = 0,
) -> Task:
    spec = TaskSpec(
        Surface.TASKS,
        url,
        schedule,
        "{}",
        name=name,
        lane_name=lane,
        spread=spread,
    )
    return tasks.create_task(owner, spec, now=timezone.now())


def run_in_lane(
    task: Task, *, ago: int = 1, state: RunState = RunState.PENDING, nth: int = 0
) -> Run:
    """A live run of some minutes ago that waits in the lane of its task, or is sent."""
    at = timezone.now() - ago * MINUTE - timedelta(seconds=nth)
    waits = state in (RunState.PENDING, RunState.RETRYING)
    return Run.objects.create(
        id=id_for(at, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=at,
        state=state,
        reason=f"Waits for lane {task.lane}." if waits else "",
        wake_at=timezone.now() + MINUTE,
        lease=None if waits else uuid4(),
        started_at=None if waits else at,
        lane_id=task.lane_id,
        stage=Stage.LIVE,
    )
