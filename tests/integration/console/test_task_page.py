"""The page of a task: what it is, how its runs went, and that its account is even."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from django.test import Client
from django.utils import timezone

from accounts import encryption
from accounts.models import Tenant, User
from tasks_api.domain.schedules import Cron, Interval, Once
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import RunState
from tasks_api.models import Lane, Task
from tasks_api.services import pausing
from tasks_api.services.pausing import Hold
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.calendars import make_calendar
from tests.integration.support.stored_runs import hourly_task, store_run
from tests.integration.support.task_forms import values_of
from tests.integration.support.task_pages import (
    HTMX,
    TASKS,
    change,
    statements,
    text_of,
)

pytestmark = pytest.mark.django_db


def page_of(browser: Client, task: Task, **options: Any) -> str:
    return text_of(browser, f"{TASKS}{task.pk}/", **options)


def test_the_page_says_what_a_task_is(member: Client, client_for: ClientFor) -> None:
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

    page = page_of(member, Task.objects.get())

    for part in (
        "<h1>nightly</h1>",
        "At 02:30, in Europe/Berlin",
        "PUT https://***@example.com/hook",
        "X-Key: …",
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
    member: Client, user: User
) -> None:
    task = hourly_task(user)
    run = store_run(task, ago=5, state=RunState.FAILED, reason="HTTP 500", by_hand=True)

    page = page_of(member, task)

    assert f"/app/runs/{run.pk}/" in page
    assert "HTTP 500" in page
    assert "by hand" in page
    assert "people asked for 1 more" in page
    assert f"/app/runs/?task={task.pk}&amp;from=" in page
    assert "&amp;state=failed" in page
    assert "7 ms" in page


def test_each_number_of_the_account_equals_the_list_that_it_leads_to(
    member: Client, user: User
) -> None:
    task = hourly_task(user)
    for ago in range(30, 1500, 90):
        store_run(task, ago=ago, state=RunState.SUCCEEDED, by_hand=True)
        store_run(task, ago=ago + 7, state=RunState.FAILED, by_hand=True)

    page = page_of(member, task)

    figures = re.findall(r'state=(\w+)"><strong class="\w+">(\d+)', page)
    [since] = set(re.findall(r"from=([^&\"]+)", page))
    listed = task.runs.filter(scheduled_for__gte=unquote(since))
    assert dict(figures) == {
        state: str(listed.filter(state=state).count())
        for state in ("succeeded", "failed")
    }
    assert f">{listed.count()} runs</a>" in page


def test_a_task_that_ran_once_and_failed_says_so(
    member: Client, make_task: MakeTask
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

    page = page_of(member, task)

    for part in (
        "It ran, and that was all.",
        "HTTP 500",
        "1 fire time</a>",
        ">1</strong> failed",
    ):
        assert part in page


def test_what_retention_deletes_is_not_missed_in_the_account(
    member: Client, user: User
) -> None:
    Tenant.objects.update(retention_days=1)

    assert "its schedule planned" in page_of(member, hourly_task(user))


def test_the_page_says_why_the_service_paused_a_task(
    member: Client, user: User
) -> None:
    task = hourly_task(user)
    pausing.pause_failing_tasks({task.pk: (3, "HTTP 500")})

    page = page_of(member, task)

    assert "The service paused this task: 3 runs in a row failed" in page
    assert ">Resume</button>" in page


def test_a_task_that_has_ended_keeps_its_page_without_buttons(
    member: Client, make_task: MakeTask
) -> None:
    task = make_task(name="nightly")
    change(member, "remove", task, confirmed="yes")

    page = page_of(member, task)

    assert "It was removed." in page
    assert "formaction" not in page
    assert "Coming fire times" not in page


def test_a_button_of_the_page_leads_back_to_it(
    member: Client, make_task: MakeTask
) -> None:
    task = make_task()
    values = {"only": str(task.pk), "page": "yes"}

    answer = member.post(f"{TASKS}pause/", values)

    assert answer["Location"] == f"/app/tasks/{task.pk}"


def test_only_an_administrator_reads_the_audit_entries(
    member: Client, admin: Client, make_task: MakeTask
) -> None:
    task = make_task()
    change(member, "pause", task)

    assert "task.pause" not in page_of(member, task)
    assert "task.pause" in page_of(admin, task)


def test_a_schedule_that_cannot_be_computed_is_said(
    member: Client, make_task: MakeTask
) -> None:
    task = make_task(schedule=Cron("0 9 * * *"))
    task.periodic_task.crontab.hour = "25"
    task.periodic_task.crontab.save()

    for page in (text_of(member), page_of(member, task)):
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
    member: Client, make_task: MakeTask, make_schedule: Callable[[], Any]
) -> None:
    task = make_task(schedule=make_schedule())

    assert "Coming fire times" in page_of(member, task)


def test_a_target_that_is_no_url_has_a_page(
    member: Client, make_task: MakeTask
) -> None:
    queued, timer = make_task(), make_task(surface=Surface.TIMERS, url="")
    Task.objects.filter(pk=queued.pk).update(queue="mails", url="")
    secret = make_task(url=encryption.seal_url("https://ann:hunter2@example.com/"))

    assert "mails" in page_of(member, queued)
    assert "to the endpoint of your tenant" in page_of(member, timer)
    assert "hunter" not in page_of(member, secret)
    assert "/edit/" not in page_of(member, timer)


def test_a_poll_of_the_page_reads_less(member: Client, user: User) -> None:
    task = hourly_task(user)
    path = f"{TASKS}{task.pk}/"
    first = member.get(path, headers=HTMX)

    text = first.content.decode()
    assert "Last runs" in text
    assert "Account" not in text
    known = {**HTMX, "If-None-Match": first["ETag"]}
    assert member.get(path, headers=known).status_code == 304


def test_the_page_takes_a_constant_number_of_statements(
    admin: Client, user: User
) -> None:
    task = hourly_task(user)
    store_run(task, ago=1)
    few = statements(admin, f"{TASKS}{task.pk}/")
    for ago in range(2, 60):
        store_run(task, ago=ago)

    assert statements(admin, f"{TASKS}{task.pk}/") == few <= 15


def test_the_pages_show_what_controls_a_task(
    member: Client, client_for: ClientFor
) -> None:
    user = User.objects.get(name="ann")
    assert user.tenant
    Lane.objects.create(tenant=user.tenant, name="crm")
    tomorrow = timezone.now() + timedelta(days=1)
    make_calendar(user, "de-holidays", dates=[tomorrow.date().isoformat()])
    make_calendar(user, "freeze", dates=["2090-01-01"])
    calendars = {
        "exclude": ["de-holidays"],
        "on_excluded": "next_business_day",
        "hold": ["freeze"],
        "pace": "20/minute",
    }
    body = {
        "task_type": "periodic",
        "schedules": [{"cron": "30 2 * * *"}, {"frequency": 86_400}],
        "url": "https://example.com/hook",
        "lane": "crm",
        "calendars": calendars,
        "max_runs": 5,
        "stop_on_success": True,
    }
    client_for(user).post("/tasks/", body, format="json")
    task = Task.objects.get()
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now(), hold=Hold("a freeze"))

    shown, listed = page_of(member, task), text_of(member, TASKS)
    path = f"{TASKS}{task.pk}/edit/"
    given = values_of(member, path)
    edited = member.post(
        path, {**given, "action": "preview"}, headers=HTMX
    ).content.decode()

    words = (
        "except on calendar de-holidays, or else on the next business day, held back by "
        "calendar freeze"
    )
    for text in (shown, listed):
        assert words in text
        assert "lane crm" in text
        assert "a freeze" in text
    assert "wait for their turn in lane crm." in shown
    assert "It ends after 5 runs of its schedule." in shown
    assert "It ends after the first run of its schedule that succeeds." in shown
    assert "its runs wait, and go at a pace of 20 a minute after it." in shown
    for name in ("de-holidays", "freeze"):
        assert f'href="/app/calendars/{name}">{name}</a>' in shown
    assert words in edited
    assert member.post(path, given).status_code == 302
    Task.objects.get(calendars=task.calendars, lane_name="crm", max_runs=5)
