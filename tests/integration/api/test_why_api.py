"""Why over the API: the answer as JSON, who gets one, and hostile input."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.api.tasks.why_openapi import WHY_OUT
from tasks_api.domain.schedules import Cron, Interval, Schedule
from tasks_api.domain.states import RunState
from tasks_api.models import Task
from tests.conftest import ClientFor
from tests.integration.support.openapi_document import assert_fits
from tests.integration.support.reconciliation_model import DAY, MINUTE, let_pass
from tests.integration.support.stored_runs import hourly_task, store_run
from tests.integration.support.stored_tasks import store_task
from tests.integration.support.tasks_surface import error

pytestmark = pytest.mark.django_db(transaction=True)

NOBODY = "01a1fc25-cc90-73cc-897d-06cb540be56b"


def minutely_task(user: User) -> Task:
    task = store_task(user, Interval(timezone.now() + MINUTE, MINUTE, None))
    let_pass(task, DAY)
    return task


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_answer_names_the_run_and_its_cause(
    api: APIClient, user: User, slash: str
) -> None:
    task = minutely_task(user)
    task.refresh_from_db()
    assert task.next_fire_at is not None
    at = task.next_fire_at
    run = store_run(task, at=at, state=RunState.FAILED, reason="HTTP 500")

    answer = api.get(f"/tasks/{task.pk}/why{slash}", {"at": at.isoformat()})

    assert_fits(answer.json(), WHY_OUT)
    found = answer.json()
    assert found["verdict"] == "failed"
    assert found["cause"]["code"] == "target_answered"
    assert found["cause"]["hint"]
    assert found["run"]["id"] == str(run.pk)
    assert found["planned"]["outcome"] == "failed"
    assert [each["status_code"] for each in found["attempts"]] == [500]
    assert found["evidence"][0]["url"] == f"/runs/{run.pk}/"
    assert found["schedule"]["words"] == "Every minute"


def test_without_a_moment_it_answers_for_now(api: APIClient, user: User) -> None:
    task = hourly_task(user)

    found = api.get(f"/tasks/{task.pk}/why/").json()

    assert_fits(found, WHY_OUT)
    assert (found["verdict"], found["planned"]) == ("wont_fire", None)
    assert found["next"]["at"] is not None


def test_others_get_404(
    api: APIClient, client_for: ClientFor, stranger: User, colleague: User, user: User
) -> None:
    task = hourly_task(user)

    for other in (stranger, colleague):
        answer = client_for(other).get(f"/tasks/{task.pk}/why/")
        assert (answer.status_code, answer.json()) == (404, error("Task not found"))
    for unknown in (NOBODY, "x", "%00"):
        assert api.get(f"/tasks/{unknown}/why/").status_code == 404
    assert APIClient().get(f"/tasks/{task.pk}/why/").status_code == 401
    assert api.post(f"/tasks/{task.pk}/why/").status_code == 405


@pytest.mark.parametrize(
    "query",
    ["at=tomorrow", "at=10", "at=2026-13-01T00:00:00Z", "at=%00", "at=", "when=now"],
)
def test_what_is_no_moment_is_refused(api: APIClient, user: User, query: str) -> None:
    answer = api.get(f"/tasks/{hourly_task(user).pk}/why/?{query}")

    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "at",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-12:00",
    ],
)
@pytest.mark.parametrize("number", range(4))
def test_the_ends_of_the_calendar_get_an_answer(
    api: APIClient, user: User, at: str, number: int
) -> None:
    now = timezone.now()
    schedules: list[Schedule] = [
        Interval(now + MINUTE, timedelta(hours=1), None),
        Cron("30 2 * * *", "Europe/Berlin"),
        Cron("0 0 29 2 *", "America/Nuuk"),
        Cron("* * * * *", "Australia/Lord_Howe", seconds="*"),
    ]
    task = store_task(user, schedules[number])

    answer = api.get(f"/tasks/{task.pk}/why/", {"at": at})

    if answer.status_code == 400:
        # With its offset, it is no moment of the calendar.
        assert at.endswith(("+14:00", "-12:00"))
        return
    assert answer.status_code == 200, answer.content
    assert_fits(answer.json(), WHY_OUT)
    assert answer.json()["verdict"] in {"did_not_fire", "wont_fire", "will_fire"}
