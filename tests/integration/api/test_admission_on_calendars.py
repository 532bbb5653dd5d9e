"""A lane counts tasks with calendars at the moments that these leave, and no others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import Lane, Task
from tests.integration.support.calendars import make_calendar
from tests.integration.support.tasks_surface import apply_tasks, created

pytestmark = pytest.mark.django_db(transaction=True)

HOURLY: dict[str, Any] = {
    "task_type": "periodic",
    "url": "http://crm.example/",
    "cron": "0 * * * *",
    "lane": "crm",
    "tags": ["web"],
}
EARLY = ["mon", "tue", "wed"]
# What a lane of one run a second bears at once.
MOST = 61


@pytest.fixture(autouse=True)
def lane(user: User) -> Lane:
    make_calendar(user, "early", weekdays=EARLY)
    make_calendar(user, "everyday", weekdays=[*EARLY, "thu", "fri", "sat", "sun"])
    assert user.tenant
    return Lane.objects.create(tenant=user.tenant, name="crm", rate_limit=1)


def early(**changes: Any) -> dict[str, Any]:
    return {**HOURLY, "calendars": {"only": ["early"]}, **changes}


def late(**changes: Any) -> dict[str, Any]:
    return {**HOURLY, "calendars": {"exclude": ["early"]}, **changes}


def named(body: dict[str, Any], count: int) -> list[dict[str, Any]]:
    return [{**body, "name": f"n{number}"} for number in range(count)]


def fill(api: APIClient, body: dict[str, Any], count: int = MOST) -> None:
    answer = api.post("/tasks/bulk/", [body] * count, format="json")
    assert answer.status_code == 201, answer.json()


def create(api: APIClient, body: dict[str, Any]) -> Any:
    return api.post("/tasks/", body, format="json")


def create_many(api: APIClient, body: dict[str, Any]) -> Any:
    return api.post("/tasks/bulk/", [body, body], format="json")


def put(api: APIClient, body: dict[str, Any]) -> Any:
    return api.put("/tasks/by-name/n/", body, format="json")


def patch(api: APIClient, body: dict[str, Any]) -> Any:
    task = created(api, {**body, "calendars": None, "lane": None})
    return api.patch(f"/tasks/{task['id']}/", body, format="json")


def change(api: APIClient, body: dict[str, Any]) -> Any:
    created(api, {**body, "calendars": None, "lane": None, "tags": ["to change"]})
    wanted = {name: body[name] for name in ("calendars", "lane")}
    request = {"filter": {"tag": "to change"}, "set": wanted}
    plan = api.post("/tasks/change/", {**request, "dry_run": True}, format="json")
    if plan.status_code != 200:
        return plan
    request["hash"] = plan.json()["hash"]
    return api.post("/tasks/change/", request, format="json")


def apply(api: APIClient, body: dict[str, Any]) -> Any:
    tag = {"tag": "list", "tasks": named({**body, "tags": ["list"]}, 2)}
    return api.post("/tasks/apply/", tag, format="json")


@pytest.mark.parametrize(
    "say",
    [create, create_many, put, patch, change, apply],
    ids=lambda say: say.__name__,
)
def test_each_way_into_a_lane_judges_the_days_of_the_calendars(
    api: APIClient, say: Callable[[APIClient, dict[str, Any]], Any]
) -> None:
    fill(api, early())

    refused = say(api, early())
    taken = say(api, late())

    assert refused.status_code == 400, refused.json()
    error = refused.json()["error"]
    [found] = error.get("tasks", [error])
    assert found["lane"] == "crm"
    assert taken.status_code in (200, 201), taken.json()


def test_tasks_of_other_days_share_the_rate(api: APIClient) -> None:
    fill(api, early())
    fill(api, late())

    answer = create(api, {**HOURLY, "calendars": {"exclude": ["none"]}})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].endswith("There is no calendar none")
    assert create(api, HOURLY).status_code == 400
    assert Task.objects.count() == 2 * MOST


def test_a_preview_and_a_plan_judge_the_days_of_the_calendars(api: APIClient) -> None:
    fill(api, early())

    for body, fits in ((early(), False), (late(), True)):
        asked = {**body, "copies": MOST, "n": 1}
        del asked["tags"]
        preview = api.post("/tasks/preview/", asked, format="json").json()
        listed = named({**body, "tags": ["list"]}, MOST)
        request = {"tag": "list", "tasks": listed, "dry_run": True}
        plan = api.post("/tasks/apply/", request, format="json").json()

        assert [each["fits"] for each in preview["admission"]] == [fits]
        assert [each["fits"] for each in plan["admission"]] == [fits]


def test_a_list_keeps_the_places_of_tasks_with_calendars(api: APIClient) -> None:
    wanted = named(early(spread="auto"), 30)
    first = apply_tasks(api, wanted)
    places = dict(Task.objects.values_list("name", "spread_offset"))

    again = apply_tasks(api, wanted)

    assert first.status_code == 200, first.json()
    assert len(set(places.values())) == 30
    assert again.json()["counts"]["keep"] == 30
    assert "admission" not in again.json()
    assert dict(Task.objects.values_list("name", "spread_offset")) == places


def test_automatic_spreads_avoid_what_calendars_leave(api: APIClient) -> None:
    of_host = {**HOURLY, "lane": None, "spread": "auto"}
    for calendars in ({"only": ["everyday"]}, {"exclude": ["early"]}, None):
        created(api, {**of_host, "calendars": calendars})

    offsets = Task.objects.order_by("pk").values_list("spread_offset", flat=True)

    assert len(set(offsets)) == 3


def test_a_lane_forecasts_what_calendars_leave(api: APIClient) -> None:
    fill(api, early(), 10)
    fill(api, late(), 20)
    created(api, late(paused=True))
    since = (timezone.now() + timedelta(days=1)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    days = [since + timedelta(days=number) for number in range(7)]

    query = {
        "from": since.isoformat(),
        "to": (days[-1] + timedelta(days=1)).isoformat(),
    }
    shown = api.get("/lanes/crm/forecast/", {**query, "bucket": "86400"}).json()

    is_early = [day.weekday() < len(EARLY) for day in days]
    assert shown["counts"] == [240 if each else 480 for each in is_early]
    assert shown["paused_counts"] == [0 if each else 24 for each in is_early]
    assert shown["longest_wait"] == [9.0 if each else 19.0 for each in is_early]
