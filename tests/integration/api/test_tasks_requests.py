"""What a task's own request looks like at its target, and what its answer does."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.domain.ids import new_id
from tasks_api.models import Attempt, Run, Task
from tasks_api.worker.engine import Engine
from tests.conftest import ClientFor
from tests.integration.conftest import ResultLog
from tests.integration.support.due_tasks import create_due_task, use_secret_keys
from tests.receiver import ReceivedRequest, Receiver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def local(user: User, client_for: ClientFor, settings: LazySettings) -> APIClient:
    """Alpha's user, who may have targets on loopback called."""
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    settings.SCHEDULER_MIN_FREQUENCY = 4
    return client_for(user)


def send_task(
    api: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    **given: Any,
) -> ReceivedRequest:
    create_due_task(api, f"{receiver.url}/job", **given)
    engine.ring()
    recorded.wait_for(1)
    [request] = receiver.wait_for(1)
    return request


@pytest.mark.parametrize(
    ("given", "method", "body", "content_type"),
    [
        ({}, "POST", b"{}", "application/json"),
        ({"method": "get", "post_data": {"a": 1}}, "GET", b"", None),
        ({"method": "HEAD"}, "HEAD", b"", None),
        ({"method": "PUT", "post_data": {"a": 1}}, "PUT", b'{"a": 1}', "application/json"),
        ({"method": "PATCH", "body": [1]}, "PATCH", b"[1]", "application/json"),
        ({"method": "DELETE"}, "DELETE", b"", None),
        ({"method": "DELETE", "body": 1}, "DELETE", b"1", "application/json"),
        ({"method": "OPTIONS"}, "OPTIONS", b"", None),
        ({"body": "<ä/>", "content_type": "text/xml"}, "POST", "<ä/>".encode(), "text/xml"),
        (
            {
                "body": {"a": "1 2"},
                "content_type": "application/x-www-form-urlencoded",
            },
            "POST",
            b"a=1+2",
            "application/x-www-form-urlencoded",
        ),
    ],
)  # fmt: skip
def test_a_request_is_sent_as_it_was_ordered(
    local: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    given: dict[str, Any],
    method: str,
    body: bytes,
    content_type: str | None,
) -> None:
    request = send_task(local, receiver, engine, recorded, **given)

    assert (request.method, request.body) == (method, body)
    assert request.headers.get("content-type") == content_type
    assert Run.objects.get().state == "succeeded"


