"""Tasks over the API that follow calendars: their field, preview, account and lists."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import Task
from tests.conftest import ClientFor
from tests.integration.support.calendars_surface import CRON, make_calendar
from tests.integration.support.tasks_surface import (
    ONE_TIME,
    PERIODIC,
    apply_tasks,
    created,
    error,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(tenant_admin: User, client_for: ClientFor) -> APIClient:
    return client_for(tenant_admin)


def test_a_task_shows_its_calendars_and_keeps_them_when_it_is_patched(
    admin: APIClient,
) -> None:
    make_calendar(admin)
    given = {"exclude": ["closed"], "on_excluded": "next_business_day"}

    task = created(admin, {**CRON, "calendars": given})

    assert task["calendars"] == given
    assert admin.get("/calendars/closed").json()["task_count"] == 1
    path = f"/tasks/id/{task['id']}"
    same = admin.patch(path, {"tags": ["a"]}, format="json")
    assert same.json()["calendars"] == given
    version = Task.objects.get().version
    put = admin.put(f"/tasks/by-name/{'x'}", {**CRON, "name": "x"}, format="json")
    assert "calendars" not in put.json()
    gone = admin.patch(path, {"calendars": None}, format="json")
    assert "calendars" not in gone.json()
    assert Task.objects.get(pk=task["id"]).version == version + 1
    assert admin.delete("/calendars/closed").status_code == 200


def test_a_calendar_in_use_is_not_removed(admin: APIClient) -> None:
    make_calendar(admin)
    for _ in range(2):
        created(admin, {**CRON, "calendars": {"hold": ["closed"], "pace": "20/minute"}})

    answer = admin.delete("/calendars/closed")

    assert answer.status_code == 409
    assert answer.json() == error(
        "2 tasks follow this calendar; take it from them first"
    )


def test_tasks_without_calendars_show_none(api: APIClient) -> None:
    assert "calendars" not in created(api, PERIODIC)
    assert "calendars" not in created(api, {**CRON, "calendars": {}})


@pytest.mark.parametrize(
    ("body", "calendars", "message"),
    [
        (CRON, [], "Invalid value of calendars. It should be an object"),
        (CRON, {"exclude": "closed"}, "Invalid value of calendars.exclude"),
        (CRON, {"exclude": ["closed"] * 11}, "Invalid value of calendars.exclude"),
        (CRON, {"only": [1]}, "Invalid value of calendars.only"),
        (CRON, {"exclude": ["holiday"]}, "Invalid value of calendars. There is no"),
        (
            CRON,
            {"exclude": ["closed"], "on_excluded": "later"},
            "Invalid value of calendars.on_excluded",
        ),
        (
            CRON,
            {"hold": ["closed"], "on_excluded": "next_business_day"},
            "Invalid value of calendars.on_excluded. It goes with exclude or only",
        ),
        (CRON, {"hold": ["closed"], "pace": "fast"}, "Invalid value of calendars.pace"),
        (CRON, {"hold": ["closed"], "pace": 20}, "Invalid value of calendars.pace"),
        (
            CRON,
            {"exclude": ["closed"], "pace": "1/hour"},
            "Invalid value of calendars.pace. It goes with hold",
        ),
        (
            {**CRON, "cron": "*/5 * * * *"},
            {"exclude": ["closed"], "on_excluded": "previous_business_day"},
            "Invalid value of calendars.on_excluded. It goes with a schedule that fires",
        ),
        (
            {**CRON, "overlap": "queue_one"},
            {"hold": ["closed"]},
            "Invalid value of calendars.hold. It goes with overlap allow or skip",
        ),
        (
            ONE_TIME,
            {"exclude": ["closed"]},
            "Invalid value of calendars. It goes with a",
        ),
        (CRON, {"excludes": ["closed"]}, "Unknown field: calendars.excludes"),
        (
            {**CRON, "cron": "0 9 * * 6"},
            {"exclude": ["closed"]},
            "Invalid value of calendars. It never fires again.",
        ),
    ],
)
def test_wrong_calendars_of_a_task_are_refused(
    admin: APIClient, body: dict[str, Any], calendars: object, message: str
) -> None:
    make_calendar(admin)

    answer = admin.post("/tasks/", {**body, "calendars": calendars}, format="json")

    assert answer.status_code == 400, answer.json()
    assert answer.json()["error"]["message"].startswith(message)
    assert not Task.objects.exists()


def test_the_preview_names_the_calendar_of_each_fire_time(admin: APIClient) -> None:
    make_calendar(admin, dates=[], ranges=[], holidays=None)
    body = {**CRON, "from": "2027-01-08T00:00:00Z", "n": 2}

    skipped = admin.post(
        "/tasks/preview/", {**body, "calendars": {"exclude": ["closed"]}}, format="json"
    ).json()

    by = {"calendar": "closed", "version": 1}
    shown = [(each["at"], each.get("excluded_by")) for each in skipped["fire_times"]]
    assert shown == [
        ("2027-01-08T08:00:00Z", None),
        (None, by),
        (None, by),
        ("2027-01-11T08:00:00Z", None),
    ]
    assert skipped["fire_times"][1]["local"] == "2027-01-09T09:00:00+01:00"
    weekly = {**body, "cron": "0 9 * * 6", "n": 1}
    moving = {"exclude": ["closed"], "on_excluded": "next_business_day"}
    moved = admin.post(
        "/tasks/preview/", {**weekly, "calendars": moving}, format="json"
    )
    [each] = moved.json()["fire_times"]
    assert each == {
        "at": "2027-01-11T08:00:00Z",
        "local": "2027-01-11T09:00:00+01:00",
        "dst": None,
        "moved_from": "2027-01-09T08:00:00Z",
        "moved_by": by,
    }


def test_the_coming_fire_times_of_a_stored_task_follow_its_calendars(
    admin: APIClient,
) -> None:
    make_calendar(admin, dates=[], ranges=[], holidays=None)
    task = created(admin, {**CRON, "calendars": {"only": ["closed"]}})

    found = admin.get(f"/tasks/{task['id']}/next?n=4").json()["fire_times"]

    fires = [datetime.fromisoformat(each["at"]) for each in found if each["at"]]
    assert [at.weekday() in (5, 6) for at in fires] == [True] * 4
    left = [each for each in found if each["at"] is None]
    assert {each["excluded_by"]["calendar"] for each in left} == {"closed"}
    listed = task["next_run_datetime"].replace(" ", "T") + "Z"
    assert listed == next(each["at"] for each in found if each["at"])


def test_the_account_counts_excluded_fire_times_of_tasks_on_calendars_alone(
    admin: APIClient,
) -> None:
    make_calendar(admin)
    plain = created(admin, CRON)
    task = created(admin, {**CRON, "calendars": {"exclude": ["closed"]}})

    assert "excluded" not in admin.get(f"/tasks/{plain['id']}/account").json()
    account = admin.get(f"/tasks/{task['id']}/account").json()
    assert (account["excluded"], account["excluded_times"]) == (0, [])


def test_a_list_of_tasks_is_applied_with_calendars(admin: APIClient) -> None:
    make_calendar(admin)
    listed = [{**CRON, "name": "a", "calendars": {"exclude": ["closed"]}}]

    first = apply_tasks(admin, listed).json()
    second = apply_tasks(admin, listed).json()

    assert [step["action"] for step in first["tasks"]] == ["create"]
    assert [step["action"] for step in second["tasks"]] == ["keep"]
    third = apply_tasks(admin, [{**CRON, "name": "a"}]).json()
    assert [step["action"] for step in third["tasks"]] == ["change"]


def test_tasks_in_bulk_follow_calendars(admin: APIClient) -> None:
    make_calendar(admin)
    bodies = [{**CRON, "calendars": {"exclude": ["closed"]}}, CRON]

    assert admin.post("/tasks/bulk/", bodies, format="json").status_code == 201
    assert Task.objects.exclude(calendars="").count() == 1
