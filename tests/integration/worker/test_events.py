"""Flower hears of each run under its own id, and of nothing that a tenant sent."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery, current_app
from celery.events.state import State
from django.conf import LazySettings

from scheduler_service.redis.connections import redis_client_url
from tasks_api import tasks
from tasks_api.delivery.request import HttpResult
from tasks_api.messaging import broker
from tasks_api.worker import flower_events
from tasks_api.worker.flower_publisher import MAX_WAITING_BATCHES, EventPublisher
from tasks_api.worker.record import AttemptResult
from tests.integration.support.attempt_results import attempt_result


class WatchedBatch(list[AttemptResult]):
    """A batch of one result that knows whether its events were built."""

    def __init__(self) -> None:
        super().__init__([attempt_result(HttpResult(200, "", 12))])
        self.is_read = False

    def __iter__(self) -> Iterator[AttemptResult]:
        self.is_read = True
        return super().__iter__()


def test_flowers_picture_of_a_run_is_right() -> None:
    events = EventPublisher(current_app)
    good = attempt_result(HttpResult(200, "", 12))
    bad = attempt_result(HttpResult(None, "connection refused", 3))
    state = State()
    heard = threading.Event()

    def listen() -> None:
        with current_app.connection_for_read() as connection:
            receiver = current_app.events.Receiver(connection)

            def hear(event: dict[str, Any]) -> None:
                state.event(event)
                if len(list(state.itertasks())) == 2:
                    heard.set()
                    receiver.should_stop = True

            receiver.handlers = {"*": hear}
            receiver.capture(timeout=20, wakeup=False)

    thread = threading.Thread(target=listen)
    thread.start()
    # Again until it is heard: the listener subscribes when it first listens.
    for _ in range(50):
        events.add("worker-1@here", [good, bad])
        if heard.wait(0.2):
            break
    thread.join()
    events.close(grace=20)

    by_id = dict(state.itertasks())
    success = by_id[str(good.run.run_id)]
    failure = by_id[str(bad.run.run_id)]
    assert (success.state, success.result) == ("SUCCESS", "HTTP 200")
    assert success.runtime == 0.012
    assert success.worker is not None
    assert success.worker.hostname == "worker-1@here"
    assert success.args == "(POST api.example.com:8443)"
    assert (failure.state, failure.exception) == ("FAILURE", "connection refused")


def test_no_event_is_built_while_nobody_listens() -> None:
    batch, events = WatchedBatch(), EventPublisher(current_app)

    events.add("here", batch)
    events.close(grace=20)

    assert not batch.is_read


def test_a_broker_that_counts_no_listeners_gets_every_event() -> None:
    app = Celery(broker="memory://", set_as_current=False)
    batch, events = WatchedBatch(), EventPublisher(app)

    events.add("here", batch)
    events.close(grace=20)

    assert batch.is_read


def test_a_broker_that_never_answers_delays_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        app = Celery(
            broker=url,
            broker_transport_options={"max_retries": 1},
            set_as_current=False,
        )
        events = EventPublisher(app)
        events.add("here", [attempt_result(HttpResult(200, "", 12))])
        connection, _ = silent.accept()

        # Its thread waits for the broker, and no timeout of this app ends that.
        batches = [WatchedBatch() for _ in range(MAX_WAITING_BATCHES + 1)]
        for batch in batches:
            events.add("here", batch)
        connection.close()

    events.close(grace=20)
    assert not any(batch.is_read for batch in batches)


def test_no_event_holds_what_a_tenant_sent() -> None:
    told = flower_events.encode_events(
        [attempt_result(HttpResult(500, "", 1, b"hunter2"))], "here"
    )
    assert json.loads(told)

    assert "hunter2" not in told


def test_a_run_that_was_given_back_makes_no_event() -> None:
    given_back = attempt_result(HttpResult(None, "", 0, was_sent=False))

    assert flower_events.encode_events([given_back], "here") == flower_events.NO_EVENTS


def test_a_redis_that_evicts_is_refused(settings: LazySettings) -> None:
    client = redis.Redis.from_url(redis_client_url(settings.REDIS_URL))
    try:
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(SystemExit, match="noeviction"):
            tasks._check_broker()
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()
    broker.check_usable(settings.REDIS_URL)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9/0", "amqp://127.0.0.1:9//"])
def test_a_broker_that_cannot_be_asked_is_no_reason_not_to_start(
    settings: LazySettings, url: str
) -> None:
    settings.CELERY_BROKER_URL = url

    tasks._check_broker()
