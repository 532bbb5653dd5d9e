"""Lanes with a rate refuse periodic tasks that do not fit, and say what would."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.models import Lane, Task
from tests.conftest import ClientFor
from tests.integration.support.tasks_surface import apply_tasks, created

pytestmark = pytest.mark.django_db(transaction=True)

HOURLY = {"task_type": "periodic", "url": "http://crm.example/", "lane": "crm"}
FULL = "at least 500 s"


def hourly(**changes: Any) -> dict[str, Any]:
    return {**HOURLY, "cron": "0 * * * *", **changes}


@pytest.fixture(autouse=True)
def lane(user: User) -> Lane:
    assert user.tenant
    return Lane.objects.create(tenant=user.tenant, name="crm", rate_limit=20)


def test_what_does_not_fit_is_refused_with_the_spread_that_would(
    api: APIClient, lane: Lane
) -> None:
    Lane.objects.update(rate_limit=1)
    api.post("/tasks/bulk/", [hourly()] * 61, format="json")

    answer = api.post("/tasks/", hourly(spread=10), format="json")

    found = answer.json()["error"]
    assert answer.status_code == 400
    assert (found["field"], found["lane"]) == ("spread", "crm")
    assert f"at least {found['smallest_spread']} s" in found["message"]
    created(api, hourly(spread=found["smallest_spread"]))


def test_many_tasks_are_judged_at_once(api: APIClient) -> None:
    answer = api.post("/tasks/bulk/", [hourly(spread=300)] * 10_000, format="json")

    assert answer.status_code == 400
    found = answer.json()["error"]
    assert FULL in found["message"]
    assert "9,999 other tasks" in found["message"]
    [first] = found["tasks"]
    assert (first["index"], first["field"]) == (0, "spread")
    assert (first["lane"], first["smallest_spread"]) == ("crm", 500)
    assert not Task.objects.exists()


def test_a_task_is_admitted_anyway_and_shows_that(api: APIClient) -> None:
    Lane.objects.update(rate_limit=1, rate_per="hour")
    created(api, hourly())
    task = created(api, hourly(admit="anyway", cron="1 * * * *"))

    assert task["admit"] == "anyway"
    path = f"/tasks/{task['id']}"
    kept = api.patch(path, {"admit": None}, format="json").json()
    assert "admit" not in kept
    moved = api.patch(path, {"cron": "*/30 * * * *"}, format="json")
    assert moved.status_code == 400
    assert moved.json()["error"]["field"] == "lane"
    assert "3 times as many" in moved.json()["error"]["message"]


@pytest.mark.parametrize("value", ["", "never", True, 1, ["anyway"], {}])
def test_admit_says_anyway_or_nothing(api: APIClient, value: object) -> None:
    answer = api.post("/tasks/", hourly(admit=value), format="json")

    assert answer.status_code == 400
    assert "admit" in answer.json()["error"]["message"]


def test_a_preview_says_whether_so_many_tasks_fit(api: APIClient) -> None:
    asked = {**hourly(spread=300), "copies": 10_000, "n": 1}

    narrow = api.post("/tasks/preview/", asked, format="json").json()
    wide = api.post("/tasks/preview/", {**asked, "spread": 600}, format="json").json()
    other = {name: asked[name] for name in asked.keys() - {"lane"}}
    without = api.post("/tasks/preview/", other, format="json").json()

    [verdict] = narrow["admission"]
    assert FULL in verdict.pop("message")
    assert verdict.pop("at").endswith(":00:00Z")
    assert verdict == {
        "lane": "crm",
        "rate": {"limit": 20, "seconds": 1},
        "fits": False,
        "tasks": 10_000,
        "latest_start": 500,
        "allowed": 300,
        "smallest_spread": 500,
    }
    assert [each["fits"] for each in wide["admission"]] == [True]
    assert "admission" not in without


@pytest.mark.parametrize("copies", [0, 10_001, "2", True, 1.5])
def test_a_preview_refuses_an_odd_number_of_copies(
    api: APIClient, copies: object
) -> None:
    answer = api.post("/tasks/preview/", {**hourly(), "copies": copies}, format="json")

    assert answer.status_code == 400
    assert "copies" in answer.json()["error"]["message"]


def test_a_plan_shows_the_verdict_and_its_application_is_refused(
    api: APIClient,
) -> None:
    Lane.objects.update(rate_limit=1)
    wanted = [hourly(name=f"n{number}") for number in range(70)]

    plan = apply_tasks(api, wanted, dry_run=True)
    done = apply_tasks(api, wanted)

    [verdict] = plan.json()["admission"]
    assert (verdict["fits"], verdict["tasks"]) == (False, 70)
    assert done.status_code == 400
    [first] = done.json()["error"]["tasks"]
    assert (first["index"], first["lane"]) == (0, "crm")
    assert first["smallest_spread"] == verdict["smallest_spread"]
    assert not Task.objects.exists()


def test_a_list_that_changes_nothing_in_a_lane_asks_no_lane(api: APIClient) -> None:
    wanted = [hourly(name=f"n{number}", spread=60) for number in range(30)]
    first = apply_tasks(api, wanted).json()
    Lane.objects.update(rate_limit=1, rate_per="hour")

    same = apply_tasks(api, [{**task, "post_data": {"a": 1}} for task in wanted])

    assert [each["fits"] for each in first["admission"]] == [True]
    assert same.status_code == 200
    assert "admission" not in same.json()
    assert same.json()["counts"]["change"] == 30


def test_an_automatic_spread_is_shown_and_stays(api: APIClient) -> None:
    task = created(api, hourly(spread="auto"))
    second = created(api, hourly(spread="auto"))

    assert (task["spread"], task["spread_offset"]) == ("auto", 0)
    assert second["spread_offset"] > 0
    again = {**task, "post_data": {"a": 1}}
    shown = api.patch(f"/tasks/{task['id']}", again, format="json").json()
    assert shown == again
    assert shown["next_run_datetime"] == task["next_run_datetime"]
    numbers = api.patch(f"/tasks/{task['id']}", {"spread": 60}, format="json").json()
    assert numbers["spread"] == 60
    assert "spread_offset" not in numbers


def test_automatic_spreads_fill_the_emptiest_seconds(api: APIClient) -> None:
    Lane.objects.update(rate_limit=2)
    tasks = [hourly(spread="auto", name=f"n{number}") for number in range(200)]

    assert apply_tasks(api, tasks).status_code == 200

    offsets = [*Task.objects.values_list("spread_offset", flat=True)]
    assert max(offsets) < 300
    assert max(offsets.count(each) for each in set(offsets)) == 1
    assert set(Task.objects.values_list("spread", flat=True)) == {300}


def test_a_task_without_a_lane_avoids_those_of_its_host(api: APIClient) -> None:
    of_host = {"task_type": "periodic", "cron": "0 * * * *"}
    for _ in range(3):
        created(api, {**of_host, "url": "http://a.example/x", "spread": "auto"})
    created(api, {**of_host, "url": "http://b.example/x", "spread": "auto"})

    shown = Task.objects.order_by("pk").values_list("spread_offset", flat=True)

    assert [*shown] == [0, 1, 2, 0]


@pytest.mark.parametrize(
    "crons",
    [
        [f"@every {seconds}s" for seconds in range(3600, 3900)],
        [f"{n % 60} {n // 60} * * *" for n in range(1000)],
    ],
    ids=["intervals", "crons"],
)
@pytest.mark.parametrize("changes", [{}, {"spread": "auto"}], ids=["at once", "auto"])
def test_many_tasks_with_different_schedules_are_judged(
    api: APIClient, crons: list[str], changes: dict[str, Any]
) -> None:
    wanted = [hourly(cron=cron, **changes) for cron in crons]

    answer = api.post("/tasks/bulk/", wanted, format="json")

    assert answer.status_code == 201, answer.json()
    created(api, wanted[0])


def test_automatic_spreads_that_take_too_long_are_refused(api: APIClient) -> None:
    seconds = range(3600, 4600)
    wanted = [hourly(cron=f"@every {each}s", spread="auto") for each in seconds]

    answer = api.post("/tasks/bulk/", wanted, format="json")

    assert answer.status_code == 400
    assert "ask for less at once" in answer.json()["error"]["message"]
    assert not Task.objects.exists()


@pytest.mark.parametrize("value", ["Auto", "", "60", -1, True, 1.5, [], {}])
def test_a_spread_is_a_number_or_auto(api: APIClient, value: object) -> None:
    answer = api.post("/tasks/", hourly(spread=value), format="json")

    assert answer.status_code == 400
    assert "spread" in answer.json()["error"]["message"]


def test_a_lane_shows_what_comes_and_how_long_it_waits(
    api: APIClient, lane: Lane, user: User
) -> None:
    Lane.objects.update(rate_limit=1)
    api.post("/tasks/bulk/", [hourly()] * 60, format="json")
    paused = created(api, hourly(admit="anyway", paused=True))
    at = (timezone.now() + timedelta(hours=2)).replace(minute=30, second=0)
    once = {"task_type": "one_time", "run_datetime": at.isoformat(), "lane": "crm"}
    api.post("/tasks/bulk/", [{**once, "url": "http://a/"}] * 100, format="json")
    since = at.replace(minute=0, microsecond=0)
    until = since + timedelta(hours=2)

    query = {"from": since.isoformat(), "to": until.isoformat()}
    shown = api.get("/lanes/crm/forecast/", query).json()

    assert paused["paused"] is True
    assert shown["counts"] == [160, 60]
    assert shown["paused_counts"] == [1, 1]
    assert shown["capacity"] == 3600
    assert shown["utilization"] == [round(160 / 3600, 4), round(60 / 3600, 4)]
    assert shown["longest_wait"] == [99.0, 59.0]
    by_lane = api.get("/forecast/", {**query, "by": "lane"}).json()
    assert [(each["lane"], each["total"]) for each in by_lane["series"]] == [
        ("crm", 220)
    ]


def test_a_lane_without_a_rate_shows_what_comes(api: APIClient) -> None:
    Lane.objects.update(rate_limit=None)
    created(api, hourly())

    shown = api.get("/lanes/crm/forecast/").json()

    assert shown["total"] == 24
    assert (shown["rate"], shown["capacity"]) == (None, None)
    assert (shown["utilization"], shown["longest_wait"]) == (None, None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("to=2199-01-01T00:00:00Z", "to"),
        ("bucket=1", "bucket"),
        ("by=host", "by"),
        ("from=yesterday", "from"),
    ],
)
def test_odd_forecasts_of_a_lane_are_refused(
    api: APIClient, query: str, field: str
) -> None:
    answer = api.get(f"/lanes/crm/forecast/?{query}")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


def test_only_the_tenant_sees_the_forecast_of_its_lanes(
    api: APIClient, stranger: User, colleague: User, client_for: ClientFor
) -> None:
    created(api, hourly())
    boss = client_for(accounts.change_user(colleague, role=Role.ADMIN))

    assert client_for(stranger).get("/lanes/crm/forecast/").status_code == 404
    assert boss.get("/lanes/crm/forecast/").json()["total"] == 24
    assert api.get("/lanes/none/forecast/").json() == {
        "error": {"message": "Lane not found"}
    }
