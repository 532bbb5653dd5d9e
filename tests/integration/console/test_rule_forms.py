"""The form of a task makes, shows and keeps recurrence rules and several schedules."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import Task
from tests.integration.support.logins import browser_of
from tests.integration.support.task_forms import (
    NEW,
    edit_path,
    form_values,
    values_of,
)
from tests.integration.support.tasks_surface import created

pytestmark = pytest.mark.django_db

URL = "https://example.com/report"
RULE = "DTSTART;TZID=Europe/Berlin:20901201T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO"
TASKS: dict[str, dict[str, Any]] = {
    "rrule": {
        "task_type": "periodic",
        "rrule": RULE,
        "start_datetime": "2090-12-24 00:00:00",
        "dst": {"gap": "skip", "overlap": "first"},
        "url": URL,
    },
    "schedules": {
        "task_type": "periodic",
        "schedules": [
            {"frequency": 7200, "start_datetime": "2090-12-01 09:00:00"},
            {
                "cron": "0 9 * * *",
                "timezone": "Europe/Berlin",
                "end_datetime": "2095-07-01 00:00:00",
            },
            {"rrule": "DTSTART:20901201T090000Z\nRRULE:FREQ=YEARLY;COUNT=3"},
            {"run_datetime": "2090-12-24 18:00:00"},
        ],
        "end_datetime": "2096-01-01 00:00:00",
        "url": URL,
    },
}
WORDS = {
    "rrule": "Every week on Monday at 09:00, in Europe/Berlin",
    "schedules": "Every 2 hours; and At 09:00, in Europe/Berlin; and Every year in December",
}
ROWS = {
    "schedule": "several",
    "url": URL,
    "timezone": "UTC",
    "row_count": "2",
    "row-0-kind": "cron",
    "row-0-value": "0 9 * * MON-FRI",
    "row-0-zone": "Europe/Berlin",
    "row-1-kind": "every",
    "row-1-value": "90 minutes",
    "row-1-start": "2090-12-01T09:00",
}


@pytest.fixture
def browser(user: User) -> Client:
    return browser_of(user)


def shown(api: APIClient, task: Task) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/tasks/{task.pk}").json()
    return found


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_an_edit_of_something_else_keeps_the_rules(
    api: APIClient, browser: Client, kind: str
) -> None:
    before = created(api, TASKS[kind])
    path = edit_path(before["id"])
    form = values_of(browser, path)

    preview = browser.post(path, form | {"action": "preview"})
    assert WORDS[kind] in preview.content.decode()
    browser.post(path, form)
    assert Task.objects.get().version == 1
    answer = browser.post(path, form | {"tags": "new"})

    assert answer.status_code == 302, answer.content.decode()
    assert shown(api, Task.objects.get()) == before | {"tags": ["new"]}


def test_a_rule_is_made_and_changed(api: APIClient, browser: Client) -> None:
    form = {"schedule": "rrule", "rrule": RULE.replace("\n", "\r\n"), "url": URL}

    browser.post(NEW, form)
    task = Task.objects.get()
    made = shown(api, task)
    changed = values_of(browser, edit_path(task.pk)) | {
        "rrule": "FREQ=DAILY;COUNT=3",
        "timezone": "Asia/Tokyo",
        "start_datetime": "2091-01-01T09:00:00",
    }
    answer = browser.post(edit_path(task.pk), changed)

    assert (made["rrule"], made["timezone"]) == (RULE, "Europe/Berlin")
    assert answer.status_code == 302, answer.content.decode()
    assert shown(api, task)["rrule"] == (
        "DTSTART;TZID=Asia/Tokyo:20910101T090000\nRRULE:FREQ=DAILY;COUNT=3"
    )


def test_several_schedules_are_made_from_rows(api: APIClient, browser: Client) -> None:
    answer = browser.post(NEW, ROWS)

    assert answer.status_code == 302, answer.content.decode()
    assert shown(api, Task.objects.get())["schedules"] == [
        {"cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin"},
        {"frequency": 5400, "start_datetime": "2090-12-01 09:00:00"},
    ]


def test_another_kind_of_schedule_takes_the_place_of_rules(
    api: APIClient, browser: Client
) -> None:
    before = created(api, TASKS["schedules"])
    path = edit_path(before["id"])

    answer = browser.post(
        path, values_of(browser, path) | {"schedule": "cron", "cron": "0 7 * * *"}
    )

    assert answer.status_code == 302, answer.content.decode()
    after = shown(api, Task.objects.get())
    assert after["cron"] == "0 7 * * *"
    assert "schedules" not in after


def test_a_copy_has_the_rules(api: APIClient, browser: Client) -> None:
    before = created(api, TASKS["schedules"])

    copied = values_of(browser, f"{NEW}?copy={before['id']}")

    assert copied["row_count"] == 4
    assert (copied["row-0-value"], copied["row-2-kind"]) == ("2 hours", "rrule")
    assert copied["row-1-end"] == "2095-07-01T02:00:00"


@pytest.mark.parametrize("path", ["new", "edit"])
def test_buttons_add_and_remove_rows_and_keep_what_was_typed(
    api: APIClient, browser: Client, path: str
) -> None:
    task = created(api, TASKS["rrule"])
    url = NEW if path == "new" else edit_path(task["id"])
    typed = {
        "name": "half",
        "headers": "X-Key: 1",
        "exclude": ["a", "b"],
        "version": "1",
    }

    added = browser.post(url, ROWS | typed | {"action": "add-row"})
    form = form_values(added.context["form"])
    removed = browser.post(url, form | {"action": "remove-row-0"})
    left = form_values(removed.context["form"])

    assert added.context["form"].errors == {}
    assert (form["row_count"], left["row_count"]) == (3, 2)
    assert left["row-0-value"] == "90 minutes"
    assert left.items() >= (typed | {"schedule": "several", "version": "1"}).items()
    assert Task.objects.get().name == ""


def test_there_are_as_many_rows_as_the_api_takes(browser: Client) -> None:
    full = browser.post(NEW, ROWS | {"row_count": "10", "action": "add-row"})
    wild = browser.post(NEW, ROWS | {"row_count": "99", "action": "add-row"})
    none = browser.post(NEW, ROWS | {"row_count": "x", "action": "remove-row-7"})

    counts = [len(answer.context["form"].rows) for answer in (full, wild, none)]
    assert counts == [10, 10, 2]
    assert "Add a schedule" not in full.content.decode()


@pytest.mark.parametrize(
    ("wrong", "number", "sentence"),
    [
        ({"row-0-value": "61 * * * *"}, 0, "Its minute field is not valid."),
        ({"row-1-value": "often"}, 1, "a number and a unit"),
        ({"row-1-value": ""}, 1, "This is needed."),
        ({"row-0-zone": "Mars"}, 0, "is not known"),
        (
            {"row-1-kind": "once", "row-1-value": "soon", "row-1-start": ""},
            1,
            "ISO 8601",
        ),
        ({"row-1-value": "1 second"}, 1, "greater than or equal to"),
    ],
)
def test_a_wrong_row_is_named_beside_it(
    browser: Client, wrong: dict[str, str], number: int, sentence: str
) -> None:
    form = browser.post(NEW, ROWS | wrong).context["form"]

    assert sentence in str(form.rows[number].errors)
    assert f"Schedule {number + 1} " in str(form.errors["schedule"])
    assert not Task.objects.exists()


def test_one_schedule_is_not_several(browser: Client) -> None:
    one = {name: value for name, value in ROWS.items() if not name.startswith("row-1")}

    form = browser.post(NEW, one).context["form"]

    assert "a list of 2 to 10 schedules" in str(form.errors["schedule"])


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_the_pages_of_a_task_say_its_rules_in_words(
    api: APIClient, browser: Client, kind: str
) -> None:
    task = created(api, TASKS[kind])

    for path in (f"/app/tasks/{task['id']}/", "/app/tasks/"):
        assert WORDS[kind] in browser.get(path).content.decode(), path
