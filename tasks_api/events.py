"""Tell Flower what became of each run, under the run's own id.

A message carries many runs, so Celery's own events would show messages. The worker
tells of runs instead, in the same event protocol, many events in one message. Nothing
that a tenant sent is in them: the target's host, and the ids of run, task and tenant.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import redis
from celery import current_app
from kombu.exceptions import OperationalError

from tasks_api.delivery.record import Finished
from tasks_api.delivery.request import Claimed
from tasks_api.delivery.retry import GiveUp, Release, RetryAfter

logger = logging.getLogger(__name__)

# The name under which Flower lists runs.
NAME = "deliver"


def publish(hostname: str, events: Sequence[dict[str, object]]) -> None:
    """Send events as one message. Losing them costs nothing but a line in Flower."""
    if not events:
        return
    try:
        with current_app.amqp.producer_pool.acquire(block=True) as producer:
            dispatcher = current_app.events.Dispatcher(
                producer.connection,
                hostname,
                channel=producer.channel,
                buffer_while_offline=False,
                buffer_group={"task"},
                buffer_limit=len(events) + 1,
            )
            for event in events:
                dispatcher.send(**event)
            dispatcher.flush()
    except (OperationalError, OSError, redis.RedisError) as error:
        logger.debug("Events were lost: %s", error)


def finished(items: Iterable[Finished]) -> list[dict[str, object]]:
    return [_finished(item) for item in items if not isinstance(item.verdict, Release)]


def _finished(item: Finished) -> dict[str, object]:
    started = item.started_at.timestamp()
    runtime = item.outcome.duration_ms / 1000
    # One event tells the whole life; Flower takes the moments from it.
    event = started_event(item.run, started) | {"runtime": runtime}
    match item.verdict:
        # As the result too, because Flower's list has a column for that.
        case GiveUp(reason=reason):
            return event | {
                "type": "task-failed",
                "exception": reason,
                "result": reason,
            }
        case RetryAfter(reason=reason):
            return event | {
                "type": "task-retried",
                "exception": reason,
                "result": reason,
            }
    status = item.outcome.status_code
    result = "queued" if status is None else f"HTTP {status}"
    return event | {"type": "task-succeeded", "result": result}


def started_event(run: Claimed, started: float) -> dict[str, object]:
    return {
        "type": "task-started",
        "uuid": str(run.run_id),
        "name": NAME,
        "args": f"({_target(run)})",
        "kwargs": f"{{'task': '{run.task_id}', 'tenant': {run.tenant_id}}}",
        "retries": run.number - 1,
        "received": started,
        "started": started,
        "local_received": time.time(),
    }


def _target(run: Claimed) -> str:
    if run.queue:
        return "a pull queue"
    return f"{run.method} {host_of(run.url) or 'the callback URL'}"


def host_of(url: str) -> str:
    """The host of a target and its port, without anything that may be a secret."""
    return urlsplit(url).netloc.rpartition("@")[2]
