"""Deliver runs into pull queues: store a message for each, and judge the run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from tasks_api.delivery import retry
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.services import pull_queue
from tasks_api.worker import run_events
from tasks_api.worker.record import AttemptResult

# Seconds that a consumer may be silent about a message that a task put into its queue.
MESSAGE_TIMEOUT = 30


def enqueue(runs: Sequence[ClaimedRun], now: datetime) -> list[AttemptResult]:
    """Write the messages and the verdicts, or neither."""
    results = [
        AttemptResult(run, HttpResult(None, "", 0), retry.Succeed(), now)
        for run in runs
    ]
    with transaction.atomic():
        pull_queue.enqueue_of_runs([_make_message(run) for run in runs])
        run_events.record(results)
    return results


def _make_message(run: ClaimedRun) -> pull_queue.NewMessage:
    return pull_queue.NewMessage(
        tenant_id=run.tenant_id,
        queue=run.queue,
        name=str(run.run_id),
        timeout_seconds=MESSAGE_TIMEOUT,
        max_retries=pull_queue.UNLIMITED_RETRIES,
        payload=run.body,
        run_at=run.scheduled_for,
    )
