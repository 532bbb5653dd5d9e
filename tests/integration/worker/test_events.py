"""Flower hears of each run under its own id, and of nothing that a tenant sent."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import redis
from celery import current_app
from celery.events.state import State
from django.conf import LazySettings

from scheduler_service.redis.connections import redis_client_url
from tasks_api import tasks
from tasks_api.delivery.request import Outcome
from tasks_api.messaging import broker
from tasks_api.worker import flower_events
from tests.integration.support.attempt_results import attempt_result


def test_flowers_picture_of_a_run_is_right() -> None:
    good = attempt_result(Outcome(200, "", 12))
    bad = attempt_result(Outcome(None, "connection refused", 3))
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
        flower_events.publish("worker-1@here", [good, bad])
        if heard.wait(0.2):
            break
    thread.join()

    by_id = dict(state.itertasks())
    success = by_id[str(good.run.run_id)]
    failure = by_id[str(bad.run.run_id)]
    assert (success.state, success.result) == ("SUCCESS", "HTTP 200")
    assert success.runtime == 0.012
    assert success.worker is not None
    assert success.worker.hostname == "worker-1@here"
    assert success.args == "(POST api.example.com:8443)"
    assert (failure.state, failure.exception) == ("FAILURE", "connection refused")


def test_no_event_holds_what_a_tenant_sent() -> None:
    told = flower_events.events_of(
        [attempt_result(Outcome(500, "", 1, b"hunter2"))], "here"
    )
    assert json.loads(told)

    assert "hunter2" not in told


def test_a_run_that_was_given_back_makes_no_event() -> None:
    given_back = attempt_result(Outcome(None, "", 0, was_sent=False))

    assert flower_events.events_of([given_back], "here") == flower_events.NOTHING


def test_a_redis_that_evicts_is_refused(settings: LazySettings) -> None:
    client = redis.Redis.from_url(redis_client_url(settings.REDIS_URL))
    try:
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(SystemExit, match="noeviction"):
            tasks._refuse_broker()
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()
    broker.check_usable(settings.REDIS_URL)


def test_a_redis_that_cannot_be_asked_is_no_reason_not_to_start(
    settings: LazySettings,
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"

    tasks._refuse_broker()