def test_headers_arrive_and_take_the_place_of_ours(
    local: APIClient, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    own = {
        "X-Api-Key": "s3cret, with; signs",
        "x-empty": "",
        "user-agent": "mine/1.0",
        "CONTENT-TYPE": "application/cloudevents+json",
        "Authorization": "Bearer abc",
    }

    request = send_task(local, receiver, engine, recorded, headers=own)

    for name, value in own.items():
        assert request.headers[name.lower()] == value
    assert request.headers["webhook-id"] == str(Run.objects.get().pk)
    assert request.headers["x-scheduled-for"]


def test_headers_take_the_place_of_ours_however_they_are_spelled(
    local: APIClient, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    request = send_task(
        local, receiver, engine, recorded, headers={"User_Agent": "mine"}
    )

    assert request.headers["user_agent"] == "mine"
    assert "user-agent" not in request.headers


def test_a_timeout_of_its_own_ends_a_request(
    local: APIClient, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/job", delay=3)

    send_task(local, receiver, engine, recorded, timeout_seconds=1)

    assert Run.objects.get().reason == "timed out after 1 s"


@pytest.mark.parametrize(
    ("status", "state"), [(200, "failed"), (204, "succeeded"), (404, "succeeded")]
)
def test_success_is_what_the_task_expects(
    local: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    status: int,
    state: str,
) -> None:
    receiver.answer("/job", status=status, body=b"")

    send_task(local, receiver, engine, recorded, expected_status="204,400-404")

    assert Run.objects.get().state == state


def test_a_key_that_is_rotated_opens_what_a_former_one_sealed(
    local: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    settings: LazySettings,
) -> None:
    former = settings.SECRET_KEY
    with transaction.atomic():
        create_due_task(local, f"{receiver.url}/job", headers={"X-Key": "one"})
        use_secret_keys(settings, "another-key", [former])
        create_due_task(local, f"{receiver.url}/job", headers={"X-Key": "two"})

    engine.ring()
    requests = receiver.wait_for(2)

    assert {request.headers["x-key"] for request in requests} == {"one", "two"}


def test_a_run_whose_headers_cannot_be_opened_fails_with_that_reason(
    local: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    settings: LazySettings,
) -> None:
    with transaction.atomic():
        task = create_due_task(
            local, f"{receiver.url}/job", headers={"X-Key": "never sent"}
        )
        use_secret_keys(settings, "a-key-that-knows-nothing", [])

    engine.ring()
    recorded.wait_for(1)

    run = Run.objects.get(task=task)
    assert run.state == "failed"
    assert run.reason == "could not be built: SECRET_KEY does not open its headers"
    assert receiver.requests == []


def test_headers_are_sealed_anew_when_the_key_rotates(
    local: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    settings: LazySettings,
) -> None:
    with transaction.atomic():
        create_due_task(local, f"{receiver.url}/job", headers={"X-Key": "one"})
        create_due_task(local, f"{receiver.url}/job", timeout_seconds=7)
        use_secret_keys(settings, "another-key", [settings.SECRET_KEY])

        call_command("reencrypt_secrets")
        use_secret_keys(settings, "another-key", [])
    engine.ring()
    requests = receiver.wait_for(2)

    assert {request.headers.get("x-key") for request in requests} == {"one", None}


def test_headers_that_no_key_opens_are_left_and_told_of(
    local: APIClient, receiver: Receiver, settings: LazySettings
) -> None:
    task = create_due_task(local, f"{receiver.url}/job", headers={"X-Key": "one"})
    use_secret_keys(settings, "a-key-that-knows-nothing", [])

    with pytest.raises(CommandError, match="opened by no key"):
        call_command("reencrypt_secrets")

    assert Task.objects.get(pk=task.pk).request == task.request


def test_a_failing_target_is_tried_again_and_each_attempt_is_kept(
    local: APIClient, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/job", status=503)
    # So long that no attempt but those of the test comes by itself.
    retry = {"max_attempts": 3, "min_delay": 60, "max_delay": 120}
    create_due_task(local, f"{receiver.url}/job", retry=retry)
    began = timezone.now()
    engine.ring()

    for number in range(1, 3):
        recorded.wait_for(number)
        run = Run.objects.get()
        assert (run.state, run.reason) == ("retrying", "HTTP 503")
        assert run.wake_at is not None
        least, most = timedelta(seconds=60), timedelta(seconds=120)
        assert began + least <= run.wake_at <= timezone.now() + most
        Run.objects.update(wake_at=timezone.now())
        engine.ring()
    recorded.wait_for(3)

    run = Run.objects.get()
    assert run.state == "failed"
    assert run.reason == "HTTP 503; that was attempt 3, the last one"
    assert Attempt.objects.filter(run=run, status_code=503).count() == 3
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("30", 30, 30), ("100000", 60, 60), ("date", 39, 40), ("soon", 1, 4)],
)
def test_a_target_may_ask_for_patience(
    local: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    asked: str,
    least: float,
    most: float,
) -> None:
    began = timezone.now()
    at = began + timedelta(seconds=40)
    value = f"{at:%a, %d %b %Y %H:%M:%S} GMT" if asked == "date" else asked
    receiver.answer("/job", status=429, headers={"Retry-After": value})

    retry = {"min_delay": 1, "max_delay": 60}
    send_task(local, receiver, engine, recorded, retry=retry)

    run = Run.objects.get()
    assert run.wake_at is not None
    assert began + timedelta(seconds=least) <= run.wake_at
    assert run.wake_at <= timezone.now() + timedelta(seconds=most)


@pytest.mark.parametrize(
    ("value", "state"), [("true", "failed"), ("TRUE ", "failed"), ("false", "retrying")]
)
def test_a_target_may_ask_for_no_retry(
    local: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    value: str,
    state: str,
) -> None:
    receiver.answer("/job", status=503, headers={"X-Scheduler-No-Retry": value})

    send_task(local, receiver, engine, recorded, retry={})

    run = Run.objects.get()
    assert run.state == state
    if state == "failed":
        assert run.reason == "HTTP 503; the target asked for no retry"


def test_a_target_that_is_gone_ends_its_task(
    local: APIClient, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/job", status=410, delay=0.5)
    task = create_due_task(local, f"{receiver.url}/job", retry={}, is_periodic=True)
    engine.ring()
    receiver.wait_for(1)
    now = timezone.now()
    later = now + timedelta(hours=1)
    Run.objects.create(
        id=new_id(), task=task, tenant=task.tenant, scheduled_for=now, wake_at=later
    )

    recorded.wait_for(1)

    gone, waiting = Run.objects.filter(task=task).order_by("scheduled_for")
    assert gone.state == "failed"
    assert gone.reason == "HTTP 410: the target is gone, so the task has ended"
    assert waiting.state == "cancelled"
    assert waiting.reason == "The target of the task is gone (HTTP 410)."
    task.refresh_from_db()
    assert (task.end_reason, task.next_fire_at) == ("gone (HTTP 410)", None)
    assert local.get(f"/tasks/{task.pk}").status_code == 404


@pytest.mark.parametrize("given", [{}, {"retry": {}, "expected_status": "410"}])
def test_a_task_without_retries_or_that_expects_it_outlives_a_410(
    local: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    given: dict[str, Any],
) -> None:
    receiver.answer("/job", status=410)

    send_task(local, receiver, engine, recorded, is_periodic=True, **given)

    assert Task.objects.get().ended_at is None


def test_no_header_of_a_tenant_is_in_what_workers_tell(
    local: APIClient, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    send_task(local, receiver, engine, recorded, headers={"X-Key": "very secret"})

    told = recorded.wait_for(1)
    assert "very secret" not in repr(told)
    assert "very secret" not in json.dumps(told, default=str)
