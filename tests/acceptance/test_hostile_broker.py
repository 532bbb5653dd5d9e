"""Whoever can write to Redis can neither end a worker, nor stop it, nor fire tasks."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from scheduler_service.embedded import redis_client_url
from tests.acceptance.harness import Harness, eventually
from tests.acceptance.test_processes import one_time, soon
from tests.receiver import Receiver

QUEUE = "deliver"
DELIVER = "tasks_api.tasks.deliver"
FIRE = "tasks_api.tasks.fire"
NO_END = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def message(
    body: Any, *, encoding: str = "utf-8", without: str = "", **headers: Any
) -> str:
    """As kombu stores it in Redis; `body` is text, or else what JSON is made of."""
    text = body if isinstance(body, str) else json.dumps(body)
    written = {
        "body": base64.b64encode(text.encode("latin-1")).decode(),
        "content-encoding": encoding,
        "content-type": "application/json",
        "headers": {"task": DELIVER, "id": str(uuid.uuid4())} | headers,
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_mode": 2,
            "delivery_tag": str(uuid.uuid4()),
            "priority": 0,
        },
    }
    written.pop(without, None)
    return json.dumps(written)


HOSTILE: list[str | bytes] = [
    "",
    "{",
    "{}",
    "[]",
    "7",
    "null",
    b"\xff\xfe",
    message([[[]], {}, NO_END], without="headers"),
    message([[[]], {}, NO_END], without="properties"),
    message("garbage"),
    message("\xff\xfe"),
    message("{}"),
    message("[]"),
    message([[], {}, NO_END]),
    message([[5], {}, NO_END]),
    message([[["x", 5, None]], {}, NO_END]),
    message([[[]], {"more": 1}, NO_END]),
    message([[[]], [], NO_END]),
    message([[[]], {}, [1]]),
    message([[[]], {}, NO_END | {"chain": [{"task": FIRE}]}]),
    message([[[]], {}, NO_END], encoding="no such thing"),
    message([[[]], {}, NO_END], task="no.such.task"),
    message([[[]], {}, NO_END], task="celery.starmap"),
    message([[[]], {}, NO_END], task=7),
    message([[[]], {}, NO_END], id=None),
    message([[[]], {}, NO_END], eta="tomorrow"),
    message([[[]], {}, NO_END], expires="tomorrow"),
    message([[[]], {}, NO_END], expires=[1]),
    message([[[]], {}, NO_END], retries="many"),
    message([[[]], {}, NO_END], timelimit=3),
    message([[[]], {}, NO_END], compression="application/x-gzip"),
]


@pytest.fixture
def broker(harness: Harness) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_client_url(harness.redis.url)) as client:
        yield client


@pytest.fixture
def stranger(harness: Harness) -> Iterator[Celery]:
    """Somebody with the address of the broker, and nothing of ours."""
    app = Celery("stranger", broker=harness.redis.url, set_as_current=False)
    yield app
    app.close()


def test_no_message_ends_a_worker_or_keeps_it_from_its_work(
    harness: Harness, target: Receiver, broker: redis.Redis
) -> None:
    worker, beat = harness.start_part("worker"), harness.start_part("beat")
    eventually(harness.is_ready)

    for hostile in HOSTILE:
        broker.lpush(QUEUE, hostile)
    broker.hset("unacked", "tag", "garbage")
    broker.zadd("unacked_index", {"tag": 1})
    broker.publish("/0.celery.pidbox", "garbage")
    broker.publish("/0.celery.pidbox", "{}")
    eventually(lambda: broker.llen(QUEUE) == 0)
    one_time(harness, target.url + "/hook", soon(1))
    target.wait_for(1)

    assert worker.poll() is None
    log = (harness.home / "worker.log").read_text()
    assert log.count("A message that cannot be read was dropped") >= len(HOSTILE) - 2
    assert "Traceback" not in log
    eventually(lambda: broker.zscore("unacked_index", "tag") is None)
    assert broker.hlen("unacked") == 0
    for process in (worker, beat):
        harness.stop_process(process, 15)


def test_nobody_steers_a_worker_through_the_broker(
    harness: Harness, target: Receiver, broker: redis.Redis, stranger: Celery
) -> None:
    worker, beat = harness.start_part("worker"), harness.start_part("beat")
    eventually(harness.is_ready)
    control, inspect = stranger.control, stranger.control.inspect(timeout=2)

    control.cancel_consumer(QUEUE)
    control.rate_limit(DELIVER, "1/h")
    control.pool_shrink(4)
    control.shutdown()
    control.broadcast("no_such_command", {"line": "1\n2"})
    paused = one_time(harness, target.url + "/paused", soon(600))
    harness.api.post(f"{harness.url}/tasks/{paused}/pause/", timeout=5)
    broker.lpush(QUEUE, message([[paused], {}, NO_END], task=FIRE))
    [settings] = eventually(lambda: inspect.conf()).values()
    one_time(harness, target.url + "/hook", soon(1))
    eventually(lambda: broker.llen(QUEUE) == 0)
    requests = target.wait_for(1)

    assert worker.poll() is None
    assert settings == {}
    assert "Traceback" not in (harness.home / "worker.log").read_text()
    assert [each.path for each in requests] == ["/hook"]
    assert list(inspect.stats().values())
    assert list(inspect.active_queues().values())
    for process in (worker, beat):
        harness.stop_process(process, 15)
