"""A task that uses every field at once loses none of them when it is sent back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.api.tasks.optional_fields import OPTIONAL_FIELDS
from tasks_api.models import Lane, ScheduleChange, Task
from tests.integration.support.calendars import make_calendar
from tests.integration.support.task_forms import values_of
from tests.integration.support.tasks_surface import created

pytestmark = pytest.mark.django_db(transaction=True)

REQUEST = {
    "url": "https://crm.example/x",
    "method": "PUT",
    "body": "a=1",
    "content_type": "text/plain",
    "headers": {"X-Api-Key": "s3cret"},
    "timeout_seconds": 5,
}
OPTIONAL: dict[str, Any] = {
    "long_work": {"deadline": 60},
    "overlap": "skip",
    "misfire": "all",
    "catchup_window": 100,
    "spread": 60,
    "admit": "anyway",
    "lane": "crm",
    "calendars": {
        "exclude": ["closed"],
        "only": ["open"],
        "on_excluded": "next_business_day",
        "hold": ["freeze"],
        "pace": "20/minute",
    },
    "expected_status": "200-299,304",
    "retry": {"max_attempts": 3},
    "pause_after_failures": 3,
    "max_runs": 50,
    "stop_on_success": True,
}
DST = {"gap": "skip", "overlap": "first"}
SCHEDULES: dict[str, dict[str, Any]] = {
    "frequency": {
        "frequency": 7200,
        "start_datetime": "2090-12-05 08:00:00",
        "end_datetime": "2092-01-05 08:00:00",
    },
    "cron": {"cron": "0 9 * * *", "timezone": "Europe/Berlin", "dst": DST},
    "rrule": {
        "rrule": "DTSTART;TZID=Europe/Berlin:20901201T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO",
        "dst": DST,
    },
    "schedules": {
        "schedules": [
            {"frequency": 7200},
            {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"},
            {"rrule": "DTSTART:20200101T000000Z\nRRULE:FREQ=MONTHLY;BYDAY=-1FR"},
        ],
        "end_datetime": "2095-12-01 09:00:00",
        "dst": DST,
    },
}
numbers = count()


@pytest.fixture(autouse=True)
def surroundings(user: User) -> None:
    """The lane and the calendars that the tasks name."""
    for name, days in (("closed", ["sat"]), ("open", ["mon", "fri"]), ("freeze", [])):
        make_calendar(user, name, weekdays=days)
    assert user.tenant
    Lane.objects.create(tenant=user.tenant, name="crm", rate_limit=1, concurrency=2)


def whole(schedule: str, **changes: Any) -> dict[str, Any]:
    tag = f"tag {next(numbers)}"
    return {
        "task_type": "periodic",
        "name": f"n/{tag}",
        "tags": [tag, "b"],
        **REQUEST,
        **SCHEDULES[schedule],
        **OPTIONAL,
        **changes,
    }


def patch(api: APIClient, task: dict[str, Any]) -> Any:
    return api.patch(f"/tasks/{task['id']}/", task, format="json")


def put(api: APIClient, task: dict[str, Any]) -> Any:
    return api.put(f"/tasks/by-name/{task['name']}/", task, format="json")


def apply(api: APIClient, task: dict[str, Any]) -> Any:
    body = {"tag": task["tags"][0], "tasks": [task]}
    return api.post("/tasks/apply/", body, format="json")


def change_many(api: APIClient, task: dict[str, Any]) -> Any:
    wanted = {
        name: task[name] for name in ("method", "tags", *OPTIONAL) if name in task
    }
    body = {"filter": {"tag": task["tags"][0]}, "set": wanted}
    plan = api.post("/tasks/change/", {**body, "dry_run": True}, format="json").json()
    return api.post("/tasks/change/", {**body, "hash": plan["hash"]}, format="json")


def edit(api: APIClient, task: dict[str, Any]) -> Any:
    """Send the form of a task as it is shown."""
    browser = Client()
    browser.force_login(Task.objects.get(pk=task["id"]).owner)
    path = f"/app/tasks/{task['id']}/edit/"
    answer = browser.post(path, values_of(browser, path))
    assert answer.status_code == 302, answer.content.decode()
    return api.get(f"/tasks/{task['id']}/")


WAYS: list[Callable[[APIClient, dict[str, Any]], Any]] = [
    patch,
    put,
    apply,
    change_many,
    edit,
]


def require_the_same(
    api: APIClient, task: dict[str, Any], say: Callable[..., Any]
) -> None:
    before = api.get(f"/tasks/{task['id']}/")
    changes = ScheduleChange.objects.filter(task=task["id"]).count()

    answer = say(api, before.json())

    assert answer.status_code == 200, answer.content
    after = api.get(f"/tasks/{task['id']}/")
    assert (after.json(), after["ETag"]) == (before.json(), before["ETag"])
    assert ScheduleChange.objects.filter(task=task["id"]).count() == changes


def test_the_tasks_of_this_file_use_every_field() -> None:
    used = {"dst", "spread_offset", *REQUEST, *OPTIONAL}
    assert {field.name for field in OPTIONAL_FIELDS} <= used


@pytest.mark.parametrize("say", WAYS, ids=lambda say: say.__name__)
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_a_task_with_every_field_stays_as_it_is(
    api: APIClient, schedule: str, say: Callable[..., Any]
) -> None:
    asked = whole(schedule)
    task = created(api, asked)

    assert asked.keys() - task.keys() == set()
    require_the_same(api, task, say)


@pytest.mark.parametrize("say", WAYS, ids=lambda say: say.__name__)
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_a_pause_by_a_filter_stays_as_it_is(
    api: APIClient, schedule: str, say: Callable[..., Any]
) -> None:
    task = created(api, whole(schedule, spread="auto"))
    until = (timezone.now() + timedelta(days=1)).isoformat()
    pause = {"filter": {"tag": task["tags"][0]}, "reason": "a freeze", "until": until}
    answer = api.post("/tasks/pause/", {**pause, "catch_up": "all"}, format="json")
    assert answer.status_code == 200, answer.json()
    held = Task.objects.filter(pk=task["id"]).values().get()

    require_the_same(api, task, say)

    assert Task.objects.filter(pk=task["id"]).values().get() == held
    assert (held["hold_reason"], held["catch_up"]) == ("a freeze", "all")


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    names=st.sets(st.sampled_from(sorted(OPTIONAL))),
    choice=st.sets(st.sampled_from(sorted(OPTIONAL["calendars"]))),
    say=st.sampled_from(WAYS),
)
def test_a_task_with_some_of_the_fields_stays_as_it_is(
    api: APIClient,
    schedule: str,
    names: set[str],
    choice: set[str],
    say: Callable[..., Any],
) -> None:
    left_out = dict.fromkeys(OPTIONAL.keys() - names)
    task = whole(schedule, **left_out)
    if task["calendars"]:
        needed = {"pace": "hold", "on_excluded": "only"}
        kept = choice | {needed[each] for each in choice & needed.keys()}
        task["calendars"] = {name: OPTIONAL["calendars"][name] for name in kept}

    require_the_same(api, created(api, task), say)
