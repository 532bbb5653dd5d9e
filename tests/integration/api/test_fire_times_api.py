"""The account of a task and the fire times that are to come, over the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task
from tasks_api.services import tasks
from tests.integration.support.stored_runs import CRON, MINUTE, hourly_task
from tests.integration.support.stored_tasks import TARGET, take_due
from tests.integration.support.tasks_surface import PERIODIC

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_account_is_shown(api: APIClient, user: User) -> None:
    task = hourly_task(user)

    shown = api.get(f"/tasks/{task.pk}/account/").json()

    assert (shown["planned"], shown["balance"], shown["differences"]) == (0, 0, [])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=x", "from"),
        ("to=", "to"),
        ("from=0001-01-01T00:00:00Z", "from"),
        ("to=0001-01-01T00:00:00Z", "to"),
        ("from=9999-12-31T23:59:59Z&to=9999-12-31T23:59:58Z", "to"),
    ],
)
def test_a_bad_range_of_the_account_is_refused(
    api: APIClient, user: User, query: str, field: str
) -> None:
    answer = api.get(f"/tasks/{hourly_task(user).pk}/account/?{query}")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


def test_coming_fire_times_of_a_task(api: APIClient, user: User) -> None:
    task = hourly_task(user)

    shown = api.get(f"/tasks/{task.pk}/next/?n=3").json()
    api.post(f"/tasks/{task.pk}/pause/")
    paused = api.get(f"/tasks/{task.pk}/next").json()

    assert len(shown["fire_times"]) == 3
    assert shown["fire_times"][0]["at"].endswith("Z")
    assert (shown["timezone"], shown["paused"], paused["paused"]) == ("UTC", False, True)  # fmt: skip
    assert len(paused["fire_times"]) == 20


def test_a_one_time_task_comes_until_it_has_run(api: APIClient, user: User) -> None:
    spec = TaskSpec(Surface.TASKS, TARGET, Once(timezone.now() - MINUTE), "{}")
    task = tasks.create_task(user, spec, now=timezone.now())
    path = f"/tasks/{task.pk}/next/"

    late = api.get(path).json()["fire_times"]
    assert len(take_due()) == 1

    assert len(late) == 1
    assert api.get(path).json()["fire_times"] == []


def test_a_preview_marks_what_a_change_of_the_clock_moves(api: APIClient) -> None:
    body = {**CRON, "n": 2, "from": "2027-03-27T12:00:00Z"}

    answer = api.post("/tasks/preview/", body, format="json")

    assert answer.status_code == 200
    assert answer.json()["fire_times"] == [
        {
            "at": "2027-03-28T01:00:00Z",
            "local": "2027-03-28T03:00:00+02:00",
            "dst": "moved",
            "wall": "2027-03-28T02:30:00",
        },
        {
            "at": "2027-03-29T00:30:00Z",
            "local": "2027-03-29T02:30:00+02:00",
            "dst": None,
        },
    ]
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"n": 0}, "n"),
        ({"n": 1001}, "n"),
        ({"n": True}, "n"),
        ({"n": "20"}, "n"),
        ({"n": None}, "n"),
        ({"from": "x"}, "from"),
        ({"from": "0001-01-01T00:00:00Z"}, "from"),
        ({"cron": "x"}, "cron"),
        ({"url": "ftp://x"}, "url"),
    ],
)
def test_a_bad_preview_is_refused(
    api: APIClient, changes: Mapping[str, object], field: str
) -> None:
    answer = api.post("/tasks/preview/", {**CRON, **changes}, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [CRON, PERIODIC, {"task_type": "one_time", "run_datetime": "9999-12-31T23:59:59.999999Z", "url": "http://example.com/"}])  # fmt: skip
def test_a_preview_at_the_end_of_the_calendar(
    api: APIClient, body: dict[str, Any]
) -> None:
    late = {**body, "n": 1000, "from": "9999-12-31T23:00:00Z"}

    assert api.post("/tasks/preview/", late, format="json").status_code == 200
