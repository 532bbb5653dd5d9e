"""Results of attempts whose task sent secrets."""

from __future__ import annotations

import uuid

from django.utils import timezone

from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import judge
from tasks_api.worker.record import AttemptResult

SECRET_URL = "https://user:hunter2@api.example.com:8443/hook?token=hunter2"


SECRET_BODY = '{"card": "hunter2"}'


def attempt_result(outcome: HttpResult) -> AttemptResult:
    run = ClaimedRun(
        run_id=uuid.uuid4(),
        task_id=uuid.uuid4(),
        tenant_id=7,
        scheduled_for=timezone.now(),
        number=1,
        method="POST",
        url=SECRET_URL,
        body=SECRET_BODY,
        lease=uuid.uuid4(),
    )
    return AttemptResult(
        run, outcome, judge(outcome, run, now=timezone.now()), timezone.now()
    )
