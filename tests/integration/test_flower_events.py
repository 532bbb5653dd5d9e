"""Flower hears of each run under its own id, and of nothing that a tenant sent."""

from __future__ import annotations

import json
import threading
import uuid

import pytest
import redis
from celery import current_app
from celery.events.state import State
from django.conf import LazySettings
from django.utils import timezone

from scheduler_service.redis.connections import redis_client_url
from tasks_api import tasks
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import judge
from tasks_api.messaging import broker
from tasks_api.worker import flower_events
from tasks_api.worker.record import AttemptResult

SECRET_URL = "https://user:hunter2@api.example.com:8443/hook?token=hunter2"
SECRET_BODY = '{"card": "hunter2"}'


def finished(outcome: HttpResult) -> AttemptResult:
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


def test_flowers_picture_of_a_run_is_right() -> None:
    good = finished(HttpResult(200, "", 12))
    bad = finished(HttpResult(None, "connection refused", 3))
    state = State()
    heard = threading.Event()

    def listen() -> None:
        with current_app.connection_for_read() as connection:
            receiver = current_app.events.Receiver(connection)

            def hear(event: dict) -> None:
                state.event(event)
                if len(state.tasks) == 2:
                    heard.set()
                    receiver.should_stop = True

            receiver.handlers = {"*": hear}
            receiver.capture(timeout=20, wakeup=False)

    thread = threading.Thread(target=listen)
    thread.start()
    # Again until it is heard: the listener subscribes when it first listens.
    for _ in range(50):
        flower_events.publish_events("worker-1@here", [good, bad])
        if heard.wait(0.2):
            break
    thread.join()

    success = state.tasks[str(good.run.run_id)]
    failure = state.tasks[str(bad.run.run_id)]
    assert (success.state, success.result) == ("SUCCESS", "HTTP 200")
    assert success.runtime == 0.012
    assert success.worker.hostname == "worker-1@here"
    assert success.args == "(POST api.example.com:8443)"
    assert (failure.state, failure.exception) == ("FAILURE", "connection refused")


def test_no_event_holds_what_a_tenant_sent() -> None:
    told = flower_events.encode_events(
        [finished(HttpResult(500, "", 1, b"hunter2"))], "here"
    )
    assert json.loads(told)

    assert "hunter2" not in told


def test_a_run_that_was_given_back_is_not_told_of() -> None:
    given_back = finished(HttpResult(None, "", 0, was_sent=False))

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
    broker.try_out(settings.REDIS_URL)


def test_a_redis_that_cannot_be_asked_is_no_reason_not_to_start(
    settings: LazySettings,
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"

    tasks._check_broker()
