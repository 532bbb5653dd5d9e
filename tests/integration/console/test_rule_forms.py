"""The form of a task with rules shows them in words, and keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from console.task_forms.drafts import initial_of
from scheduler_service.db import clock
from tasks_api.models import Task
from tests.integration.support.tasks_surface import created

pytestmark = pytest.mark.django_db

URL = "https://example.com/report"
TASKS: dict[str, dict[str, Any]] = {
    "rrule": {
        "task_type": "periodic",
        "rrule": "DTSTART;TZID=Europe/Berlin:20901201T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO",
        "start_datetime": "2090-12-24 00:00:00",
        "dst": {"gap": "skip", "overlap": "first"},
        "url": URL,
    },
    "schedules": {
        "task_type": "periodic",
        "schedules": [
            {"frequency": 7200, "start_datetime": "2090-12-01 09:00:00"},
            {"cron": "0 9 * * *", "timezone": "Europe/Berlin"},
            {"rrule": "DTSTART:20901201T090000Z\nRRULE:FREQ=YEARLY;COUNT=3"},
        ],
        "url": URL,
    },
}
WORDS = {
    "rrule": "Every week on Monday at 09:00, in Europe/Berlin",
    "schedules": "Every 2 hours; and At 09:00, in Europe/Berlin; and Every year in December",
}


@pytest.fixture
def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def form_of(task_id: str) -> dict[str, Any]:
    task = Task.objects.with_schedule().get(pk=task_id)
    initial = initial_of(task, clock.now())
    given = {name: value for name, value in initial.items() if value is not None}
    return {**given, "version": task.version}


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_an_edit_of_something_else_keeps_the_rules(
    api: APIClient, browser: Client, kind: str
) -> None:
    shown = created(api, TASKS[kind])
    path = f"/app/tasks/{shown['id']}/edit/"

    page = browser.get(path).content.decode()
    assert f"As now: {WORDS[kind]}" in page
    preview = browser.post(path, form_of(shown["id"]) | {"action": "preview"})
    assert WORDS[kind] in preview.content.decode()

    answer = browser.post(path, form_of(shown["id"]) | {"tags": "new"})

    assert answer.status_code == 302, answer.content.decode()
    after = api.get(f"/tasks/{shown['id']}").json()
    assert after == shown | {"tags": ["new"]}


def test_another_kind_of_schedule_takes_the_place_of_rules(
    api: APIClient, browser: Client
) -> None:
    shown = created(api, TASKS["schedules"])
    change = {"schedule": "cron", "cron": "0 7 * * *"}

    answer = browser.post(
        f"/app/tasks/{shown['id']}/edit/", form_of(shown["id"]) | change
    )

    assert answer.status_code == 302, answer.content.decode()
    after = api.get(f"/tasks/{shown['id']}").json()
    assert after["cron"] == "0 7 * * *"
    assert "schedules" not in after


def test_a_copy_has_the_rules_and_a_new_task_offers_none(
    api: APIClient, browser: Client
) -> None:
    shown = created(api, TASKS["rrule"])

    copied = browser.get(f"/app/tasks/new/?copy={shown['id']}").content.decode()

    assert f"As now: {WORDS['rrule']}" in copied
    assert "As now:" not in browser.get("/app/tasks/new/").content.decode()


@pytest.mark.parametrize(
    "rules", ["[", '{"cron": "* * * * *"}', '{"rrule": 1}', "x" * 60_000]
)
def test_rules_that_nobody_wrote_are_refused(
    api: APIClient, browser: Client, rules: str
) -> None:
    shown = created(api, TASKS["rrule"])

    answer = browser.post(
        f"/app/tasks/{shown['id']}/edit/", form_of(shown["id"]) | {"rules": rules}
    )

    assert answer.status_code == 200
    assert api.get(f"/tasks/{shown['id']}").json() == shown


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_the_pages_of_a_task_say_its_rules_in_words(
    api: APIClient, browser: Client, kind: str
) -> None:
    shown = created(api, TASKS[kind])

    for path in (f"/app/tasks/{shown['id']}/", "/app/tasks/"):
        assert WORDS[kind] in browser.get(path).content.decode(), path
