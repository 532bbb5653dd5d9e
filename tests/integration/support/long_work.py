"""Tasks whose targets work on a run after their answer, and calls in a target's name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.delivery import run_tokens
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import KeepOpen
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import RequestOptions, Surface, TaskSpec
from tasks_api.models import Run, Task
from tasks_api.services import tasks
from tasks_api.worker import long_work
from tasks_api.worker.record import AttemptResult, record_results
from tests.integration.support.stored_tasks import take_due

HOUR = timedelta(hours=1)


DEADLINE = 60


def make_long_work(owner: User, *, is_one_time: bool = False, **rules: Any) -> Task:
    now = timezone.now()
    past = now - timedelta(seconds=1)
    spec = TaskSpec(
        Surface.TASKS,
        rules.pop("url", "http://127.0.0.1:9/"),
        Once(past) if is_one_time else Interval(past, HOUR),
        "{}",
        request=RequestOptions(deadline=DEADLINE),
        **rules,
    )
    return tasks.create_task(owner, spec, now=now)


def begin_run(task: Task) -> str:
    """Let a worker take a due task and send its run, and the target accept it; its token."""
    [taken] = [run for run in take_due() if run.task_id == task.pk]
    return accept_run(taken)


def accept_run(run: ClaimedRun) -> str:
    """Let the target answer 202 to a run that a worker has taken; the run's token."""
    result = HttpResult(202, "", 5)
    record_results([AttemptResult(run, result, KeepOpen(DEADLINE), timezone.now())])
    return token_of(run)


def token_of(run: ClaimedRun) -> str:
    """The token with which the target of an attempt calls back."""
    return run_tokens.make_token(long_work.run_token_keys()[0], run.run_id, run.turn)


def latest_run_of(task: Task) -> Run:
    return Run.objects.filter(task=task).latest("scheduled_for")


def call_back(run: Run, word: str, token: str, body: Any = None) -> Any:
    path = f"/runs/{run.pk}/{word}"
    return APIClient().post(
        path,
        body,
        format="json" if body is not None else None,
        HTTP_AUTHORIZATION=f"Bearer {token}",
    )


def pass_deadline(run: Run) -> None:
    """Let the deadline be over, as if time had passed."""
    Run.objects.filter(pk=run.pk).update(wake_at=timezone.now() - timedelta(seconds=1))
