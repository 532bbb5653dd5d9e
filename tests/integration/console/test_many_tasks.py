"""All tasks of a filter are paused, resumed or changed from a page, after a plan."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User, Via
from tasks_api.domain.specs import Surface
from tasks_api.models import Task
from tasks_api.services import pausing, task_selection
from tests.conftest import MakeTask
from tests.integration.support.logins import browser_of
from tests.integration.support.task_pages import TASKS, text_of
from tests.integration.support.tasks_surface import ONE_TIME

pytestmark = pytest.mark.django_db

PAUSE, RESUME, CHANGE = (f"{TASKS}all/{verb}" for verb in ("pause", "resume", "change"))
HASH = re.compile(r'name="hash" value="([0-9a-f]+)"')


def post(browser: Client, path: str, **form: str) -> str:
    answer = browser.post(path, form, follow=True)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def confirm(browser: Client, path: str, **form: str) -> str:
    """Ask for the plan, and do what it says."""
    [fingerprint] = HASH.findall(post(browser, path, **form))
    return post(browser, path, hash=fingerprint, **form)


def paused() -> set[str]:
    rows = Task.objects.filter(periodic_task__enabled=False)
    return set(rows.values_list("name", flat=True))


@pytest.fixture
def tasks(make_task: MakeTask) -> list[Task]:
    names = ("a", "b", "c")
    return [make_task(name=name, tags=("billing",)) for name in names] + [
        make_task(name="other")
    ]


def test_a_plan_names_the_tasks_and_nothing_happens(
    member: Client, tasks: list[Task]
) -> None:
    page = post(member, f"{PAUSE}?tag=billing", reason="a move")

    assert "3 tasks would be paused" in page
    for task in tasks[:3]:
        assert f'href="{TASKS}{task.pk}">{task.name}</a>' in page
    assert "Pause 3 tasks" in page
    assert "tag: billing" in page
    assert paused() == set()


def test_the_plan_is_done_with_reason_end_and_catch_up(
    member: Client, user: User, tasks: list[Task]
) -> None:
    form = {"reason": "a move", "until": "2099-12-01T06:00", "catch_up": "latest"}

    page = confirm(member, f"{PAUSE}?tag=billing", **form)

    assert "3 tasks are paused." in page
    assert paused() == {"a", "b", "c"}
    task = Task.objects.get(name="a")
    assert (task.hold_reason, task.catch_up) == ("a move", "latest")
    assert task.resume_at is not None
    assert f"{task.resume_at:%Y-%m-%d %H:%M}" == "2099-12-01 06:00"
    entry = AuditEntry.objects.get(action="task.pause")
    assert (entry.actor, entry.via, entry.count) == (user.username, Via.CONSOLE, 3)


def test_tasks_that_changed_since_the_plan_are_asked_about_anew(
    member: Client, tasks: list[Task], make_task: MakeTask
) -> None:
    [fingerprint] = HASH.findall(post(member, f"{PAUSE}?tag=billing"))
    make_task(name="newcomer", tags=("billing",))

    page = post(member, f"{PAUSE}?tag=billing", hash=fingerprint)

    assert paused() == set()
    assert "nothing was done" in page
    assert "4 tasks would be paused" in page
    [anew] = HASH.findall(page)
    post(member, f"{PAUSE}?tag=billing", hash=anew)
    assert paused() == {"a", "b", "c", "newcomer"}


def test_a_form_that_changed_since_the_plan_is_asked_about_anew(
    member: Client, tasks: list[Task]
) -> None:
    [fingerprint] = HASH.findall(post(member, f"{PAUSE}?tag=billing"))

    page = post(member, f"{PAUSE}?tag=billing", hash=fingerprint, reason="another")

    assert "nothing was done" in page
    assert paused() == set()


def test_a_resume_makes_up_for_the_pause(
    member: Client, user: User, tasks: list[Task]
) -> None:
    ids = [str(task.pk) for task in tasks]
    pausing.pause_tasks(user, ids, now=timezone.now())

    page = confirm(member, f"{RESUME}?tag=billing&state=paused", catch_up="all")

    assert "3 tasks are resumed." in page
    assert paused() == {"other"}


def test_a_change_shows_each_field_and_no_secret(
    api: APIClient, member: Client
) -> None:
    body = {**ONE_TIME, "tags": ["billing"], "headers": {"X-Key": "old", "X-A": "a"}}
    for name in ("a", "b"):
        api.post("/tasks/", {**body, "name": name}, format="json")
    form = {
        "set_headers": "X-Key: n3w-s3cret\nX-New: 1",
        "remove_headers": "x-a",
        "add_tags": "rotated, 2026",
        "timeout_seconds": "7",
        "overlap": "",
    }

    plan = post(member, f"{CHANGE}?tag=billing", **form)
    done = confirm(member, f"{CHANGE}?tag=billing", **form)

    assert "2 tasks would be changed" in plan
    section = plan.partition('class="plan"')[2].partition("</section>")[0]
    assert "billing, rotated, 2026" in section
    assert "X-New: [redacted]" in section
    assert "n3w-s3cret" not in section
    assert "2 tasks are changed." in done
    shown = api.get("/tasks/").json()["tasks"]
    for task in shown:
        assert task["headers"] == {"X-Key": "[redacted]", "X-New": "[redacted]"}
        assert task["tags"] == ["billing", "rotated", "2026"]
        assert task["timeout_seconds"] == 7


def test_a_change_that_cannot_be_names_the_tasks(
    api: APIClient, member: Client
) -> None:
    urls = {"a": "https://ann:hunter2@example.com/", "b": "https://example.com/"}
    for name, url in urls.items():
        body = {**ONE_TIME, "name": name, "url": url, "tags": ["billing"]}
        assert api.post("/tasks/", body, format="json").status_code == 201

    page = post(member, f"{CHANGE}?tag=billing", url_host="new.example.com")

    assert "1 of the tasks cannot be changed so, and none was" in page
    assert "does not go with credentials in the url" in page
    assert not HASH.findall(page)
    assert Task.objects.filter(url__contains="new.example.com").count() == 0


@pytest.mark.parametrize(
    ("path", "form", "error"),
    [
        (PAUSE, {"until": "yesterday"}, "a date and time in ISO 8601"),
        (PAUSE, {"until": "2001-01-01T00:00"}, "in the future"),
        (PAUSE, {"catch_up": "some"}, "Select a valid choice"),
        (PAUSE, {"reason": "x" * 1001}, "at most 1000 characters"),
        (RESUME, {"catch_up": "some"}, "Select a valid choice"),
        (CHANGE, {"misfire": ""}, "Say first what is to change."),
        (CHANGE, {"set_headers": "no colon"}, "no colon"),
        (CHANGE, {"set_headers": "Host: a"}, "which the service sets itself"),
        (CHANGE, {"url_host": "a/b"}, "a host"),
        (CHANGE, {"expected_status": "9"}, "expected_status"),
        (CHANGE, {"add_tags": ",".join(map(str, range(60)))}, "at most 50 strings"),
        (CHANGE, {"timeout_seconds": "0"}, "greater than or equal to 1"),
    ],
)
def test_what_is_wrong_stands_in_the_form(
    member: Client, tasks: list[Task], path: str, form: dict[str, str], error: str
) -> None:
    page = post(member, f"{path}?tag=billing", **form)

    assert error in page
    assert 'role="alert"' in page
    assert not HASH.findall(page)


@pytest.mark.parametrize("query", ["", "?format=timers&tag=billing", "?owner=ann"])
@pytest.mark.parametrize("path", [PAUSE, RESUME, CHANGE])
def test_without_a_filter_nothing_is_asked(
    admin: Client, tasks: list[Task], path: str, query: str
) -> None:
    for answer in (
        admin.get(f"{path}{query}", follow=True),
        admin.post(f"{path}{query}", {"reason": "x"}, follow=True),
    ):
        assert "Filter the list of tasks first" in answer.content.decode()
    assert paused() == set()


def test_the_list_leads_there_with_its_filter(
    member: Client, viewer: User, tasks: list[Task]
) -> None:
    link = f'href="{PAUSE}?tag=billing"'

    assert link in text_of(member, f"{TASKS}?tag=billing")
    assert "All that match this filter" not in text_of(member)
    assert link not in text_of(browser_of(viewer), f"{TASKS}?tag=billing")
    assert "Show the plan" in text_of(member, f"{PAUSE}?tag=billing")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("q=billing", {"a", "b", "c"}),
        ("tag=billing&q=a", {"a", "b", "c"}),
        ("kind=one-time", {"a", "b", "c", "other"}),
        ("kind=recurring", set()),
        ("state=active", {"a", "b", "c", "other"}),
        ("state=paused", set()),
    ],
)
def test_the_filters_find_what_the_list_finds(
    member: Client, tasks: list[Task], query: str, names: set[str]
) -> None:
    listed = text_of(member, f"{TASKS}?{query}")
    plan = post(member, f"{PAUSE}?{query}")

    for name in ("a", "b", "c", "other"):
        assert (f">{name}</a>" in listed) is (name in names)
        assert (f">{name}</a>" in plan) is (name in names)


def test_members_change_their_own_and_administrators_those_of_a_user(
    member: Client, admin: Client, colleague: User, stranger: User, make_task: MakeTask
) -> None:
    for owner, name in ((colleague, "theirs"), (stranger, "foreign")):
        make_task(owner, name=name, tags=("billing",))
    make_task(name="mine", tags=("billing",))

    confirm(member, f"{PAUSE}?tag=billing&owner=adam")
    assert paused() == {"mine"}
    confirm(admin, f"{PAUSE}?tag=billing&owner={colleague.name}")
    assert paused() == {"mine", "theirs"}
    confirm(admin, f"{RESUME}?tag=billing")
    assert paused() == set()
    assert Task.objects.get(name="foreign").periodic_task.enabled


def test_other_formats_are_left_alone(member: Client, make_task: MakeTask) -> None:
    make_task(name="cron", surface=Surface.CRON_JOBS, tags=("billing",))

    assert "No task would be paused" in post(member, f"{PAUSE}?tag=billing")


def test_a_viewer_changes_nothing(viewer: User, tasks: list[Task]) -> None:
    browser = browser_of(viewer)

    for answer in (
        browser.get(f"{PAUSE}?tag=billing"),
        browser.post(f"{PAUSE}?tag=billing", {"hash": "x"}),
    ):
        assert answer.status_code == 403


def test_of_very_many_tasks_the_oldest_are_first(
    member: Client, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_selection, "MAX_TASKS", 2)
    monkeypatch.setattr("tasks_api.services.bulk_editing.MAX_TASKS", 2)

    plan = post(member, f"{PAUSE}?tag=billing")
    done = confirm(member, f"{PAUSE}?tag=billing")
    refused = post(member, f"{CHANGE}?tag=billing", add_tags="x")

    assert "More tasks match. These are the oldest" in plan
    assert "2 tasks are paused. More tasks match: pause again." in done
    assert paused() == {"a", "b"}
    assert "more than 2 tasks; narrow it" in refused


def test_a_long_plan_names_ten(member: Client, make_task: MakeTask) -> None:
    for number in range(13):
        make_task(name=f"task{number}", tags=("many",))

    page = post(member, f"{PAUSE}?tag=many")

    assert page.count('<li><a href="/app/tasks/') == 10
    assert "And 3 more." in page
