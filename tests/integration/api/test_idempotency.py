"""One Idempotency-Key, one creation, whatever becomes of the first answer."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import IdempotencyKey, Message, Run, Task
from tasks_api.services import idempotency
from tasks_api.storage import retention
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.routes import store_failed_run
from tests.integration.support.tasks_surface import ONE_TIME, error

REST_JOB = {
    "task": {
        "method": "POST",
        "uri": "http://a.example/",
        "body": {},
        "expected_range": "200-299",
    },
    "schedule": "2090-01-01T00:00:00Z",
}
JOB = {"id": "1", "queue": "mail", "timeout": 30}


def post_with_key(api: APIClient, path: str, body: object, key: str = "k") -> Any:
    return api.post(path, body, format="json", HTTP_IDEMPOTENCY_KEY=key)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tasks/", {**ONE_TIME, "name": "a"}),
        ("/tasks/bulk/", [ONE_TIME, ONE_TIME]),
        ("/api/v1/jobs", REST_JOB),
        ("/enqueue", JOB),
        ("/enqueue/batch", [JOB]),
    ],
)
def test_the_first_answer_comes_again_and_nothing_else_is_made(
    api: APIClient, path: str, body: object
) -> None:
    first = post_with_key(api, path, body)
    again = post_with_key(api, path, body)

    assert first.status_code in {201, 202}, first.content
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for header in ("Location", "ETag", "Content-Type"):
        assert again.get(header) == first.get(header)
    assert "Idempotency-Replayed" not in first
    assert again["Idempotency-Replayed"] == "true"
    assert Task.objects.count() + Message.objects.count() == (
        2 if path == "/tasks/bulk/" else 1
    )


def test_a_task_runs_once_for_a_key(api: APIClient, make_task: MakeTask) -> None:
    path = f"/tasks/{make_task().pk}/run/"

    answers = [post_with_key(api, path, {}) for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert Run.objects.count() == 1


def test_a_run_is_sent_again_once_for_a_key(
    api: APIClient, make_task: MakeTask
) -> None:
    failed = store_failed_run(make_task())
    path = f"/runs/{failed.pk}/redrive/"

    first = post_with_key(api, path, {})
    again = Run.objects.filter(redrive_of=failed.pk)
    again.update(state="failed", wake_at=None, finished_at=timezone.now())
    second = post_with_key(api, path, {})

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json() == {"run_id": str(again.get().pk)}
    # What may be sent again is so under another key, and what may not be is told so.
    assert post_with_key(api, path, {}, "other").status_code == 202
    assert post_with_key(api, path, {}, "third").status_code == 409
    assert again.count() == 2


def test_runs_are_sent_again_by_filter_once_for_a_key(
    api: APIClient, make_task: MakeTask
) -> None:
    store_failed_run(make_task())
    later = make_task()

    first = post_with_key(api, "/runs/redrive/", {"state": ["failed"]})
    store_failed_run(later)
    second = post_with_key(api, "/runs/redrive/", {"state": ["failed"]})
    other = post_with_key(api, "/runs/redrive/", {"state": ["failed", "missed"]})

    assert first.json()["count"] == 1
    assert second.json() == first.json()
    assert second["Idempotency-Replayed"] == "true"
    assert other.status_code == 422
    assert Run.objects.filter(by_hand=True).count() == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tasks/", {**ONE_TIME, "post_data": {"other": 1}}),
        ("/tasks/bulk/", [ONE_TIME]),
    ],
)
def test_another_request_under_the_key_is_refused(
    api: APIClient, path: str, body: object
) -> None:
    post_with_key(api, "/tasks/", ONE_TIME)

    answer = post_with_key(api, path, body)

    message = "This Idempotency-Key came with another request before"
    assert (answer.status_code, answer.json()) == (422, error(message))
    assert Task.objects.count() == 1


def test_the_same_json_in_other_words_is_the_same_request(api: APIClient) -> None:
    post_with_key(api, "/tasks/", ONE_TIME)

    again = post_with_key(api, "/tasks", dict(reversed(ONE_TIME.items())))

    assert again["Idempotency-Replayed"] == "true"


def test_what_was_refused_may_be_corrected(api: APIClient) -> None:
    refused = post_with_key(api, "/tasks/", {**ONE_TIME, "url": "ftp://x"})
    corrected = post_with_key(api, "/tasks/", ONE_TIME)

    assert (refused.status_code, corrected.status_code) == (400, 201)


def test_a_key_is_its_users_own(
    api: APIClient, colleague: User, client_for: ClientFor
) -> None:
    post_with_key(api, "/tasks/", ONE_TIME)

    other = post_with_key(client_for(colleague), "/tasks/", ONE_TIME)

    assert other.status_code == 201
    assert "Idempotency-Replayed" not in other


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x7f"])
def test_a_bad_idempotency_key_is_refused(api: APIClient, key: str) -> None:
    answer = post_with_key(api, "/tasks/", ONE_TIME, key)

    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["error"]["message"]


def test_a_key_is_forgotten_after_a_day(api: APIClient) -> None:
    post_with_key(api, "/tasks/", ONE_TIME)
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))

    again = post_with_key(api, "/tasks/", {**ONE_TIME, "name": "other"})
    assert again.status_code == 201
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))
    retention.prune(now=timezone.now())

    assert not IdempotencyKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_request_waits_for_nobody_who_has_its_key(api: APIClient, user: User) -> None:
    holds, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            idempotency.find_answer(user, "k", "other", now=timezone.now())
            holds.set()
            done.wait(20)
        connections.close_all()

    first = threading.Thread(target=hold)
    first.start()
    holds.wait(20)
    answer = post_with_key(api, "/tasks/", ONE_TIME)
    done.set()
    first.join()

    message = "The first request with this Idempotency-Key is under way"
    assert (answer.status_code, answer.json()) == (409, error(message))
    # It ended without having made anything, so the key is free.
    assert post_with_key(api, "/tasks/", ONE_TIME).status_code == 201


def test_without_the_header_nothing_is_asked(
    api: APIClient, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    api.post("/tasks/", ONE_TIME, format="json")

    with django_assert_max_num_queries(5):
        api.post("/tasks/", ONE_TIME, format="json")
