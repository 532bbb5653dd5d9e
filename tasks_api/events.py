"""Tell Flower what became of each run, under the run's own id.

A message carries many runs, so Celery's own events would show messages. The worker
tells of runs instead, in the same event protocol, many events in one message. Nothing
that a tenant sent is in them: the target's host, and the ids of run, task and tenant.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

import redis
from celery import current_app
from celery.events.event import get_exchange
from celery.utils.time import utcoffset
from kombu.exceptions import OperationalError

from tasks_api.delivery.record import Finished
from tasks_api.delivery.retry import GiveUp, Release, RetryAfter

logger = logging.getLogger(__name__)

# The name under which Flower lists runs.
NAME = "deliver"
SUCCEEDED = "task-succeeded"


def publish(hostname: str, items: Iterable[Finished]) -> None:
    """Tell of finished runs in one message. Losing it costs nothing but lines in Flower."""
    told = events_of(items)
    if not told:
        return
    same = {
        "hostname": hostname,
        "pid": os.getpid(),
        "utcoffset": utcoffset(),
        "timestamp": time.time(),
        "local_received": time.time(),
        "clock": current_app.clock.forward(),  # type: ignore[attr-defined]  # missing in the stubs
    }
    try:
        with current_app.amqp.producer_pool.acquire(block=True) as producer:
            exchange = get_exchange(producer.connection)
            # Celery's own dispatcher takes as long for each event as a request does.
            producer.publish(
                [same | event for event in told],
                exchange=exchange.name,
                routing_key="task.multi",
                declare=[exchange],
                serializer="json",
                headers={"hostname": hostname},
                delivery_mode=1,
                retry=False,
            )
    except (OperationalError, OSError, redis.RedisError) as error:
        logger.debug("Events were lost: %s", error)


def events_of(items: Iterable[Finished]) -> list[dict[str, object]]:
    """An event for each run, without what is the same in all of them."""
    return [_event(item) for item in items if not isinstance(item.verdict, Release)]


def _event(item: Finished) -> dict[str, object]:
    run, started = item.run, item.started_at.timestamp()
    type_, result = _result(item)
    # One event tells the whole life; Flower takes the moments from it.
    return {
        "type": type_,
        "uuid": str(run.run_id),
        "name": NAME,
        "args": _target(run.method, run.url, run.queue),
        "kwargs": f"{{'task': '{run.task_id}', 'tenant': {run.tenant_id}}}",
        "retries": run.number - 1,
        "received": started,
        "started": started,
        "runtime": item.outcome.duration_ms / 1000,
        # As the exception too, which is where Flower looks first when a run failed.
        "exception": None if type_ == SUCCEEDED else result,
        "result": result,
    }


def _result(item: Finished) -> tuple[str, str]:
    match item.verdict:
        case GiveUp(reason=reason):
            return "task-failed", reason
        case RetryAfter(reason=reason):
            return "task-retried", reason
    status = item.outcome.status_code
    return SUCCEEDED, "queued" if status is None else f"HTTP {status}"


@lru_cache(maxsize=10_000)
def _target(method: str, url: str, queue: str) -> str:
    if queue:
        return "(a pull queue)"
    return f"({method} {host_of(url) or 'the callback URL'})"


def host_of(url: str) -> str:
    """The host of a target and its port, without anything that may be a secret."""
    return urlsplit(url).netloc.rpartition("@")[2]
