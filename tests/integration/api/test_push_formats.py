"""What the push formats have in common: one core, and requests as each document wants them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.states import Stage
from tasks_api.models import Message, Run, Task
from tasks_api.services import tasks
from tasks_api.storage.stored_schedules import SCHEDULE_COLUMNS
from tasks_api.worker.engine import Engine
from tests.conftest import ClientFor
from tests.integration.conftest import ResultLog
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

PAYLOAD = {"z": 1, "a": [None]}


def fire_run(engine: Engine, recorded: ResultLog) -> Run:
    """Deliver the only task there is, now."""
    Task.objects.update(next_fire_at=timezone.now())
    engine.ring()
    recorded.wait_for(1)
    return Run.objects.get()


# The same sentence, "every day at three, post this there", in each format that has words
# for it.
DAILY: dict[str, tuple[str, dict[str, Any]]] = {
    "tasks": (
        "/tasks/",
        {
            "task_type": "periodic",
            "cron": "0 3 * * *",
            "url": "http://example.com/hook",
            "post_data": PAYLOAD,
        },
    ),
    "cron jobs": (
        "/",
        {
            "id": "daily",
            "cron": "0 3 * * *",
            "endpoint": "http://example.com/hook",
            "payload": PAYLOAD,
        },
    ),
}
# "At this moment, post this there."
ONCE: dict[str, tuple[str, dict[str, Any]]] = {
    "tasks": (
        "/tasks/",
        {
            "task_type": "one_time",
            "run_datetime": "2090-01-01T03:00:00Z",
            "url": "http://example.com/hook",
            "post_data": PAYLOAD,
        },
    ),
    "rest jobs": (
        "/api/v1/jobs",
        {
            "task": {
                "method": "POST",
                "uri": "http://example.com/hook",
                "body": PAYLOAD,
                "expected_range": "100-399",
            },
            "schedule": "2090-01-01T03:00:00Z",
        },
    ),
}
TIMES = ("method", "url", "body", "next_fire_at", *SCHEDULE_COLUMNS)


@pytest.mark.parametrize("sentence", [DAILY, ONCE], ids=["daily", "once"])
def test_every_format_makes_the_same_task(
    api: APIClient, sentence: dict[str, tuple[str, dict[str, Any]]]
) -> None:
    for path, body in sentence.values():
        assert api.post(path, body, format="json").status_code in {201, 202}

    made = list(Task.objects.values_list(*TIMES))
    assert len(made) == len(sentence)
    assert len(set(made)) == 1


@pytest.mark.parametrize(
    ("moment", "path", "body"),
    [
        ("once", "/insert", {"timestamp": "2090-01-01T03:00:00Z", "body": PAYLOAD}),
        ("daily", "/cron", {"jobs": [{"id": "daily", "spec": "0 3 * * *"}]}),
    ],
)
def test_timers_make_it_too_but_for_their_envelope(
    api: APIClient, moment: str, path: str, body: dict[str, Any]
) -> None:
    like, words = {"daily": DAILY, "once": ONCE}[moment]["tasks"]
    api.post(like, words, format="json")
    accounts.configure_tenant(
        "Alpha", callback_url="http://example.com/hook", shared_secret="s3cret"
    )

    answer = api.post(path, body, format="json", HTTP_SCHEDULER_SECRET="s3cret")

    times = Task.objects.values_list("method", "next_fire_at", *SCHEDULE_COLUMNS)
    assert answer.status_code == 200
    assert len(times) == 2
    assert len(set(times)) == 1


def test_a_cron_jobs_payload_is_posted_unchanged(
    user: User,
    client_for: ClientFor,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
) -> None:
    payload = '{"z": 1.10, "a": 12345678901234567890, "ü": "\\u2028"}'
    endpoint = f"{receiver.url}/job"
    raw = f'{{"id": "a", "cron": "@daily", "endpoint": "{endpoint}", "payload": {payload}}}'
    client_for(user).post("/", raw, content_type="application/json")

    run = fire_run(engine, recorded)

    [request] = receiver.wait_for(1)
    assert run.state == "succeeded"
    assert (request.method, request.path) == ("POST", "/job")
    assert (
        request.body.decode() == '{"z": 1.10, "a": 12345678901234567890, "ü": "\u2028"}'
    )


def test_a_timer_is_delivered_with_the_secret(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    api = timers_of(user, receiver)
    new = api.post(
        "/insert",
        {"timestamp": "2090-01-01T00:00:00Z", "body": {"foo": "bar"}},
        format="json",
    ).json()["id"]

    run = fire_run(engine, recorded)

    [request] = receiver.wait_for(1)
    assert run.state == "succeeded"
    assert request.headers["scheduler-secret"] == "s3cret"
    assert request.path == "/sched"
    assert json.loads(request.body) == {
        "id": new,
        "cron_id": "",
        "body": {"foo": "bar"},
    }


def test_a_cron_timer_is_delivered_without_a_body(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    api = timers_of(user, receiver)
    api.post("/cron", {"jobs": [{"id": "hello", "spec": "@daily"}]}, format="json")

    fire_run(engine, recorded)

    [request] = receiver.wait_for(1)
    assert json.loads(request.body) == {"id": "", "cron_id": "hello"}
    assert Task.objects.get().ended_at is None


def test_a_timer_goes_where_the_tenant_is_now(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    api = timers_of(user, receiver)
    api.post("/insert", {"timestamp": "2090-01-01T00:00:00Z"}, format="json")
    accounts.configure_tenant(
        "Alpha", callback_url=f"{receiver.url}/moved", shared_secret="rotated"
    )

    fire_run(engine, recorded)

    [request] = receiver.wait_for(1)
    assert request.path == "/moved"
    assert request.headers["scheduler-secret"] == "rotated"


def test_a_timer_without_an_endpoint_fails_and_says_so(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    api = timers_of(user, receiver)
    api.post("/insert", {"timestamp": "2090-01-01T00:00:00Z"}, format="json")
    accounts.configure_tenant("Alpha", callback_url="")

    run = fire_run(engine, recorded)

    assert (run.state, run.attempt_count) == ("failed", 1)
    assert run.reason == "could not be built: the tenant has no callback URL"


def test_a_failed_timer_is_gone(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/sched", status=500)
    timers_of(user, receiver).post(
        "/insert", {"timestamp": "2090-01-01T00:00:00Z"}, format="json"
    )

    run = fire_run(engine, recorded)

    assert run.state == "failed"
    assert Task.objects.get().ended_at is not None


def timers_of(user: User, receiver: Receiver) -> APIClient:
    accounts.configure_tenant(
        "Alpha", callback_url=f"{receiver.url}/sched", shared_secret="s3cret"
    )
    api = APIClient()
    api.credentials(HTTP_SCHEDULER_SECRET="s3cret")
    return api


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("GET", b""),
        ("HEAD", b""),
        ("POST", b'{"n": 1}'),
        ("PUT", b'{"n": 1}'),
        ("PATCH", b'{"n": 1}'),
        ("DELETE", b'{"n": 1}'),
        ("OPTIONS", b'{"n": 1}'),
    ],
)
def test_a_rest_job_is_sent_by_its_method(
    user: User,
    client_for: ClientFor,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    method: str,
    body: bytes,
) -> None:
    job = rest_job(receiver, method=method)
    link = client_for(user).post("/api/v1/jobs", job, format="json").json()["link"]

    fire_run(engine, recorded)

    [request] = receiver.wait_for(1)
    assert (request.method, request.body) == (method, body)
    assert ("content-type" in request.headers) == bool(body)
    assert client_for(user).get(link).json()["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("expected", "status", "shown"),
    [
        ("200-300", 200, "SUCCESS"),
        ("200-300", 300, "SUCCESS"),
        ("200-299", 300, "ERROR"),
        ("404-404", 404, "SUCCESS"),
        ("404-404", 200, "ERROR"),
        ("300-399", 302, "SUCCESS"),
        ("599-500", 503, "SUCCESS"),
    ],
)
def test_a_rest_jobs_status_follows_its_range(
    user: User,
    client_for: ClientFor,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    expected: str,
    status: int,
    shown: str,
) -> None:
    receiver.answer("/rest", status=status)
    job = rest_job(receiver, expected_range=expected)
    link = client_for(user).post("/api/v1/jobs", job, format="json").json()["link"]

    fire_run(engine, recorded)

    assert client_for(user).get(link).json()["status"] == shown


def rest_job(receiver: Receiver, **changes: str) -> dict[str, Any]:
    task = {
        "method": "POST",
        "uri": f"{receiver.url}/rest",
        "body": {"n": 1},
        "expected_range": "200-299",
    }
    return {"task": {**task, **changes}, "schedule": "now"}


def test_a_task_for_a_queue_becomes_a_message(
    user: User, engine: Engine, recorded: ResultLog
) -> None:
    now = timezone.now()
    spec = TaskSpec(Surface.TASKS, "", Once(now), '{"n": 1.10}', queue="work")
    task = tasks.create_task(user, spec, now=now)

    run = fire_run(engine, recorded)

    message = Message.objects.get()
    task.refresh_from_db()
    assert (run.state, task.end_reason) == ("succeeded", "completed")
    assert (message.queue, message.name) == ("work", str(run.pk))
    assert (message.payload, message.run_at) == ('{"n": 1.10}', run.scheduled_for)
    assert message.max_retries < 0


def test_a_queue_task_that_is_delivered_twice_makes_one_message(
    user: User, engine: Engine, recorded: ResultLog
) -> None:
    now = timezone.now()
    spec = TaskSpec(Surface.TASKS, "", Once(now), "{}", queue="work")
    tasks.create_task(user, spec, now=now)
    run = fire_run(engine, recorded)
    Task.objects.update(ended_at=None)
    type(run.task.periodic_task).objects.update(enabled=True)
    Run.objects.update(
        state="pending",
        stage=Stage.LIVE,
        finished_at=None,
        wake_at=now - timedelta(seconds=1),
    )

    engine.ring()
    recorded.wait_for(2)

    assert Message.objects.count() == 1
