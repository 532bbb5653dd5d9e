"""Send the request of a task once, at once, before the task is stored."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from accounts.models import User
from tasks_api.domain.guard import host_of
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import TaskSpec
from tasks_api.models import Attempt, Run, Task
from tasks_api.services import runs, tasks
from tasks_api.services.bell import ring_after_commit

TAG = "test"
MAX_LABEL_LENGTH = 200


class TrialResult(NamedTuple):
    """The run of a trial, and its request; None while it is to come."""

    run: Run | None
    attempt: Attempt | None


def send_trial(user: User, spec: TaskSpec, *, now: datetime) -> Task:
    """Store a task that sends the request of another one now, and never again.

    It is a task as any other, with the same guard, account and audit, but without the
    policies of the other one: it is not tried again.
    """
    label = spec.name or spec.queue or host_of(spec.url)
    trial = TaskSpec(
        surface=spec.surface,
        url=spec.url,
        queue=spec.queue,
        schedule=Once(now),
        body=spec.body,
        method=spec.method,
        expected_status=spec.expected_status,
        request=spec.request,
        # Two trials within a second are two tasks.
        name=f"test of {label[:MAX_LABEL_LENGTH]} at {now:%H:%M:%S.%f}",
        tags=(TAG,),
    )
    task = tasks.create_task(user, trial, now=now)
    ring_after_commit()
    return task


def find_result(user: User, task_id: UUID) -> TrialResult:
    """Return how the request of a task went. Raises TaskNotFound."""
    found = runs.list_runs(user, runs.RunFilter(task_id=task_id), limit=1)
    if not found.rows:
        return TrialResult(None, None)
    run, attempts = runs.get_run(user, found.rows[0].run.pk)
    return TrialResult(run, attempts[-1] if attempts else None)
