"""Runs as a tenant has them: delivered, failed for several reasons, missed and waiting."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple
from uuid import uuid4

from django.utils import timezone

from accounts.models import User
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import RequestOptions, Surface, TaskSpec
from tasks_api.domain.states import RunState, Stage
from tasks_api.models import FurtherAttempt, Run, Task
from tasks_api.services import tasks
from tests.integration.support.stored_runs import MINUTE, store_run

SECOND = timedelta(seconds=1)
ANSWER = (
    '{"error": "the invoice service is away", "trace": "<script>alert(1)</script>"}'
)
LAST_ONE = "HTTP 503; that was attempt 3, the last one"


class BelievableRuns(NamedTuple):
    delivered: Run
    # After three attempts.
    failed: Run
    refused: Run
    missed: Run
    waiting: Run


def named_task(
    owner: User, name: str, *, url: str = "https://example.com/hook"
) -> Task:
    now = timezone.now()
    options = RequestOptions(("X-Api-Key",), sealed_values="sealed")
    spec = TaskSpec(
        Surface.TASKS,
        url,
        Interval(now + 30 * MINUTE, 60 * MINUTE, None),
        '{"report": "nightly", "to": "ops@example.com"}',
        name=name,
        request=options,
    )
    return tasks.create_task(owner, spec, now=now)


def store_retried_run(task: Task, *, ago: int) -> Run:
    """A run that failed at its third attempt."""
    at = timezone.now() - ago * MINUTE
    run = store_run(
        task,
        at=at,
        reason=LAST_ONE,
        started_at=at + 41 * SECOND,
    )
    Run.objects.filter(pk=run.pk).update(
        attempt_count=3,
        first_started_at=at + 0.02 * SECOND,
        first_duration_ms=412,
        first_status_code=503,
        first_answer="busy",
        finished_at=at + 42.3 * SECOND,
    )
    for number, second, took, status, error, answer in (
        (2, 9.4, 10_000, None, "timed out after 10 s", ""),
        (3, 41.0, 1_300, 503, "", ANSWER),
    ):
        FurtherAttempt.objects.create(
            run_id=run.pk,
            number=number,
            started_at=at + second * SECOND,
            duration_ms=took,
            status_code=status,
            error=error,
            answer=answer,
        )
    return Run.objects.get(pk=run.pk)


def store_live_run(
    task: Task, state: RunState, *, ago: int = 1, reason: str = ""
) -> Run:
    at = timezone.now() - ago * MINUTE
    is_running = state == RunState.RUNNING
    return Run.objects.create(
        id=id_for(at, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=at,
        state=state,
        reason=reason,
        wake_at=at + 30 * MINUTE,
        lease=uuid4() if is_running else None,
        stage=Stage.LIVE,
        started_at=at if is_running else None,
    )


def store_believable_runs(owner: User) -> BelievableRuns:
    report = named_task(owner, "nightly report")
    invoices = named_task(owner, "send invoices", url="https://billing.example.com/run")
    cache = named_task(owner, "warm the cache of the product pages")
    for ago in range(30, 300, 15):
        store_run(cache, ago=ago, state=RunState.SUCCEEDED)
    for ago in (100, 160):
        store_run(cache, ago=ago + 1, reason="HTTP 500")
    store_run(
        report,
        ago=200,
        state=RunState.SKIPPED,
        reason="The run before it was not over.",
    )
    return BelievableRuns(
        store_run(report, ago=20, state=RunState.SUCCEEDED),
        store_retried_run(invoices, ago=12),
        store_run(invoices, ago=70, reason="Connection refused"),
        store_run(
            report,
            ago=240,
            state=RunState.MISSED,
            reason="Passed while nobody could fire it.",
        ),
        store_live_run(cache, RunState.RETRYING, reason="HTTP 429"),
    )
