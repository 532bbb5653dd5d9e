"""`POST /tasks/{id}/backfill/`: what it answers, what it refuses, and what is sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import Run, Task
from tasks_api.worker.engine import Engine
from tests.conftest import ClientFor
from tests.integration.conftest import ResultLog
from tests.integration.support.backfills import hourly_task, let_be_due, settle
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def call(api: APIClient, task: Task, **body: Any) -> Any:
    since = (timezone.now() - DAY).isoformat()
    path = f"/tasks/{task.pk}/backfill/"
    return api.post(path, {"from": since, **body}, format="json")


def test_a_plan_and_its_backfill_say_the_same(user: User, api: APIClient) -> None:
    task = hourly_task(user)
    settle(task)

    plan = call(api, task, dry_run=True, pace="20/minute")
    made = call(api, task, pace="20/minute", hash=plan.json()["hash"])
    repeated = call(api, task, pace="20/minute", hash=plan.json()["hash"])

    assert (plan.status_code, made.status_code) == (200, 202)
    shown = plan.json()
    assert (shown["backfill"], shown["dry_run"], shown["count"]) == (None, True, 9)
    same = ("count", "first", "last", "hash")
    assert [shown[name] for name in same] == [made.json()[name] for name in same]
    runs = Run.objects.filter(backfill_id=made.json()["backfill"])
    assert runs.count() == 9
    assert repeated.status_code == 409
    assert "another one now" in repeated.json()["error"]["message"]


def test_an_empty_backfill_makes_none(user: User, api: APIClient) -> None:
    task = hourly_task(user, age=-HOUR)

    answer = call(api, task)

    assert answer.status_code == 202
    shown = {**answer.json(), "hash": ""}
    assert shown == {
        "backfill": None,
        "dry_run": False,
        "count": 0,
        "first": None,
        "last": None,
        "last_sent_at": None,
        "hash": "",
    }


def test_runs_show_their_backfill_and_slot(user: User, api: APIClient) -> None:
    task = hourly_task(user, age=2 * HOUR)
    settle(task)
    made = call(api, task).json()

    newest, *others = api.get(f"/tasks/{task.pk}/runs/").json()["runs"]

    assert newest["backfill"] == made["backfill"]
    assert newest["slot"] == made["first"]
    assert (newest["manual"], newest["redrive_of"]) == (True, None)
    assert all("backfill" not in run for run in others)
    shown = api.get(f"/runs/{newest['id']}/").json()
    assert shown["backfill"] == made["backfill"]


def test_the_runs_of_a_backfill_are_listed_also_those_of_coming_days(
    user: User, api: APIClient
) -> None:
    task, other = hourly_task(user), hourly_task(user)
    for each in (task, other):
        settle(each)
    made = call(api, task, pace="2/day").json()
    call(api, other, pace="2/day")

    query = {"backfill": made["backfill"]}
    listed = api.get("/runs/", query).json()["runs"]
    of_task = api.get(f"/tasks/{task.pk}/runs/", query).json()["runs"]
    everything = api.get("/runs/", {"limit": 18}).json()["runs"]

    assert listed == of_task
    assert {run["backfill"] for run in listed} == {made["backfill"]}
    assert len(listed) == made["count"] == 9
    assert listed[0]["scheduled_for"] == made["last_sent_at"]
    # The newest come first.
    assert all("backfill" in run for run in everything)
    assert api.get("/runs/", {"backfill": "x"}).status_code == 400
    assert (
        api.get("/runs/", {"backfill": str(UUID(int=2**128 - 1))}).json()["runs"] == []
    )


def test_a_backfill_is_cancelled_by_its_id(user: User, api: APIClient) -> None:
    task = hourly_task(user)
    settle(task)
    made = call(api, task, pace="1/hour").json()

    body = {"state": ["pending"], "backfill": made["backfill"]}
    answer = api.post("/runs/cancel/", body, format="json")

    assert (answer.status_code, answer.json()["count"]) == (202, 9)
    assert call(api, task, dry_run=True).json()["count"] == 9


def test_a_repeated_request_with_a_key_makes_one_backfill(
    user: User, api: APIClient
) -> None:
    task = hourly_task(user)
    settle(task)
    path, body = (
        f"/tasks/{task.pk}/backfill/",
        {"from": "", "which": "missed"},
    )
    body["from"] = (timezone.now() - DAY).isoformat()

    first, again = (
        api.post(path, body, format="json", HTTP_IDEMPOTENCY_KEY="once")
        for _ in range(2)
    )

    assert first.json() == again.json()
    assert Run.objects.filter(backfill_id__isnull=False).count() == 9


def test_targets_get_the_moment_of_the_slot(
    user: User, api: APIClient, engine: Engine, recorded: ResultLog, receiver: Receiver
) -> None:
    task = hourly_task(user, age=4 * HOUR)
    Task.objects.filter(pk=task.pk).update(url=receiver.url)
    settle(task)
    made = call(api, task, pace="100/second").json()
    let_be_due(task)

    engine.ring()
    recorded.wait_for(3)

    sent = receiver.wait_for(3)
    moments = sorted(request.headers["x-scheduled-for"] for request in sent)
    assert (len(moments), moments[0], moments[-1]) == (3, made["first"], made["last"])
    for request in sent:
        assert request.headers["x-scheduler-backfill"] == made["backfill"]
        assert "x-scheduler-redrive-of" not in request.headers
    assert call(api, task, dry_run=True).json()["count"] == 0


FAR = "9999-01-01T00:00:00Z"
WRONG: dict[str, list[object]] = {
    "from": ["", "10", 5, [], "1969-12-31T00:00:00Z"],
    "to": ["x", 5, [], FAR, "1980-01-01T00:00:00Z", "0001-01-01T00:00:00Z"],
    "which": ["some", 1, [], {}, "ALL", True],
    "overlap": ["skip", 1, [], {}],
    "pace": [
        *("", "0/minute", "20", "20/week", "-1/minute", "101/second", "٣/minute"),
        *("1e3/hour", 20, [], {}, "1000000/day", "20/minute\n", " 20/minute"),
    ],
    "dry_run": [1, "true", []],
    "hash": [1, [], {}, True],
    "wich": ["all"],
}


@pytest.mark.parametrize(
    ("field", "value"), [(name, value) for name in WRONG for value in WRONG[name]]
)
def test_hostile_input_is_refused_by_name(
    user: User, api: APIClient, field: str, value: object
) -> None:
    task = hourly_task(user)

    answer = call(api, task, **{"which": "all", field: value})

    assert answer.status_code == 400, answer.json()
    assert field in answer.json()["error"]["message"]
    assert not Run.objects.filter(backfill_id__isnull=False).exists()


@pytest.mark.parametrize("backfill", ["x", 5, [], "", {}])
def test_a_wrong_filter_is_refused(api: APIClient, backfill: object) -> None:
    body = {"state": ["pending"], "backfill": backfill}

    answer = api.post("/runs/cancel/", body, format="json")

    assert answer.status_code == 400
    assert "backfill" in answer.json()["error"]["message"]


def test_what_is_too_much_names_to(user: User, api: APIClient) -> None:
    task = hourly_task(user)
    Task.objects.filter(pk=task.pk).update(interval_every=1)

    answer = call(
        api,
        task,
        which="all",
        **{"from": "1970-01-01T00:00:00Z", "to": "1990-01-01T00:00:00Z"},
    )

    assert answer.status_code == 400
    assert "more than 10000 fire times" in answer.json()["error"]["message"]


def test_a_missed_slot_of_a_time_without_history_is_not_known(
    user: User, api: APIClient
) -> None:
    task = hourly_task(user)

    answer = call(api, task, **{"from": "2020-01-01T00:00:00Z"})

    assert answer.status_code == 400
    assert "from is before" in answer.json()["error"]["message"]


def test_an_end_before_all_time_is_refused(user: User, api: APIClient) -> None:
    path = f"/tasks/{hourly_task(user).pk}/backfill/"

    answer = api.post(path, {"to": "0001-01-01T00:00:00Z"}, format="json")

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "to should not be before 1970"


def test_strangers_and_colleagues_find_no_task(
    user: User, colleague: User, stranger: User, client_for: ClientFor
) -> None:
    task = hourly_task(user)

    for other in (colleague, stranger):
        assert call(client_for(other), task).status_code == 404
