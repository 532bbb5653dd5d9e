"""What was read can be sent back: to the same task, to a new one, and in a list."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from tasks_api.api.tasks.optional_fields import stored_fields
from tasks_api.domain.schedules import Interval, Once
from tasks_api.models import Run, Task
from tests.conftest import MakeTask
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC, created

URL = "http://a.example/x"
CRON = {"task_type": "periodic", "cron": "0 9 * * *", "url": URL}
TASKS: dict[str, dict[str, Any]] = {
    "periodic": PERIODIC,
    "one_time": ONE_TIME,
    "endless": {**PERIODIC, "end_datetime": None},
    "cron": CRON,
    "zone and dst": {
        **CRON,
        "timezone": "Europe/Berlin",
        "dst": {"gap": "skip", "overlap": "both"},
    },
    "seconds and years": {**CRON, "cron": "5 0 9 * * * 2090-2095"},
    "every": {**CRON, "cron": "@every 2h"},
    "rrule": {
        "task_type": "periodic",
        "rrule": "DTSTART;TZID=Europe/Berlin:20901201T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO",
        "url": URL,
        "dst": {"gap": "skip", "overlap": "first"},
    },
    "rrule from start": {
        "task_type": "periodic",
        "rrule": "FREQ=DAILY;COUNT=7",
        "start_datetime": "2090-12-01T09:00:00",
        "timezone": "Europe/Berlin",
        "url": URL,
        "spread": 60,
    },
    "rrule with bounds": {
        "task_type": "periodic",
        "rrule": "DTSTART:20200101T000000Z\nRRULE:FREQ=DAILY",
        "start_datetime": "2090-12-01 09:00:00",
        "end_datetime": "2091-12-01 09:00:00",
        "url": URL,
    },
    "several": {
        "task_type": "periodic",
        "schedules": [
            {"frequency": 7200},
            {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"},
            {"rrule": "DTSTART:20200101T000000Z\nRRULE:FREQ=MONTHLY;BYDAY=-1FR"},
            {"run_datetime": "2090-12-24T18:00:00", "timezone": "Europe/Berlin"},
            {"cron": "@every 3h", "start_datetime": "2090-12-01 09:00:00"},
        ],
        "end_datetime": "2095-12-01 09:00:00",
        "dst": {"gap": "next_valid", "overlap": "both"},
        "url": URL,
    },
    "several that end": {
        "task_type": "periodic",
        "schedules": [
            {"run_datetime": "2090-12-24T18:00:00Z"},
            {"run_datetime": "2090-12-31T18:00:00Z"},
        ],
        "url": URL,
    },
    "queue": {**ONE_TIME, "url": None, "queue": "mail"},
    "queue, any body": {
        "task_type": "one_time",
        "run_datetime": "2090-01-01 00:00:00",
        "queue": "mail",
        "body": [1],
    },
    "paused": {**PERIODIC, "paused": True},
    "policies": {
        **PERIODIC,
        "overlap": "queue_one",
        "misfire": "all",
        "catchup_window": 100,
        "spread": 60,
        "retry": {"max_attempts": 3},
        "expected_status": "200-299,304",
        "timeout_seconds": 5,
        "long_work": {"deadline": 60},
        "pause_after_failures": 3,
        "name": "n/ä",
        "tags": ["a", "b"],
    },
    "text": {**CRON, "method": "PUT", "content_type": "text/plain", "body": "hello"},
    "form": {
        **CRON,
        "content_type": "application/x-www-form-urlencoded",
        "body": {"a": "1 2"},
    },
    "falsy": {**CRON, "body": False},
    "no body": {**CRON, "method": "DELETE"},
    "empty body": {**CRON, "method": "DELETE", "post_data": {}},
    "get": {**CRON, "method": "GET"},
}


def patch_task(api: APIClient, task: dict[str, Any]) -> Any:
    return api.patch(f"/tasks/id/{task['id']}", task, format="json")


def put_task(api: APIClient, task: dict[str, Any]) -> Any:
    return api.put(f"/tasks/by-name/{task['name']}", task, format="json")


def apply(api: APIClient, task: dict[str, Any]) -> Any:
    body = {"tag": "a", "tasks": [task]}
    return api.post("/tasks/apply/", body, format="json")


def named_task(kind: str) -> dict[str, Any]:
    return {"name": "n", "tags": ["a"], **TASKS[kind]}


@pytest.mark.parametrize("say", [patch_task, put_task, apply])
@pytest.mark.parametrize("kind", sorted(TASKS))
def test_a_task_that_is_sent_back_stays_as_it_is(
    api: APIClient, kind: str, say: Callable[..., Any]
) -> None:
    task = created(api, named_task(kind))
    before = api.get(f"/tasks/{task['id']}")

    answer = say(api, task)

    assert answer.status_code == 200, answer.json()
    after = api.get(f"/tasks/{task['id']}")
    assert after.json() == task
    assert after["ETag"] == before["ETag"]


@pytest.mark.parametrize("way", ["create", "bulk"])
@pytest.mark.parametrize("kind", sorted(TASKS))
def test_a_task_that_is_made_of_what_was_read_is_the_same(
    api: APIClient, kind: str, way: str
) -> None:
    task = created(api, TASKS[kind])
    stored = Task.objects.get()
    api.delete(f"/tasks/{task['id']}")

    if way == "create":
        answer = api.post("/tasks/", task, format="json")
    else:
        answer = api.post("/tasks/bulk/", [task], format="json")

    assert answer.status_code == 201, answer.json()
    [again] = api.get("/tasks/").json()["tasks"]
    # Where it falls in a spread is a matter of the id.
    own = {"id", "next_run_datetime"} if "spread" in task else {"id"}
    assert again | dict.fromkeys(own) == task | dict.fromkeys(own)
    made = Task.objects.get(ended_at=None)
    assert (made.body, made.request) == (stored.body, stored.request)


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_what_was_read_can_be_previewed(api: APIClient, kind: str) -> None:
    task = created(api, TASKS[kind])

    answer = api.post("/tasks/preview/", {**task, "n": 1}, format="json")

    assert answer.status_code == 200, answer.json()


@pytest.mark.parametrize("say", [patch_task, put_task, apply])
def test_headers_that_are_sent_back_redacted_keep_their_values(
    api: APIClient, say: Callable[..., Any]
) -> None:
    headers = {"X-Api-Key": "s3cret", "X-Other": "o"}
    task = created(api, {**named_task("cron"), "headers": headers})

    task["headers"] = {"x-api-key": "[redacted]", "X-New": "n"}
    answer = say(api, task)

    assert answer.status_code == 200, answer.json()
    kept = stored_fields(Task.objects.get())["headers"]
    assert kept == {"x-api-key": "s3cret", "X-New": "n"}


@pytest.mark.parametrize("say", [patch_task, put_task, apply])
def test_a_redacted_header_that_the_task_has_not_is_refused(
    api: APIClient, say: Callable[..., Any]
) -> None:
    task = created(api, {**named_task("cron"), "headers": {"X-Api-Key": "s3cret"}})

    answer = say(api, {**task, "headers": {"X-Else": "[redacted]"}})

    assert answer.status_code == 400
    assert "X-Else" in answer.json()["error"]["message"]
    anew = api.post("/tasks/", {**task, "name": "m"}, format="json")
    assert anew.status_code == 400


@pytest.mark.parametrize("say", [patch_task, put_task, apply])
@pytest.mark.parametrize("is_once", [True, False])
def test_moments_that_are_shown_to_the_second_are_those_of_the_task(
    api: APIClient, make_task: MakeTask, say: Callable[..., Any], *, is_once: bool
) -> None:
    # Begun, and with fractions of which the answer shows nothing.
    start = timezone.now().replace(microsecond=250_000) - timedelta(hours=1)
    every = timedelta(hours=2)
    once, often = Once(start), Interval(start, every, start + every)
    task = make_task(schedule=once if is_once else often, name="n", tags=("a",))
    before = api.get(f"/tasks/{task.pk}")

    answer = say(api, before.json())

    assert answer.status_code == 200, answer.json()
    after = api.get(f"/tasks/{task.pk}")
    assert (after.json(), after["ETag"]) == (before.json(), before["ETag"])
    assert not Run.objects.exists()
