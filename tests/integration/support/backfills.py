"""Tasks whose fire times have passed, and backfills of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.utils import timezone

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import Succeed, Verdict
from tasks_api.domain.backfills import Pace
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import (
    backfill,
    tasks,
)
from tasks_api.services.backfill import Backfill, WantedSlots
from tasks_api.worker import verdicts
from tasks_api.worker.record import AttemptResult, record_results
from tests.integration.support.reconciliation_model import let_pass
from tests.integration.support.stored_tasks import (
    HOUR,
    TARGET,
    take_due,
)

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
FAST = Pace(100, "second")


def make_task(user: User, schedule: Any, **rules: Any) -> Task:
    spec = TaskSpec(Surface.TASKS, TARGET, schedule, "{}", **rules)
    return tasks.create_task(user, spec, now=timezone.now())


def hourly_task(user: User, *, age: timedelta = 10 * HOUR, **rules: Any) -> Task:
    """A task that has existed for some time, in which it never fired."""
    # No fire time is near, so it makes no difference how long a test takes.
    begin = timezone.now() + HOUR / 2
    task = make_task(user, Interval(begin, HOUR), **rules)
    let_pass(task, age)
    return task


def settle(task: Task) -> None:
    while take_due():
        pass
    Run.objects.filter(task=task, state=RunState.RUNNING).update(lease=uuid4())


def backfilled(
    user: User, task: Task, *, since: datetime | None = None, **rules: Any
) -> Backfill:
    options = {
        name: rules.pop(name) for name in ("dry_run", "expected") if name in rules
    }
    wanted = WantedSlots(since or timezone.now() - DAY, **{"pace": FAST, **rules})
    return backfill.backfill_task(user, task.pk, wanted, **options)


def live_backfills(task: Task) -> list[Run]:
    runs = Run.objects.filter(task=task, backfill_id__isnull=False)
    return list(runs.order_by("scheduled_for"))


def let_be_due(task: Task) -> None:
    """Let the moments of all backfills have come, in their order."""
    now = clock.read()
    for number, run in enumerate(reversed(live_backfills(task))):
        if run.state == RunState.PENDING:
            at = now - (number + 1) * timedelta(milliseconds=1)
            Run.objects.filter(pk=run.pk).update(scheduled_for=at, wake_at=at)


def end_run(run: ClaimedRun, verdict: Verdict | None = None) -> None:
    verdict = verdict or Succeed()
    result = AttemptResult(run, HttpResult(200, "", 1), verdict, timezone.now())
    record_results([result])
    verdicts.follow_up([result], now=timezone.now())
