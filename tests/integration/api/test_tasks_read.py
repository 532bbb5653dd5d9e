"""What the tasks surface shows of tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task
from tasks_api.services import tasks
from tests.conftest import MakeTask
from tests.integration.support.tasks_surface import (
    ONE_TIME,
    PERIODIC,
    START,
    created,
)

HOUR = timedelta(hours=1)


def test_the_list_has_the_callers_tasks_and_the_oldest_first(
    api: APIClient, user: User, colleague: User, stranger: User, make_task: MakeTask
) -> None:
    for owner in (user, colleague, stranger, user):
        make_task(owner)

    answer = api.get("/tasks/").json()

    own = Task.objects.for_owner(user).order_by("created_at")
    assert list(answer) == ["count", "tasks"]
    assert answer["count"] == 2
    assert [task["id"] for task in answer["tasks"]] == [str(task.pk) for task in own]


def test_the_list_is_empty_for_who_has_no_tasks(api: APIClient) -> None:
    assert api.get("/tasks/").json() == {"count": 0, "tasks": []}


def test_the_list_shows_tasks_as_the_detail_does(api: APIClient) -> None:
    periodic, once = created(api, PERIODIC), created(api, ONE_TIME)

    assert api.get("/tasks/").json()["tasks"] == [periodic, once]


@pytest.mark.parametrize(
    ("query", "places", "following"),
    [
        ("", [0, 1, 2, 3, 4], None),
        ("?limit=2", [0, 1], "limit=2&offset=2"),
        ("?limit=2&offset=2", [2, 3], "limit=2&offset=4"),
        ("?limit=2&offset=4", [4], None),
        ("?limit=5", [0, 1, 2, 3, 4], None),
        ("?limit=1000000", [0, 1, 2, 3, 4], None),
        ("?offset=3", [3, 4], None),
        ("?offset=5", [], None),
        ("?offset=999999999", [], None),
    ],
)
def test_the_list_is_paged(
    api: APIClient,
    make_task: MakeTask,
    query: str,
    places: list[int],
    following: str | None,
) -> None:
    ids = [str(make_task().pk) for _ in range(5)]

    answer = api.get(f"/tasks/{query}")

    link = f'<http://testserver/tasks/?{following}>; rel="next"'
    assert answer.json()["count"] == 5
    found = [task["id"] for task in answer.json()["tasks"]]
    assert found == [ids[place] for place in places]
    assert answer.get("Link") == (link if following else None)


def test_the_links_lead_through_all_tasks(api: APIClient, make_task: MakeTask) -> None:
    ids = [str(make_task().pk) for _ in range(5)]
    answer, found = api.get("/tasks?limit=2"), []

    while True:
        found += [task["id"] for task in answer.json()["tasks"]]
        if "Link" not in answer:
            break
        answer = api.get(answer["Link"].split(">")[0].removeprefix("<"))

    assert found == ids


def test_at_most_a_thousand_come_at_once(api: APIClient, user: User) -> None:
    now = timezone.now()
    spec = TaskSpec(Surface.TASKS, "http://example.com/", Once(now + HOUR), "{}")
    tasks.create_tasks(user, [spec] * 1001, now=now)

    everything, capped = api.get("/tasks/"), api.get("/tasks/?limit=9999&offset=1")

    assert everything.json()["count"] == 1001
    assert len(everything.json()["tasks"]) == 1000
    assert 'offset=1000>; rel="next"' in everything["Link"]
    assert len(capped.json()["tasks"]) == 1000
    assert "Link" not in capped


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.5", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=1%00", "limit"),
        ("offset=-1", "offset"),
        ("offset=x", "offset"),
        # More than PostgreSQL's OFFSET can be.
        ("offset=99999999999999999999", "offset"),
    ],
)
def test_a_page_that_cannot_be_is_refused(
    api: APIClient, query: str, name: str
) -> None:
    answer = api.get(f"/tasks/?{query}")

    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert message.startswith(f"Invalid value of {name}. ")


@pytest.mark.parametrize("count", [1, 20])
def test_the_list_costs_four_statements_however_long_it_is(
    api: APIClient,
    make_task: MakeTask,
    django_assert_num_queries: Callable[..., Any],
    count: int,
) -> None:
    for _ in range(count):
        make_task()
    api.get("/tasks/")

    # The token, the count, the ids, the tasks: their schedules come along.
    with django_assert_num_queries(4):
        api.get("/tasks/")


def test_a_paused_task_has_no_next_run(api: APIClient) -> None:
    task = created(api, PERIODIC)

    api.post(f"/tasks/{task['id']}/pause/")

    assert api.get(f"/tasks/{task['id']}").json() == {
        **task,
        "next_run_datetime": None,
        "paused": True,
    }


def test_a_resumed_task_goes_on_with_its_grid(
    api: APIClient, make_task: MakeTask
) -> None:
    start = timezone.now().replace(microsecond=0) - timedelta(minutes=90)
    task = make_task(schedule=Interval(start, HOUR, start + 9 * HOUR))
    api.post(f"/tasks/{task.pk}/pause/")

    api.post(f"/tasks/{task.pk}/resume/")

    shown = api.get(f"/tasks/{task.pk}").json()
    assert shown["next_run_datetime"] == f"{start + 2 * HOUR:%Y-%m-%d %H:%M:%S}"


def test_a_task_is_shown_in_utc_whatever_the_year(
    api: APIClient, make_task: MakeTask
) -> None:
    early = datetime(987, 6, 5, 4, 3, 2, 999_999, tzinfo=UTC)
    task = make_task(schedule=Once(early))

    assert api.get(f"/tasks/{task.pk}").json()["run_datetime"] == "0987-06-05 04:03:02"


NO_SCHEDULE = {"interval": None, "crontab": None, "clocked": None, "solar": None}


def crontab() -> dict[str, Any]:
    schedule = CrontabSchedule.objects.create(minute="30", hour="4")
    return {**NO_SCHEDULE, "crontab": schedule}


def bare_crontab() -> dict[str, Any]:
    return {**crontab(), "start_time": None, "expires": None}


def other_interval() -> dict[str, Any]:
    return {"interval": IntervalSchedule.objects.create(every=3, period="days")}


def endless() -> dict[str, Any]:
    return {"expires": None}


def clocked() -> dict[str, Any]:
    schedule = ClockedSchedule.objects.create(clocked_time=START)
    return {**NO_SCHEDULE, "clocked": schedule, "one_off": True}


def solar() -> dict[str, Any]:
    """A kind that this service cannot compute."""
    schedule = SolarSchedule.objects.create(event="sunset", latitude=1, longitude=1)
    return {**NO_SCHEDULE, "solar": schedule}


NOTHING_KNOWN = {"frequency": None, "start_datetime": None, "end_datetime": None}


@pytest.mark.parametrize(
    ("edit", "shown"),
    [
        (crontab, {"frequency": None, "start_datetime": "2090-12-05 08:00:00"}),
        (bare_crontab, NOTHING_KNOWN),
        (other_interval, {"frequency": 259_200, "end_datetime": "2091-01-05 08:00:00"}),
        (endless, {"frequency": 3601, "end_datetime": None}),
        (clocked, {"task_type": "one_time", "run_datetime": "2090-12-05 08:00:00"}),
        (solar, NOTHING_KNOWN),
    ],
)
def test_a_schedule_that_the_admin_edited_is_shown(
    api: APIClient, edit: Callable[[], dict[str, Any]], shown: dict[str, Any]
) -> None:
    task_id = created(api, PERIODIC)["id"]
    PeriodicTask.objects.filter(http_task=task_id).update(**edit())

    task = api.get(f"/tasks/id/{task_id}").json()

    assert {name: task[name] for name in shown} == shown
    assert api.get("/tasks/").json()["tasks"] == [task]
