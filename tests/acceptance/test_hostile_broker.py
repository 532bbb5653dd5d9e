"""A client that can write to Redis can neither end a worker, nor stop it, nor fire tasks."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import redis
from celery import Celery

from scheduler_service.redis.connections import redis_client_url
from tests.acceptance.harness import Harness, eventually
from tests.acceptance.tasks import create_task_at, in_seconds
from tests.broker_messages import (
    DELIVER_TASK,
    QUEUE,
    UNREADABLE_MESSAGES,
    build_fire_message,
)
from tests.receiver import Receiver


@pytest.fixture
def broker(harness: Harness) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_client_url(harness.redis.url)) as client:
        yield client


@pytest.fixture
def stranger(harness: Harness) -> Iterator[Celery]:
    """A Celery application that knows the address of the broker."""
    app = Celery("stranger", broker=harness.redis.url, set_as_current=False)
    yield app
    app.close()


def count_dropped(harness: Harness) -> int:
    log = (harness.home / "worker.log").read_text()
    return log.count("A message that cannot be read was dropped")


def test_no_message_ends_a_worker_or_keeps_it_from_its_work(
    harness: Harness, target: Receiver, broker: redis.Redis
) -> None:
    worker, beat = harness.start_part("worker"), harness.start_part("beat")
    eventually(harness.is_ready)

    for message in UNREADABLE_MESSAGES:
        broker.lpush(QUEUE, message)
    broker.hset("unacked", "tag", "garbage")
    broker.zadd("unacked_index", {"tag": 1})
    broker.publish("/0.celery.pidbox", "garbage")
    broker.publish("/0.celery.pidbox", "{}")
    eventually(lambda: broker.llen(QUEUE) == 0)
    create_task_at(harness, target.url + "/hook", in_seconds(1))
    target.wait_for(1)

    assert worker.poll() is None
    eventually(lambda: count_dropped(harness) >= len(UNREADABLE_MESSAGES) - 2)
    eventually(lambda: broker.zscore("unacked_index", "tag") is None)
    eventually(lambda: broker.hlen("unacked") == 0)
    assert "Traceback" not in (harness.home / "worker.log").read_text()
    for process in (worker, beat):
        harness.stop_process(process, signal.SIGTERM)


def test_a_stranger_at_the_broker_controls_no_worker(
    harness: Harness, target: Receiver, broker: redis.Redis, stranger: Celery
) -> None:
    worker, beat = harness.start_part("worker"), harness.start_part("beat")
    eventually(harness.is_ready)
    control, inspect = stranger.control, stranger.control.inspect(timeout=2)

    control.cancel_consumer(QUEUE)
    control.rate_limit(DELIVER_TASK, "1/h")
    control.pool_shrink(4)
    control.shutdown()
    control.broadcast("no_such_command", {"line": "1\n2"})
    paused = create_task_at(harness, target.url + "/paused", in_seconds(600))
    harness.api.post(f"{harness.url}/tasks/{paused}/pause/", timeout=5)
    broker.lpush(QUEUE, build_fire_message(paused))
    [settings] = eventually(lambda: inspect.conf()).values()
    create_task_at(harness, target.url + "/hook", in_seconds(1))
    eventually(lambda: broker.llen(QUEUE) == 0)
    requests = target.wait_for(1)

    assert worker.poll() is None
    assert settings == {}
    assert "Traceback" not in (harness.home / "worker.log").read_text()
    assert [each.path for each in requests] == ["/hook"]
    # On a busy machine an answer may take longer than `inspect` waits for it.
    eventually(inspect.stats)
    eventually(inspect.active_queues)
    for process in (worker, beat):
        harness.stop_process(process, signal.SIGTERM)
