"""The forms that make and change tasks say what the API reads."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import AuditEntry, Role, Tenant, User
from tasks_api.domain.specs import Surface
from tasks_api.models import Run, Task
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.task_forms import (
    NEW,
    edit_path,
    form_values,
    values_of,
)

pytestmark = pytest.mark.django_db

CRON = {
    "schedule": "cron",
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "method": "POST",
    "url": "https://example.com/report",
}
EVERY = CRON | {"schedule": "every", "every": "2", "unit": "3600", "timezone": "UTC"}
ONCE = CRON | {"schedule": "once", "run_datetime": "2090-07-01T09:30:00"}
FULL = CRON | {
    "method": "PUT",
    "headers": "X-Api-Key: secret\nAccept: text/plain",
    "body": '{"n": 1.10}',
    "name": "reports/daily",
    "tags": "reports, eu",
    "timeout_seconds": "20",
    "expected_status": "200-299",
    "max_attempts": "5",
    "min_delay": "2.5",
    "overlap": "skip",
    "misfire": "all",
    "catchup_window": "600",
    "spread": "60",
    "gap": "skip",
    "passes": "both",
    "pause_after_failures": "3",
    "start_datetime": "2090-01-01T00:00",
    "deadline": "60",
    "max_runs": "5",
    "stop_on_success": "on",
}


@pytest.fixture
def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def shown(api: APIClient, task: Task) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/tasks/id/{task.pk}").json()
    return found


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


# Make a task.


@pytest.mark.parametrize(
    ("form", "schedule"),
    [
        (CRON, {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "frequency": None}),
        (EVERY, {"frequency": 7200, "end_datetime": None}),
        # The clock of Berlin is two hours ahead in summer.
        (ONCE, {"task_type": "one_time", "run_datetime": "2090-07-01 07:30:00"}),
    ],
)
def test_a_form_makes_the_task_that_the_api_shows(
    browser: Client, user: User, client_for: ClientFor, form: Any, schedule: Any
) -> None:
    answer = browser.post(NEW, form)

    task = Task.objects.get()
    assert answer["Location"] == f"/app/tasks/{task.pk}/"
    assert shown(client_for(user), task).items() >= schedule.items()
    assert AuditEntry.objects.get(action="task.create").via == "console"


def test_every_field_of_the_form_reaches_the_task(
    browser: Client, user: User, client_for: ClientFor
) -> None:
    browser.post(NEW, FULL)

    found = shown(client_for(user), Task.objects.get())
    assert found["method"] == "PUT"
    assert found["headers"].keys() == {"X-Api-Key", "Accept"}
    assert Task.objects.get().body == '{"n": 1.10}'
    assert found["tags"] == ["reports", "eu"]
    assert found["retry"]["max_attempts"] == 5
    assert found["retry"]["min_delay"] == 2.5
    assert found["dst"] == {"gap": "skip", "overlap": "both"}
    assert found["start_datetime"] == "2089-12-31 23:00:00"
    assert found["long_work"] == {"deadline": 60}
    names = {"timeout_seconds": 20, "expected_status": "200-299", "overlap": "skip"}
    more = {"misfire": "all", "catchup_window": 600, "spread": 60}
    ends = {"pause_after_failures": 3, "max_runs": 5, "stop_on_success": True}
    assert found.items() >= (names | more | ends).items()


def test_a_form_that_is_sent_twice_makes_one_task(browser: Client) -> None:
    form = CRON | {"key": browser.get(NEW).context["form"]["key"].value()}

    first, second = browser.post(NEW, form), browser.post(NEW, form)
    other = browser.post(NEW, form | {"cron": "@daily"})

    assert first["Location"] == second["Location"]
    assert Task.objects.count() == 1
    assert "This form made a task before" in text_of(other)
    assert other.context["form"]["key"].value() != form["key"]


@pytest.mark.parametrize(
    ("wrong", "field", "sentence"),
    [
        ({"url": ""}, "url", "This is needed."),
        ({"url": "ftp://example.com"}, "url", "http"),
        ({"url": "http://127.0.0.1/"}, "url", "Loopback"),
        ({"cron": "61 * * * *"}, "cron", "Its minute field is not valid."),
        ({"timezone": "Mars"}, "timezone", "is not known"),
        ({"schedule": "every", "timezone": ""}, "every", "This is needed."),
        ({"schedule": "every", "every": "many"}, "every", "Enter a whole number."),
        (ONCE | {"run_datetime": "2020-01-01T00:00"}, "run_datetime", "in future"),
        (ONCE | {"run_datetime": "soon"}, "run_datetime", "ISO 8601"),
        ({"end_datetime": "2020-01-01T00:00"}, "end_datetime", "after start_datetime"),
        ({"body": "{"}, "body", "The body is not valid JSON"),
        ({"headers": "X-Api-Key"}, "headers", "there is no colon in it"),
        ({"headers": "Host: example.com"}, "headers", "which the service sets itself"),
        ({"max_attempts": "1000"}, "max_attempts", "from 1 to 185"),
        ({"min_delay": "9", "max_delay": "3"}, "max_delay", "not be less than"),
        ({"expected_status": "fine"}, "expected_status", "status codes"),
        ({"tags": "x" * 101}, "tags", "1 to 100 characters"),
        ({"queue": "jobs"}, "queue", "either a url or a queue"),
        ({"max_runs": "0"}, "max_runs", "from 1 to"),
        ({"schedule": "rrule", "rrule": ""}, "rrule", "This is needed."),
        ({"schedule": "rrule", "rrule": "RRULE:FREQ=NEVER"}, "rrule", "FREQ"),
        ({"schedule": "rrule", "rrule": "FREQ=DAILY"}, "rrule", "needs a DTSTART"),
        ({"pace": "20/minute"}, "pace", "goes with a calendar"),
    ],
)
def test_a_wrong_field_is_named_beside_it(
    browser: Client, wrong: dict[str, str], field: str, sentence: str
) -> None:
    form = browser.post(NEW, CRON | wrong).context["form"]

    assert sentence in " ".join(form.errors[field])
    assert form.errors.keys() == {field}
    assert not Task.objects.exists()


def test_all_wrong_fields_are_named_at_once(browser: Client) -> None:
    wrong = {"url": "", "cron": "* *", "max_attempts": "0", "tags": "x" * 101}

    errors = browser.post(NEW, CRON | wrong).context["form"].errors

    assert errors.keys() == wrong.keys()


def test_a_name_that_is_taken_is_said(browser: Client, make_task: MakeTask) -> None:
    make_task(name="reports/daily")

    answer = browser.post(NEW, CRON | {"name": "reports/daily"})

    assert "exists already" in text_of(answer)
    assert Task.objects.count() == 1


def test_a_quota_is_said(browser: Client, alpha: Tenant) -> None:
    Tenant.objects.filter(pk=alpha.pk).update(max_tasks=0)

    for more in ({}, {"action": "test"}):
        answer = browser.post(NEW, ONCE | {"key": "k"} | more)
        assert "The quota of the tenant is 0 tasks" in text_of(answer)
    assert not Task.objects.exists()


def test_a_link_and_another_task_fill_the_form(
    browser: Client, make_task: MakeTask
) -> None:
    linked = values_of(browser, f"{NEW}?cron=0+9+*+*+*&timezone=Asia/Tokyo")
    copied = values_of(browser, f"{NEW}?copy={make_task(name='a', tags=('x',)).pk}")

    assert (linked["cron"], linked["timezone"]) == ("0 9 * * *", "Asia/Tokyo")
    assert (copied["schedule"], copied["tags"], copied["name"]) == ("once", "x", "")


# See what it would do.


@pytest.mark.parametrize("htmx", [False, True])
def test_a_preview_shows_fire_times_policies_and_commands(
    browser: Client, htmx: bool
) -> None:
    headers = {"HX-Request": "true"} if htmx else {}

    answer = browser.post(NEW, FULL | {"action": "preview"}, headers=headers)

    text = text_of(answer)
    assert ("<html" in text) is not htmx
    assert "At 02:30, in Europe/Berlin" in text
    assert "2090-01-01 02:30:00+01:00" in text
    assert "A run has up to 5 attempts" in text
    assert "scheduler tasks create" in text
    assert not Task.objects.exists()


def test_the_command_of_a_preview_makes_the_same_task(
    browser: Client, user: User, client_for: ClientFor
) -> None:
    form = FULL | {"name": "", "spread": ""}
    answer = browser.post(NEW, form | {"action": "preview"})
    [body] = re.findall(
        r"-d '(.*)'\Z", answer.context["preview"].equivalents.curl, re.S
    )
    api = client_for(user)
    api.post("/tasks/", body, content_type="application/json")
    browser.post(NEW, form)

    first, second = (shown(api, task) for task in Task.objects.order_by("pk"))
    assert first | {"id": ""} == second | {"id": ""}


def test_a_preview_says_what_is_wrong_with_the_schedule_only(browser: Client) -> None:
    live = {"HX-Request": "true"}
    form = {"action": "preview", "schedule": "cron", "cron": "* 99 * * *"}

    refused = text_of(browser.post(NEW, form, headers=live))
    fine = text_of(browser.post(NEW, form | {"cron": "@daily"}, headers=live))

    assert "Its hour field is not valid." in refused
    assert "At 00:00, in UTC" in fine
    assert "needed" not in fine


@pytest.mark.parametrize(
    ("body", "is_shown"),
    [("[" * 400 + "]" * 400, True), (f'"{"x" * 30_000}"', False)],
)
def test_a_preview_bears_deep_and_long_bodies(
    browser: Client, body: str, is_shown: bool
) -> None:
    answer = browser.post(NEW, CRON | {"action": "preview", "body": body})

    assert ("too long to be shown" in text_of(answer)) is not is_shown
    assert not answer.context["form"].errors


# Test the request.


def test_a_test_sends_the_request_once_and_shows_how_it_went(
    browser: Client, user: User
) -> None:
    answer = browser.post(NEW, FULL | {"action": "test", "cron": ""})

    task = Task.objects.get()
    assert re.fullmatch(r"test of reports/daily at [0-9:.]{15}", task.name)
    assert (task.method, task.tags, task.retry) == ("PUT", ["test"], "")
    assert task.next_fire_at is not None
    assert task.next_fire_at <= timezone.now()
    assert f'hx-get="/app/tests/{task.pk}/"' in text_of(answer)
    assert answer.context["form"]["headers"].value() == FULL["headers"]
    assert "on its way" in text_of(browser.get(f"/app/tests/{task.pk}/"))


def test_a_wrong_request_is_not_tested(browser: Client) -> None:
    answer = browser.post(NEW, CRON | {"action": "test", "url": ""})

    assert "cannot be sent yet" in text_of(answer)
    assert answer.context["form"].errors.keys() == {"url"}
    assert not Task.objects.exists()


def test_the_test_of_somebody_else_is_not_found(
    browser: Client, colleague: User, make_task: MakeTask
) -> None:
    assert browser.get(f"/app/tests/{make_task(colleague).pk}/").status_code == 404


# Change a task.


@pytest.mark.parametrize("form", [CRON, EVERY, ONCE, FULL])
def test_a_form_that_nobody_edits_changes_nothing(
    browser: Client, user: User, client_for: ClientFor, form: dict[str, str]
) -> None:
    browser.post(NEW, form)
    task, api = Task.objects.get(), client_for(user)
    before = shown(api, task)

    answer = browser.post(edit_path(task.pk), values_of(browser, edit_path(task.pk)))

    assert answer["Location"] == f"/app/tasks/{task.pk}/"
    assert shown(api, task) == before
    assert Task.objects.get().version == 1
    assert not AuditEntry.objects.filter(action="task.change").exists()


def test_an_edit_changes_what_it_says_and_keeps_the_secrets(
    browser: Client, user: User, client_for: ClientFor
) -> None:
    browser.post(NEW, FULL | {"url": "https://ann:hunter2@example.com/"})
    task = Task.objects.get()
    sealed = (task.url, task.request)
    form = values_of(browser, edit_path(task.pk)) | {
        "cron": "0 4 * * *",
        "tags": "",
        "max_attempts": "",
        "min_delay": "",
        "max_delay": "",
        "max_age": "",
        "statuses": "",
        "body": "",
    }

    assert "hunter2" not in str(form)
    answer = browser.post(edit_path(task.pk), form)

    assert answer.status_code == 302
    changed = Task.objects.get()
    assert (changed.cron_hour, changed.tags, changed.retry) == ("4", [], "")
    assert (changed.url, changed.request) == sealed
    assert changed.body == "{}"


def test_a_schedule_becomes_one_of_another_kind(browser: Client) -> None:
    browser.post(NEW, EVERY)
    task = Task.objects.get()
    form = values_of(browser, edit_path(task.pk))

    browser.post(edit_path(task.pk), form | CRON)
    assert Task.objects.get().cron_zone == "Europe/Berlin"
    form = values_of(browser, edit_path(task.pk))
    browser.post(edit_path(task.pk), form | ONCE)

    assert Task.objects.get().once_at is not None


def test_an_edit_warns_of_what_somebody_changed_meanwhile(
    browser: Client, user: User, client_for: ClientFor
) -> None:
    browser.post(NEW, CRON)
    task = Task.objects.get()
    form = values_of(browser, edit_path(task.pk)) | {"name": "mine"}
    client_for(user).patch(f"/tasks/id/{task.pk}", {"name": "theirs"}, format="json")

    warned = browser.post(edit_path(task.pk), form)

    assert "ann@Alpha changed this task" in text_of(warned)
    assert Task.objects.get().name == "theirs"
    again = form_values(warned.context["form"])
    browser.post(edit_path(task.pk), again)
    assert Task.objects.get().name == "mine"


def test_a_preview_of_an_edit_shows_the_command_of_the_change(
    browser: Client, make_task: MakeTask
) -> None:
    task = make_task(name="a")
    form = values_of(browser, edit_path(task.pk)) | {"name": "b", "action": "preview"}

    text = text_of(browser.post(edit_path(task.pk), form))

    assert "-X PATCH" in text
    assert "{&quot;name&quot;: &quot;b&quot;}" in text
    assert f"scheduler tasks change {task.pk}" in text


def test_a_task_of_another_format_is_changed_by_its_client(
    browser: Client, make_task: MakeTask
) -> None:
    task = make_task(surface=Surface.TIMERS)

    assert "This timer is changed by its client" in text_of(
        browser.get(edit_path(task.pk))
    )
    browser.post(edit_path(task.pk), CRON)
    assert Task.objects.get().surface == Surface.TIMERS


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_task_of_somebody_else_is_not_found(
    browser: Client, colleague: User, make_task: MakeTask, method: str
) -> None:
    path = edit_path(make_task(colleague).pk)

    assert getattr(browser, method)(path, CRON).status_code == 404


@pytest.mark.parametrize("action", ["", "preview", "test"])
def test_a_viewer_makes_nothing(browser: Client, user: User, action: str) -> None:
    accounts.change_user(user, role=Role.VIEWER)

    assert browser.get(NEW).status_code == 403
    assert browser.post(NEW, CRON | {"action": action}).status_code == 403
    assert not Run.objects.exists()
    assert not Task.objects.exists()


def test_a_form_takes_as_few_statements_with_many_tasks(
    browser: Client, make_task: MakeTask
) -> None:
    task = make_task()
    # The first request of a session has one statement more.
    statements(browser, task)
    alone = statements(browser, task)
    for number in range(30):
        make_task(name=f"task {number}")

    # One more now and then reads the clock.
    assert statements(browser, task) <= alone + 1 <= 13


def statements(browser: Client, task: Task) -> int:
    with CaptureQueriesContext(connection) as counted:
        browser.get(edit_path(task.pk))
        browser.post(NEW, CRON | {"action": "preview"})
    return len(counted)


def test_a_form_keeps_a_spread_that_the_service_chose(
    browser: Client, user: User, client_for: ClientFor
) -> None:
    browser.post(NEW, CRON | {"spread": "auto"})
    task = Task.objects.get()
    before = shown(client_for(user), task)
    edit = f"/app/tasks/{task.pk}/edit/"

    values = values_of(browser, edit)
    browser.post(edit, values | {"name": "renamed"})

    assert values["spread"] == "auto"
    assert shown(client_for(user), task) == before | {"name": "renamed"}
    wrong = browser.post(NEW, CRON | {"spread": "x"})
    assert "spread" in wrong.context["form"].errors
