"""Describe results of runs to Flower, as events under the runs' own ids.

A Celery message carries many runs, so Celery's own events would show messages. The worker
publishes events of runs instead, in the same protocol, many in one message. They contain
nothing that a tenant sent: only the target's host, and the ids of run, task and tenant.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from functools import lru_cache

from celery import current_app
from celery.utils.time import utcoffset

from tasks_api.delivery.retry import (
    Cancel,
    GiveUp,
    KeepOpen,
    PassOn,
    Release,
    RetryAfter,
)
from tasks_api.domain.guard import host_of
from tasks_api.worker.record import AttemptResult

# The name under which Flower lists runs.
TASK_NAME = "deliver"
SUCCEEDED = "task-succeeded"
STARTED = "task-started"
NO_EVENTS = "[]"


def encode_events(items: Iterable[AttemptResult], hostname: str) -> str:
    """A JSON array with an event for each run, as Celery's event protocol wants it.

    Celery's dispatcher is not used, because it takes as long for an event as a request
    takes.
    """
    now = time.time()
    same = json.dumps(
        {
            "name": TASK_NAME,
            "hostname": hostname,
            "pid": os.getpid(),
            "utcoffset": utcoffset(),
            "timestamp": now,
            "clock": current_app.clock.forward(),  # type: ignore[attr-defined]  # missing in the stubs
        }
    )[1:-1]
    events = [
        _encode_event(item, same)
        for item in items
        if not isinstance(item.verdict, Release | PassOn)
    ]
    return f"[{','.join(events)}]"


def _encode_event(item: AttemptResult, same: str) -> str:
    run = item.run
    # Writing all digits of a float would take three times as long.
    started = f"{item.started_at.timestamp():.6f}"
    type_, result = _describe_result(item)
    quoted = _quote(result)
    # One event describes the whole life, and Flower reads the moments from it. An error is
    # the exception, and also the result, because Flower's list has a column for results.
    return (
        f'{{"type":"{type_}","uuid":"{run.run_id}",'
        f'"args":{_describe_target(run.method, run.url, run.queue)},'
        f"\"kwargs\":\"{{'task': '{run.task_id}', 'tenant': {run.tenant_id}}}\","
        f'"retries":{run.number - 1},"received":{started},"started":{started},'
        f'"runtime":{item.result.duration_ms / 1000},"result":{quoted},'
        f'"exception":{"null" if type_ in (SUCCEEDED, STARTED) else quoted},{same}}}'
    )


def _describe_result(item: AttemptResult) -> tuple[str, str]:
    match item.verdict:
        case GiveUp(reason=reason):
            return "task-failed", reason
        case RetryAfter(reason=reason):
            return "task-retried", reason
        case KeepOpen():
            return STARTED, "at work"
        case Cancel(reason=reason):
            return "task-revoked", reason
    status = item.result.status_code
    return SUCCEEDED, "queued" if status is None else f"HTTP {status}"


@lru_cache(maxsize=1000)
def _quote(text: str) -> str:
    return json.dumps(text)


@lru_cache(maxsize=10_000)
def _describe_target(method: str, url: str, queue: str) -> str:
    """The target, as a JSON string."""
    if queue:
        return _quote("(a pull queue)")
    return _quote(f"({method} {host_of(url) or 'the callback URL'})")
