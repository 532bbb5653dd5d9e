"""The list of tasks, the page of one, and what their buttons change."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import encryption, services
from accounts.models import Role, Tenant, User
from tasks_api.domain.schedules import Cron, Interval, Once
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import pausing
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.audit_log import logged_actions
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db

TASKS = "/app/tasks/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def ann(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


@pytest.fixture
def admin(tenant_admin: User) -> Client:
    browser = Client()
    browser.force_login(tenant_admin)
    return browser


def text_of(browser: Client, path: str = TASKS, **options: Any) -> str:
    answer = browser.get(path, **options)
    assert answer.status_code == 200
    return answer.content.decode()


# The list.


def test_the_list_shows_tasks_of_every_format(
    ann: Client, user: User, make_task: MakeTask
) -> None:
    cron = Cron("0 9 * * 1-5", "Europe/Berlin")
    make_task(name="nightly", tags=("billing",), schedule=cron)
    make_task(surface=Surface.TIMERS, url="")
    store_run(Task.objects.get(name="nightly"), state=RunState.FAILED)

    page = text_of(ann)

    for part in ("nightly", "POST example.com", "billing", "timer", "in Europe/Berlin"):
        assert part in page
    assert "POST to the tenant&#x27;s endpoint" in page
    assert 'class="dot failed"' in page
    assert "active" in page


def test_an_empty_list_teaches(ann: Client, make_task: MakeTask) -> None:
    assert "There is no task yet" in text_of(ann)
    make_task(name="nightly")

    assert "No task matches" in text_of(ann, f"{TASKS}?q=daily")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("q=NIGHT", {"nightly"}),
        ("q=api.example", {"hourly"}),
        ("state=paused", {"hourly"}),
        ("state=active&kind=one-time", {"nightly"}),
        ("kind=recurring", {"hourly"}),
        ("tag=billing", {"nightly"}),
        ("format=timers", set()),
        ("format=nonsense&state=odd", {"nightly", "hourly"}),
    ],
)
def test_filters_stand_in_the_url(
    ann: Client, user: User, make_task: MakeTask, query: str, names: set[str]
) -> None:
    make_task(name="nightly", tags=("billing",))
    every = Interval(timezone.now(), timedelta(hours=1))
    hourly = make_task(name="hourly", url="https://api.example.com/", schedule=every)
    pausing.pause_tasks(user, [str(hourly.pk)], now=timezone.now())

    page = text_of(ann, f"{TASKS}?{query}")

    assert {name for name in ("nightly", "hourly") if f">{name}</a>" in page} == names


def test_an_administrator_sees_and_filters_owners_and_a_member_does_not(
    ann: Client, admin: Client, tenant_admin: User, make_task: MakeTask
) -> None:
    make_task(name="mine")
    make_task(tenant_admin, name="theirs")

    assert "theirs" not in text_of(ann, f"{TASKS}?owner=adam")
    assert ">mine<" in text_of(admin)
    filtered = text_of(admin, f"{TASKS}?owner=ann")
    assert (">mine<" in filtered, ">theirs<" in filtered) == (True, False)


def test_the_list_has_pages(ann: Client, make_task: MakeTask) -> None:
    for number in range(30):
        make_task(name=f"task{number:02}", tags=("many",))

    first = text_of(ann, f"{TASKS}?tag=many")
    link = first.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
    second = text_of(ann, f"{TASKS}{link.replace('&amp;', '&')}")

    assert ("task05" in first, "task04" in first) == (True, False)
    assert ("task05" in second, "task04" in second) == (False, True)
    assert 'rel="next"' not in second


def test_a_cursor_that_is_none_is_not_found(ann: Client) -> None:
    assert ann.get(f"{TASKS}?after=nonsense").status_code == 404


def test_a_poll_gets_the_list_when_it_has_changed(
    ann: Client, make_task: MakeTask
) -> None:
    make_task(name="nightly")
    first = ann.get(TASKS, headers=HTMX)
    known = {**HTMX, "If-None-Match": first["ETag"]}

    assert "<html" not in first.content.decode()
    assert ann.get(TASKS, headers=known).status_code == 304
    make_task(name="daily")
    assert "daily" in text_of(ann, headers=known)


def statements(browser: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as found:
        page = browser.get(path)
    assert page.status_code == 200
    assert len(page.content) < 300 * 1024
    # The clock is read at most once a second, by a prepared statement without a text.
    texts = [query["sql"] for query in found]
    return sum(text is not None and "clock_timestamp" not in text for text in texts)


def test_the_list_takes_a_constant_number_of_statements(
    admin: Client, user: User
) -> None:
    counts = []
    for number in (1, 25):
        for _ in range(number):
            task = hourly_task(user)
            for ago in range(1, 21 if number > 1 else 2):
                store_run(task, ago=ago)
        counts.append(statements(admin, TASKS))

    assert counts[0] == counts[1] <= 10


# The buttons.


def change(browser: Client, action: str, *tasks: Task, **more: str) -> str:
    values = {"task": [str(task.pk) for task in tasks], **more}
    answer = browser.post(f"{TASKS}{action}/?q=x", values, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_button_of_a_row_changes_that_row_alone(
    ann: Client, make_task: MakeTask
) -> None:
    checked, task = make_task(name="other"), make_task(name="nightly")

    page = change(ann, "pause", checked, only=str(task.pk))

    assert "nightly is paused." in page
    assert list(Task.objects.paused()) == [task]
    assert logged_actions(action="task.pause") == [
        ("ann@Alpha", "console", "task.pause", str(task.pk))
    ]


def test_many_tasks_change_at_once_and_the_filters_stay(
    ann: Client, make_task: MakeTask
) -> None:
    first, second = make_task(name="first"), make_task(name="second")
    change(ann, "pause", first)

    answer = ann.post(f"{TASKS}pause/?q=x&tag=y", {"task": [first.pk, second.pk]})
    page = text_of(ann)

    assert answer["Location"] == "/app/tasks?q=x&tag=y"
    assert "second is paused." in page
    assert "first is not paused. It was paused before." in page
    assert "2 tasks are resumed." in change(ann, "resume", first, second)
    assert "2 tasks are running now." in change(ann, "run", first, second)
    assert Run.objects.filter(by_hand=True).count() == 2


def test_a_removal_asks_first_and_names_the_tasks(
    ann: Client, make_task: MakeTask
) -> None:
    first, second = make_task(name="first"), make_task(name="second")

    page = change(ann, "remove", first, second)
    assert "Remove 2 tasks?" in page
    assert "<li>first</li>" in page
    assert not Task.objects.exclude(ended_at=None).exists()

    assert "2 tasks are removed." in change(
        ann, "remove", first, second, confirmed="yes"
    )
    assert Task.objects.filter(end_reason="removed").count() == 2


def test_nothing_chosen_is_said(ann: Client) -> None:
    assert "Choose the tasks first" in change(ann, "pause")
    assert "Choose the tasks first" in change(ann, "remove")


def test_too_many_are_refused(ann: Client) -> None:
    ids = [str(uuid4()) for _ in range(101)]

    page = ann.post(f"{TASKS}pause/", {"task": ids}, follow=True)

    assert "at most 100" in page.content.decode()


@pytest.mark.parametrize("action", ["pause", "resume", "run", "remove"])
@pytest.mark.parametrize("confirmed", [{}, {"confirmed": "yes"}])
def test_what_somebody_else_has_is_not_found(
    ann: Client,
    colleague: User,
    stranger: User,
    make_task: MakeTask,
    action: str,
    confirmed: dict[str, str],
) -> None:
    own = make_task()
    for owner in (colleague, stranger):
        foreign = make_task(owner)
        ids = [str(own.pk), str(foreign.pk)]
        answer = ann.post(f"{TASKS}{action}/", {"task": ids, **confirmed})
        assert answer.status_code == 404
        assert ann.get(f"{TASKS}{foreign.pk}/").status_code == 404

    assert not Task.objects.paused().exists()
    assert not Task.objects.exclude(ended_at=None).exists()
    assert not Run.objects.exists()


def test_a_viewer_sees_everything_and_no_button(
    ann: Client, user: User, colleague: User, make_task: MakeTask
) -> None:
    task = make_task(colleague, name="nightly")
    services.change_user(user, role=Role.VIEWER)

    for path in (TASKS, f"{TASKS}{task.pk}/"):
        page = text_of(ann, path)
        assert "nightly" in page
        assert "formaction" not in page
        assert "New task" not in page
        assert "/edit/" not in page
    assert ann.post(f"{TASKS}pause/", {"task": [task.pk]}).status_code == 403


# The page of a task.


def page_of(browser: Client, task: Task, **options: Any) -> str:
    return text_of(browser, f"{TASKS}{task.pk}/", **options)


def test_the_page_says_what_a_task_is(ann: Client, client_for: ClientFor) -> None:
    user = User.objects.get(name="ann")
    client_for(user).post(
        "/tasks/",
        {
            "task_type": "periodic",
            "cron": "30 2 * * *",
            "timezone": "Europe/Berlin",
            "url": "https://ann:hunter2@example.com/hook",
            "method": "PUT",
            "headers": {"X-Key": "hunter3"},
            "timeout_seconds": 90,
            "post_data": {"a": "<b>it's</b>"},
            "name": "nightly",
            "tags": ["billing"],
            "overlap": "skip",
            "retry": {"max_attempts": 3},
            "pause_after_failures": 3,
            "catchup_window": 3600,
        },
        format="json",
    )

    page = page_of(ann, Task.objects.get())

    for part in (
        "<h1>nightly</h1>",
        "At 02:30, in Europe/Berlin",
        "PUT https://***@example.com/hook",
        "X-Key: [redacted]",
        "up to 3 attempts within 1 day, 10 seconds to 1 hour apart",
        "is skipped while the run before",
        "at most 1 hour late",
        "An answer may take 1 minute 30 seconds.",
        "paused after 3 failed runs in a row",
        "Coming fire times",
        "curl -X PUT",
        "It has not run yet",
        f"/app/tasks/{Task.objects.get().pk}/edit/",
    ):
        assert part in page, part
    assert "hunter" not in page
    assert "<b>it" not in page


def test_the_page_shows_runs_their_latency_and_the_account(
    ann: Client, user: User
) -> None:
    task = hourly_task(user)
    run = store_run(task, ago=5, state=RunState.FAILED, reason="HTTP 500", by_hand=True)

    page = page_of(ann, task)

    assert f"/app/runs/{run.pk}/" in page
    assert "HTTP 500" in page
    assert "by hand" in page
    assert "people asked for 1 more" in page
    assert f"/app/runs/?task={task.pk}&amp;from=" in page
    assert "&amp;state=failed" in page
    assert "7 ms" in page


def test_each_number_of_the_account_equals_the_list_that_it_leads_to(
    ann: Client, user: User
) -> None:
    task = hourly_task(user)
    for ago in range(30, 1500, 90):
        store_run(task, ago=ago, state=RunState.SUCCEEDED, by_hand=True)
        store_run(task, ago=ago + 7, state=RunState.FAILED, by_hand=True)

    page = page_of(ann, task)

    figures = re.findall(r'state=(\w+)"><strong class="\w+">(\d+)', page)
    [since] = set(re.findall(r"from=([^&\"]+)", page))
    listed = task.runs.filter(scheduled_for__gte=unquote(since))
    assert dict(figures) == {
        state: str(listed.filter(state=state).count())
        for state in ("succeeded", "failed")
    }
    assert f">{listed.count()} runs</a>" in page


def test_a_task_that_ran_once_and_failed_says_so(
    ann: Client, make_task: MakeTask
) -> None:
    at = timezone.now() - timedelta(days=3)
    task = make_task(name="nightly", schedule=Once(at))
    store_run(task, at=at, state=RunState.FAILED, reason="HTTP 500")
    Task.objects.filter(pk=task.pk).update(
        ended_at=timezone.now(),
        end_reason="completed",
        last_fire_at=at,
        next_fire_at=None,
    )

    page = page_of(ann, task)

    for part in (
        "It ran, and that was all.",
        "HTTP 500",
        "1 fire time</a>",
        ">1</strong> failed",
    ):
        assert part in page


def test_what_retention_deletes_is_not_missed_in_the_account(
    ann: Client, user: User
) -> None:
    Tenant.objects.update(retention_days=1)

    assert "its schedule planned" in page_of(ann, hourly_task(user))


def test_the_page_says_why_the_service_paused_a_task(ann: Client, user: User) -> None:
    task = hourly_task(user)
    pausing.pause_failing_tasks({task.pk: (3, "HTTP 500")})

    page = page_of(ann, task)

    assert "The service paused this task: 3 runs in a row failed" in page
    assert ">Resume</button>" in page


def test_a_task_that_has_ended_keeps_its_page_without_buttons(
    ann: Client, make_task: MakeTask
) -> None:
    task = make_task(name="nightly")
    change(ann, "remove", task, confirmed="yes")

    page = page_of(ann, task)

    assert "It was removed." in page
    assert "formaction" not in page
    assert "Coming fire times" not in page


def test_a_button_of_the_page_leads_back_to_it(
    ann: Client, make_task: MakeTask
) -> None:
    task = make_task()
    values = {"only": str(task.pk), "page": "yes"}

    answer = ann.post(f"{TASKS}pause/", values)

    assert answer["Location"] == f"/app/tasks/{task.pk}"


def test_only_an_administrator_reads_the_audit_entries(
    ann: Client, admin: Client, make_task: MakeTask
) -> None:
    task = make_task()
    change(ann, "pause", task)

    assert "task.pause" not in page_of(ann, task)
    assert "task.pause" in page_of(admin, task)


def test_a_schedule_that_cannot_be_computed_is_said(
    ann: Client, make_task: MakeTask
) -> None:
    task = make_task(schedule=Cron("0 9 * * *"))
    task.periodic_task.crontab.hour = "25"
    task.periodic_task.crontab.save()

    for page in (text_of(ann), page_of(ann, task)):
        assert "It cannot be computed" in page


@pytest.mark.parametrize(
    "make_schedule",
    [
        lambda: Interval(timezone.now(), timedelta(seconds=1)),
        lambda: Cron("* * * * *", seconds="*"),
        lambda: Cron("0 0 29 2 *", "Europe/Berlin"),
    ],
)
def test_every_schedule_has_a_page(
    ann: Client, make_task: MakeTask, make_schedule: Callable[[], Any]
) -> None:
    task = make_task(schedule=make_schedule())

    assert "Coming fire times" in page_of(ann, task)


def test_a_target_that_is_no_url_has_a_page(ann: Client, make_task: MakeTask) -> None:
    queued, timer = make_task(), make_task(surface=Surface.TIMERS, url="")
    Task.objects.filter(pk=queued.pk).update(queue="mails", url="")
    secret = make_task(url=encryption.seal_url("https://ann:hunter2@example.com/"))

    assert "mails" in page_of(ann, queued)
    assert "to the endpoint of your tenant" in page_of(ann, timer)
    assert "hunter" not in page_of(ann, secret)
    assert "/edit/" not in page_of(ann, timer)


def test_a_poll_of_the_page_reads_less(ann: Client, user: User) -> None:
    task = hourly_task(user)
    path = f"{TASKS}{task.pk}/"
    first = ann.get(path, headers=HTMX)

    text = first.content.decode()
    assert "Last runs" in text
    assert "Account" not in text
    known = {**HTMX, "If-None-Match": first["ETag"]}
    assert ann.get(path, headers=known).status_code == 304


def test_the_page_takes_a_constant_number_of_statements(
    admin: Client, user: User
) -> None:
    task = hourly_task(user)
    store_run(task, ago=1)
    few = statements(admin, f"{TASKS}{task.pk}/")
    for ago in range(2, 60):
        store_run(task, ago=ago)

    assert statements(admin, f"{TASKS}{task.pk}/") == few <= 15
