"""Stats, the account of all tasks and the forecast over the API."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.domain.states import RunState
from tasks_api.services.rollups import keep_rollups
from tests.conftest import ClientFor
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def boss(colleague: User, client_for: ClientFor) -> APIClient:
    return client_for(accounts.change_user(colleague, role=Role.ADMIN))


def test_stats_count_what_the_lists_of_runs_show(
    api: APIClient, user: User, colleague: User
) -> None:
    task = hourly_task(user)
    for ago in (1, 200, 201):
        store_run(task, ago=ago, reason="HTTP 500; no retry")
        store_run(task, ago=ago, state=RunState.SUCCEEDED)
    store_run(hourly_task(colleague), ago=200)
    keep_rollups(now=timezone.now())

    shown = api.get("/stats/").json()

    assert (shown["failed"], shown["succeeded"], shown["unfinished"]) == (3, 3, 0)
    assert shown["reasons"] == [{"state": "failed", "reason": "HTTP 500", "runs": 3}]
    for hour in shown["hours"]:
        end = datetime.fromisoformat(hour["hour"]) + timedelta(hours=1)
        for state in ("failed", "succeeded"):
            query = {"state": state, "from": hour["hour"], "to": end.isoformat()}
            assert len(api.get("/runs/", query).json()["runs"]) == hour[state]


def test_an_administrator_sees_the_tenant(
    api: APIClient, boss: APIClient, user: User, colleague: User, stranger: User
) -> None:
    for owner in (user, colleague, stranger):
        store_run(hourly_task(owner), ago=200)
    keep_rollups(now=timezone.now())

    assert api.get("/stats").json()["failed"] == 1
    assert boss.get("/stats").json()["failed"] == 2
    assert api.get("/account/").json()["failed"] == 1
    assert boss.get("/account/").json()["failed"] == 2
    assert sum(boss.get("/forecast/").json()["counts"]) == 48
    assert api.get("/forecast/").json()["total"] == 24


def test_a_forecast_is_divided_by_host(api: APIClient, user: User) -> None:
    hourly_task(user)
    paused = hourly_task(user)
    api.post(f"/tasks/{paused.pk}/pause/")

    shown = api.get("/forecast/?bucket=86400&by=host").json()

    assert (shown["counts"], shown["paused_counts"]) == ([24], [24])
    assert [series["host"] for series in shown["series"]] == ["127.0.0.1:9"]
    assert shown["series"][0]["total"] == 24


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/stats/?from=x", "from"),
        ("/stats/?from=2001-01-01T00:00:00Z", "from"),
        ("/stats/?to=2001-01-01T00:00:00Z", "to"),
        ("/account/?to=0001-01-01T00:00:00Z", "to"),
        ("/account/?from=9999-12-31T23:59:59Z&to=9999-12-31T23:59:58Z", "to"),
        ("/forecast/?by=owner", "by"),
        ("/forecast/?bucket=59", "bucket"),
        ("/forecast/?bucket=86401", "bucket"),
        ("/forecast/?from=2001-01-01T00:00:00Z", "from"),
        ("/forecast/?from=9999-12-31T23:59:59Z", "from"),
        ("/forecast/?to=9999-12-31T23:59:59Z", "to"),
        ("/forecast/?bukket=60", "bukket"),
    ],
)
def test_a_bad_parameter_is_named(api: APIClient, path: str, field: str) -> None:
    answer = api.get(path)

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


def test_too_many_buckets_are_refused(api: APIClient) -> None:
    until = (timezone.now() + timedelta(days=2)).isoformat()

    answer = api.get("/forecast/", {"to": until, "bucket": "60"})

    assert answer.status_code == 400
    assert "bucket" in answer.json()["error"]["message"]


def test_a_range_in_the_future_has_no_runs(api: APIClient) -> None:
    assert api.get("/stats/?from=2999-01-01T00:00:00Z").json()["hours"] == []
    assert api.get("/account/?from=2999-01-01T00:00:00Z").json()["planned"] == 0
