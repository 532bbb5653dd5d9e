"""The cron jobs surface: what it takes, refuses, replaces and removes."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tests.conftest import ClientFor
from tests.integration.support.cron_jobs_surface import ABSENT, JOB, put_job


def test_the_documents_own_example_is_taken(api: APIClient, user: User) -> None:
    before = timezone.now()
    answer = put_job(api)

    task = Task.objects.get()
    policy = json.loads(task.retry)
    assert (answer.status_code, answer.content) == (202, b"")
    assert (task.name, task.owner, task.method) == (JOB["id"], user, "POST")
    assert (task.url, json.loads(task.body)) == (JOB["endpoint"], JOB["payload"])
    assert (task.overlap, task.misfire) == ("skip", "latest")
    assert (policy["conflict_delay"], policy["min_delay"], policy["max_delay"]) == (
        3,
        1,
        60,
    )
    assert task.next_fire_at is not None
    assert task.next_fire_at.second % 10 == 0
    assert before <= task.next_fire_at <= timezone.now() + timedelta(seconds=10)


@pytest.mark.parametrize(
    ("changes", "column", "stored"),
    [
        ({"recovery_check": ABSENT}, "misfire", "skip"),
        ({"recovery_check": False}, "misfire", "skip"),
        ({"recovery_check": None}, "misfire", "skip"),
        ({"payload": "text"}, "body", '"text"'),
        ({"payload": [1.10, False]}, "body", "[1.1, false]"),
        ({"payload": 0}, "body", "0"),
        ({"payload": False}, "body", "false"),
        ({"payload": {}}, "body", "{}"),
        ({"id": "ü" * 255}, "name", "ü" * 255),
        ({"id": " "}, "name", " "),
        ({"endpoint": "http://example.com/a@b?c=d"}, "url", "http://example.com/a@b?c=d"),
        ({"unknown": {}}, "name", JOB["id"]),
    ],
)  # fmt: skip
def test_a_valid_field_is_taken(
    api: APIClient, changes: dict[str, object], column: str, stored: str
) -> None:
    answer = put_job(api, **changes)

    assert answer.status_code == 202, answer.content
    assert getattr(Task.objects.get(), column) == stored


@pytest.mark.parametrize(
    ("value", "delay"),
    [(ABSENT, None), (None, None), (0, 1), (1, 1), (60, 60), (2.0, 2)],
)
def test_the_wait_after_a_conflict(
    api: APIClient, value: object, delay: float | None
) -> None:
    assert put_job(api, retry_already_running=value).status_code == 202

    assert json.loads(Task.objects.get().retry)["conflict_delay"] == delay


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"id": ABSENT}, "id"),
        ({"id": ""}, "id"),
        ({"id": "x" * 256}, "id"),
        ({"id": 7}, "id"),
        ({"id": None}, "id"),
        ({"endpoint": ABSENT}, "endpoint"),
        ({"endpoint": "ftp://example.com/"}, "endpoint"),
        ({"endpoint": "/enqueue"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"endpoint": "http://10.0.0.1/"}, "endpoint"),
        ({"cron": ABSENT}, "cron"),
        ({"cron": ""}, "cron"),
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "* * * * * * * *"}, "cron"),
        ({"cron": "*/0 * * * *"}, "cron"),
        ({"cron": "5-1 * * * *"}, "cron"),
        ({"cron": "1,,2 * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "0 0 0 1 1 * 2020"}, "cron"),
        ({"cron": "@fortnightly"}, "cron"),
        ({"cron": 5}, "cron"),
        ({"cron": None}, "cron"),
        ({"payload": ABSENT}, "payload"),
        ({"payload": None}, "payload"),
        ({"retry_already_running": -1}, "retry_already_running"),
        ({"retry_already_running": 1.5}, "retry_already_running"),
        ({"retry_already_running": "3"}, "retry_already_running"),
        ({"retry_already_running": True}, "retry_already_running"),
        ({"retry_already_running": 2**31}, "retry_already_running"),
        ({"recovery_check": "yes"}, "recovery_check"),
        ({"recovery_check": 1}, "recovery_check"),
    ],
)
def test_a_refusal_names_the_field_and_leaves_the_job_alone(
    api: APIClient, changes: dict[str, object], named: str
) -> None:
    put_job(api)
    before = Task.objects.values().get()

    answer = put_job(api, **changes)

    assert answer.status_code == 400
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert named in answer.content.decode()
    assert Task.objects.values().get() == before


@pytest.mark.parametrize("body", ["[]", "null", "7", '"x"', "{", ""])
def test_the_body_is_an_object(api: APIClient, body: str) -> None:
    answer = api.post("/", body, content_type="application/json")

    assert answer.status_code == 400
    assert answer["Content-Type"].startswith("text/plain")


def test_the_same_id_replaces_the_job(api: APIClient) -> None:
    put_job(api)
    first = Task.objects.get()

    put_job(api, cron="0 3 * * *", payload=[2], endpoint="http://example.com/other")

    second = Task.objects.get()
    assert second.pk == first.pk
    assert (second.body, second.url) == ("[2]", "http://example.com/other")
    assert second.periodic_task.crontab.hour == "3"
    assert (second.cron_seconds, second.cron_years) == ("", "")
    assert second.next_fire_at is not None
    assert (second.next_fire_at.hour, second.next_fire_at.minute) == (3, 0)
    assert second.replaced_at is not None


def test_the_same_schedule_keeps_its_place(api: APIClient) -> None:
    put_job(api, cron="@every 1h")
    overdue = timezone.now() - timedelta(minutes=5)
    Task.objects.update(next_fire_at=overdue)

    put_job(api, cron="@every 1h", payload="new")

    task = Task.objects.get()
    assert (task.body, task.next_fire_at) == ('"new"', overdue)


def test_a_replacement_cancels_what_waits_for_a_retry(api: APIClient) -> None:
    put_job(api)
    task = Task.objects.get()
    run = Run.objects.create(
        id=task.pk,
        task=task,
        tenant=task.tenant,
        scheduled_for=timezone.now(),
        state=RunState.RETRYING,
        attempt_count=3,
        wake_at=timezone.now(),
        exclusive=True,
    )

    put_job(api)

    run.refresh_from_db()
    assert (run.state, run.reason) == ("cancelled", "The task was replaced.")


def test_a_replacement_keeps_a_fire_time_that_waits_for_its_worker(
    api: APIClient,
) -> None:
    put_job(api)
    task = Task.objects.get()
    run = Run.objects.create(
        id=task.pk,
        task=task,
        tenant=task.tenant,
        scheduled_for=timezone.now() - timedelta(minutes=1),
        wake_at=timezone.now(),
        exclusive=True,
    )

    put_job(api)

    run.refresh_from_db()
    assert run.state == "pending"


def test_a_replacement_takes_a_job_out_of_its_pause(api: APIClient) -> None:
    put_job(api)
    task = Task.objects.get()
    type(task.periodic_task).objects.update(enabled=False)
    Task.objects.update(next_fire_at=None, pause_reason="Broken.")

    put_job(api)

    task.refresh_from_db()
    task.periodic_task.refresh_from_db()
    assert task.periodic_task.enabled
    assert task.next_fire_at is not None
    assert task.pause_reason == ""


def test_an_id_is_free_again_after_its_removal(api: APIClient) -> None:
    put_job(api)
    assert api.delete("/?job_id=job-scheduler-unique-id").status_code == 200

    assert put_job(api).status_code == 202

    assert Task.objects.count() == 2
    assert Task.objects.filter(ended_at=None).count() == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?job_id=job-scheduler-unique-id", 200),
        ("?job_id=another", 404),
        ("?job_id=JOB-SCHEDULER-UNIQUE-ID", 404),
        ("?job_id=", 400),
        ("?job_id=%00", 400),
        ("?job_id=" + "x" * 256, 400),
        ("?job_id=%ff", 400),
        ("", 400),
        ("?id=job-scheduler-unique-id", 400),
    ],
)
def test_a_job_is_removed_by_its_id(api: APIClient, query: str, status: int) -> None:
    put_job(api)

    answer = api.delete(f"/{query}")

    alive = Task.objects.filter(ended_at=None).exists()
    assert answer.status_code == status
    assert alive == (status != 200)
    assert status != 200 or answer.content == b""


def test_a_second_removal_finds_nothing(api: APIClient) -> None:
    put_job(api)
    api.delete("/?job_id=job-scheduler-unique-id")

    assert api.delete("/?job_id=job-scheduler-unique-id").status_code == 404


@pytest.mark.parametrize("method", ["get", "put", "patch"])
def test_other_methods_are_not_allowed(api: APIClient, method: str) -> None:
    answer = getattr(api, method)("/")

    assert answer.status_code == 405
    assert answer["Content-Type"].startswith("text/plain")


def test_the_tasks_surface_does_not_show_cron_jobs(api: APIClient) -> None:
    put_job(api)
    task = Task.objects.get()

    assert api.get("/tasks/").json() == {"count": 0, "tasks": []}
    assert api.get(f"/tasks/{task.pk}").status_code == 404
    assert api.post(f"/tasks/{task.pk}/pause/").status_code == 404
    assert api.delete(f"/tasks/{task.pk}").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_many_requests_for_one_id_make_one_job(
    user: User, client_for: ClientFor, settings: LazySettings
) -> None:
    clients = [client_for(user) for _ in range(12)]
    statuses: list[int] = []
    start = threading.Barrier(len(clients))

    def work(client: APIClient, number: int) -> None:
        start.wait()
        try:
            statuses.append(put_job(client, payload=number).status_code)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=work, args=(client, number))
        for number, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [202] * len(clients)
    assert Task.objects.count() == 1
