"""Tell Flower what became of each run, under the run's own id.

A message carries many runs, so Celery's own events would show messages. The worker
tells of runs instead, in the same event protocol, many events in one message. Nothing
that a tenant sent is in them: the target's host, and the ids of run, task and tenant.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable
from functools import lru_cache

import redis
from celery import current_app
from celery.events.event import get_exchange
from celery.utils.time import utcoffset
from kombu.exceptions import OperationalError

from tasks_api.delivery.retry import GiveUp, KeepOpen, PassOn, Release, RetryAfter
from tasks_api.domain.guard import host_of
from tasks_api.worker.record import AttemptResult

logger = logging.getLogger(__name__)

# The name under which Flower lists runs.
TASK_NAME = "deliver"
SUCCEEDED = "task-succeeded"
STARTED = "task-started"
NO_EVENTS = "[]"


def publish_events(hostname: str, items: Iterable[AttemptResult]) -> None:
    """Tell of finished runs in one message. Losing it costs nothing but lines in Flower."""
    told = encode_events(items, hostname)
    if told == NO_EVENTS:
        return
    try:
        with current_app.amqp.producer_pool.acquire(block=True) as producer:
            exchange = get_exchange(producer.connection)
            producer.publish(
                told,
                content_type="application/json",
                content_encoding="utf-8",
                exchange=exchange.name,
                routing_key="task.multi",
                declare=[exchange],
                headers={"hostname": hostname},
                delivery_mode=1,
                retry=False,
            )
    except (OperationalError, OSError, redis.RedisError) as error:
        logger.debug("Events were lost: %s", error)


def encode_events(items: Iterable[AttemptResult], hostname: str) -> str:
    """A JSON array with an event for each run, as Celery's event protocol wants it.

    Written here and not by Celery's dispatcher, which takes as long for an event as a
    request takes.
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
    # With more digits than a moment has, writing it would take three times as long.
    started = f"{item.started_at.timestamp():.6f}"
    type_, result = _describe_result(item)
    told = _quote(result)
    # One event tells the whole life; Flower takes the moments from it. What went wrong
    # is the exception, and the result as well, because Flower's list has a column for
    # that.
    return (
        f'{{"type":"{type_}","uuid":"{run.run_id}",'
        f'"args":{_describe_target(run.method, run.url, run.queue)},'
        f"\"kwargs\":\"{{'task': '{run.task_id}', 'tenant': {run.tenant_id}}}\","
        f'"retries":{run.number - 1},"received":{started},"started":{started},'
        f'"runtime":{item.result.duration_ms / 1000},"result":{told},'
        f'"exception":{"null" if type_ in (SUCCEEDED, STARTED) else told},{same}}}'
    )


def _describe_result(item: AttemptResult) -> tuple[str, str]:
    match item.verdict:
        case GiveUp(reason=reason):
            return "task-failed", reason
        case RetryAfter(reason=reason):
            return "task-retried", reason
        case KeepOpen():
            return STARTED, "at work"
    status = item.result.status_code
    return SUCCEEDED, "queued" if status is None else f"HTTP {status}"


@lru_cache(maxsize=1000)
def _quote(text: str) -> str:
    return json.dumps(text)


@lru_cache(maxsize=10_000)
def _describe_target(method: str, url: str, queue: str) -> str:
    """What is called, as a JSON string."""
    if queue:
        return _quote("(a pull queue)")
    return _quote(f"({method} {host_of(url) or 'the callback URL'})")
