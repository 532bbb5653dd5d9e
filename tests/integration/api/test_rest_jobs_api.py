"""The rest jobs surface: one request each, and its status."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tests.conftest import ClientFor
from tests.integration.support.stored_tasks import take_due

TASK = {
    "method": "POST",
    "uri": "http://www.myserver.com",
    "body": {"hello": "world"},
    "expected_range": "200-300",
}
JOB = {"task": TASK, "schedule": "2090-01-24T12:28:27-08:00"}
ABSENT = object()
JOBS = "/api/v1/jobs"


def job(**changes: object) -> dict[str, Any]:
    """The document's job; a change of the task's fields is spelled task_method=…"""
    merged: dict[str, Any] = {"task": {**TASK}, "schedule": JOB["schedule"]}
    for name, value in changes.items():
        place = merged["task"] if name.startswith("task_") else merged
        place[name.removeprefix("task_")] = value
        if value is ABSENT:
            del place[name.removeprefix("task_")]
    return merged


def create(api: APIClient, **changes: object) -> Any:
    return api.post(JOBS, job(**changes), format="json")


def test_the_documents_own_example_is_taken(api: APIClient, user: User) -> None:
    answer = create(api)

    task = Task.objects.get()
    assert answer.status_code == 201
    assert answer.json() == {"id": str(task.pk), "link": f"{JOBS}/{task.pk}"}
    assert answer["Location"] == f"{JOBS}/{task.pk}"
    assert api.get(answer.json()["link"]).json() == {
        "id": str(task.pk),
        **JOB,
        "status": "PENDING",
    }
    assert task.next_fire_at == datetime(2090, 1, 24, 20, 28, 27, tzinfo=UTC)
    assert task.owner == user


@pytest.mark.parametrize(
    ("changes", "column", "stored"),
    [
        ({"task_method": "get"}, "method", "GET"),
        ({"task_method": "Put"}, "method", "PUT"),
        ({"task_method": "DELETE"}, "method", "DELETE"),
        ({"task_method": "PATCH"}, "method", "PATCH"),
        ({"task_method": "HEAD"}, "method", "HEAD"),
        ({"task_method": "OPTIONS"}, "method", "OPTIONS"),
        ({"task_uri": "https://www.myserver.com/x"}, "url", "https://www.myserver.com/x"),
        ({"task_body": {}}, "body", "{}"),
        ({"task_body": {"z": 1.10, "a": None}}, "body", '{"z": 1.1, "a": null}'),
        ({"task_expected_range": "404-404"}, "expected_status", "404-404"),
        ({"task_expected_range": "300-200"}, "expected_status", "200-300"),
        ({"task_expected_range": " 100 - 999 "}, "expected_status", "100-999"),
        ({"schedule": "2090-01-24"}, "schedule_text", "2090-01-24"),
    ],
)  # fmt: skip
def test_a_valid_field_is_taken(
    api: APIClient, changes: dict[str, object], column: str, stored: str
) -> None:
    answer = create(api, **changes)

    assert answer.status_code == 201, answer.json()
    assert getattr(Task.objects.get(), column) == stored


@pytest.mark.parametrize(
    "schedule",
    ["now", "NOW", " Now ", "2014-01-24T12:28:27-08:00", "2014-01-24", "0001-01-01T00:00:00"],
)  # fmt: skip
def test_now_and_the_past_are_due_at_once(api: APIClient, schedule: str) -> None:
    before = timezone.now()

    answer = create(api, schedule=schedule)

    task = Task.objects.get()
    assert task.next_fire_at is not None
    assert before <= task.next_fire_at <= timezone.now()
    assert api.get(answer.json()["link"]).json()["schedule"] == schedule


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"task": ABSENT}, ["task.method", "task.uri", "task.body", "task.expected_range"]),
        ({"task": "POST"}, ["task"]),
        ({"task": None}, ["task"]),
        ({"task_method": ABSENT}, ["task.method"]),
        ({"task_method": "TRACE"}, ["task.method"]),
        ({"task_method": 7}, ["task.method"]),
        ({"task_uri": ABSENT}, ["task.uri"]),
        ({"task_uri": "www.myserver.com"}, ["task.uri"]),
        ({"task_uri": "ftp://www.myserver.com"}, ["task.uri"]),
        ({"task_uri": "http://127.0.0.1/"}, ["task.uri"]),
        ({"task_body": ABSENT}, ["task.body"]),
        ({"task_body": None}, ["task.body"]),
        ({"task_body": "text"}, ["task.body"]),
        ({"task_body": []}, ["task.body"]),
        ({"task_expected_range": ABSENT}, ["task.expected_range"]),
        ({"task_expected_range": "200"}, ["task.expected_range"]),
        ({"task_expected_range": "200-1000"}, ["task.expected_range"]),
        ({"task_expected_range": "99-200"}, ["task.expected_range"]),
        ({"task_expected_range": "२००-३००"}, ["task.expected_range"]),
        ({"task_expected_range": 200}, ["task.expected_range"]),
        ({"schedule": ABSENT}, ["schedule"]),
        ({"schedule": "tomorrow"}, ["schedule"]),
        ({"schedule": "2090-02-30"}, ["schedule"]),
        ({"schedule": 10}, ["schedule"]),
        ({"schedule": None}, ["schedule"]),
        (
            {"task_method": "x", "task_uri": "x", "task_body": 1, "task_expected_range": "x", "schedule": "x"},
            ["task.method", "task.uri", "task.body", "task.expected_range", "schedule"],
        ),
    ],
)  # fmt: skip
def test_a_refusal_names_every_bad_field(
    api: APIClient, changes: dict[str, object], named: list[str]
) -> None:
    answer = create(api, **changes)

    assert answer.status_code == 400
    assert list(answer.json()) == ["errors"]
    assert [error["field"] for error in answer.json()["errors"]] == named
    assert all(error["message"] for error in answer.json()["errors"])
    assert not Task.objects.exists()


@pytest.mark.parametrize("body", ["[]", "null", "7", "{}"])
def test_a_body_without_fields_lacks_all_of_them(api: APIClient, body: str) -> None:
    answer = api.post(JOBS, body, content_type="application/json")

    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == 5


@pytest.mark.parametrize("body", ["{", '{"a": NaN}', '{"a": "\\u0000"}'])
def test_a_body_that_is_not_json_has_a_message(api: APIClient, body: str) -> None:
    answer = api.post(JOBS, body, content_type="application/json")

    assert (answer.status_code, list(answer.json())) == (400, ["message"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("state", "status"),
    [
        (RunState.PENDING, "PENDING"),
        (RunState.RUNNING, "RUNNING"),
        (RunState.SUCCEEDED, "SUCCESS"),
        (RunState.FAILED, "ERROR"),
        (RunState.CANCELLED, "ERROR"),
    ],
)
def test_the_status_is_that_of_the_run(
    api: APIClient, state: RunState, status: str
) -> None:
    link = create(api, schedule="now").json()["link"]
    assert len(take_due()) == 1
    is_final = state not in {RunState.PENDING, RunState.RUNNING}
    Run.objects.update(
        state=state,
        lease=uuid.uuid4() if state == RunState.RUNNING else None,
        wake_at=None if is_final else timezone.now(),
        finished_at=timezone.now() if is_final else None,
    )

    assert api.get(link).json()["status"] == status


def test_a_finished_job_stays_readable(api: APIClient) -> None:
    link = create(api).json()["link"]
    Task.objects.update(ended_at=timezone.now(), next_fire_at=None)

    assert api.get(link).status_code == 200


@pytest.mark.parametrize(
    "unknown", [str(uuid.UUID(int=7)), "7", "x y", "%00", "a" * 300]
)
def test_an_unknown_job_is_not_found(api: APIClient, unknown: str) -> None:
    answer = api.get(f"{JOBS}/{unknown}")

    shown = "\0" if unknown == "%00" else unknown
    assert answer.status_code == 404
    assert answer.json() == {"message": f"No job was found for id: {shown}."}


@pytest.mark.parametrize("who", ["colleague", "stranger"])
def test_a_foreign_job_is_not_found(
    api: APIClient, request: pytest.FixtureRequest, client_for: ClientFor, who: str
) -> None:
    created = create(api).json()

    answer = client_for(request.getfixturevalue(who)).get(created["link"])

    assert answer.status_code == 404
    assert answer.json() == {"message": f"No job was found for id: {created['id']}."}


def test_a_task_of_another_surface_is_no_job(api: APIClient) -> None:
    created = api.post(
        "/tasks/",
        {
            "task_type": "one_time",
            "run_datetime": "2090-01-01T00:00:00Z",
            "url": "http://example.com/",
        },
        format="json",
    ).json()

    assert api.get(f"{JOBS}/{created['id']}").status_code == 404


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_methods_are_not_allowed(api: APIClient, method: str) -> None:
    answer = getattr(api, method)(JOBS)

    assert answer.status_code == 405
    assert list(answer.json()) == ["message"]


def test_the_body_keeps_its_text(api: APIClient) -> None:
    raw = json.dumps(job()).replace(
        '{"hello": "world"}', '{"n": 1.10, "a": 12345678901234567890}'
    )

    link = api.post(JOBS, raw, content_type="application/json").json()["link"]

    assert b'{"n": 1.10, "a": 12345678901234567890}' in api.get(link).content
