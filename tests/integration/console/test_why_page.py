"""The page that answers why: any moment, by the clock of a zone, with links to what proves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Role, User, Via
from console.why import views
from tasks_api.domain.schedules import Cron, Interval, Once
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import RunState
from tasks_api.models import Task
from tasks_api.services import channels, pausing
from tasks_api.services.pausing import Hold
from tests.conftest import MakeTask
from tests.integration.support.notices import make_channel
from tests.integration.support.reconciliation_model import DAY, let_pass
from tests.integration.support.stored_runs import MINUTE, hourly_task, store_run
from tests.integration.support.stored_tasks import store_task
from tests.integration.support.task_pages import TASKS, statements, text_of

pytestmark = pytest.mark.django_db(transaction=True)


def why_of(browser: Client, task: Task, query: str = "") -> str:
    return unescape(text_of(browser, f"{TASKS}{task.pk}/why/{query}"))


def minutely(user: User) -> tuple[Task, datetime]:
    """A task of a day ago, and its next fire time, which is due."""
    task = store_task(user, Interval(timezone.now() + MINUTE, MINUTE, None))
    let_pass(task, DAY)
    task.refresh_from_db()
    assert task.next_fire_at is not None
    return task, task.next_fire_at


def test_a_failed_fire_time_names_its_cause_and_proofs(
    member: Client, user: User
) -> None:
    task, at = minutely(user)
    run = store_run(task, at=at, state=RunState.FAILED, reason="HTTP 500")

    page = why_of(member, task, f"?at={at:%Y-%m-%dT%H:%M:%S.%fZ}")

    for part in (
        "It failed",
        "status that counts as a failure",
        "<code>target_answered</code>",
        "To change it:",
        f'href="/app/runs/{run.pk}/"',
        "HTTP 500",
        "Every minute",
    ):
        assert part in page
    assert "After it" in page


def test_a_pause_names_who_and_why_and_administrators_reach_the_entry(
    member: Client, admin: Client, user: User
) -> None:
    task = hourly_task(user)
    hold = Hold("the database moves")
    with audit.acting_as(Actor("ann@Alpha", Via.API)):
        pausing.pause_tasks(user, [str(task.pk)], now=timezone.now(), hold=hold)

    page, of_admin = why_of(member, task), why_of(admin, task)

    for shown in (page, of_admin):
        assert "Why not now?" in shown
        assert "<code>paused_by_user</code>" in shown
        assert "the database moves" in shown
        assert "task.pause by ann@Alpha (api)" in shown
        assert "Written by" in shown
    link = "/app/settings/audit/?from="
    assert (link in page, link in of_admin) == (False, True)
    rest = of_admin.partition(link)[2].partition('"')[0]
    log = admin.get(f"{link}{rest}").content.decode()
    assert "task.pause" in log


def test_a_coming_moment_is_answered_by_the_clock_of_the_zone(
    member: Client, make_task: MakeTask
) -> None:
    task = make_task(schedule=Cron("0 9 * * *", "Europe/Berlin"))
    tomorrow = timezone.now().date() + timedelta(days=2)

    nine = why_of(member, task, f"?at={tomorrow}T09:00")
    ten = why_of(member, task, f"?at={tomorrow}T10:00&zone=Europe/Berlin")
    in_utc = why_of(member, task, f"?at={tomorrow}T09:00&zone=UTC")

    assert f"Why at {tomorrow} 09:00:00, Europe/Berlin?" in nine
    assert "It will fire" in nine
    assert 'value="Europe/Berlin"' in nine
    assert "<code>not_planned</code>" in ten
    assert "<code>not_planned</code>" in in_utc


def test_an_offset_is_shown_in_the_zone(member: Client, make_task: MakeTask) -> None:
    task = make_task(schedule=Cron("0 9 * * *", "Europe/Berlin"))

    page = why_of(member, task, "?at=2030-01-15T08:00:00Z")

    assert 'value="2030-01-15T09:00:00"' in page
    assert "It will fire" in page


@pytest.mark.parametrize(
    ("at", "note"),
    [
        ("2030-03-31T02:30", "skips 02:30"),
        ("2030-10-27T02:30", "shows 02:30 twice"),
        ("2030-10-27T03:30", ""),
    ],
)
def test_what_a_clock_change_does_to_the_moment_is_said(
    member: Client, make_task: MakeTask, at: str, note: str
) -> None:
    task = make_task(schedule=Cron("0 9 * * *", "Europe/Berlin"))

    page = why_of(member, task, f"?at={at}&zone=Europe/Berlin")

    assert note in page
    assert ("The clock of Europe/Berlin" in page) is bool(note)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("?at=yesterday", "a date and a time"),
        ("?at=0001-01-01T00:00:00Z", "a date and a time"),
        ("?at=9999-12-31T23:59:59Z", "a date and a time"),
        ("?at=2030-13-01T00:00", "a date and a time"),
        ("?at=%00", "Null characters"),
        (f"?at={'1' * 99}", "at most 40 characters"),
        ("?at=2030-01-01T00:00&zone=Mars/Olympus", "is not known"),
    ],
)
def test_what_is_no_moment_is_told_at_the_field(
    member: Client, make_task: MakeTask, query: str, error: str
) -> None:
    page = why_of(member, make_task(), query)

    [said] = [part.partition("</p>")[0] for part in page.split('role="alert">')[1:]]
    assert error in said
    is_about_zone = "zone" in query
    assert ('type="datetime-local"' in page) is is_about_zone
    assert 'id="verdict"' not in page


def test_a_schedule_that_takes_too_long_has_a_sentence(
    member: Client, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(schedule=Cron("0 9 29 2 *", "Europe/Berlin"))
    monkeypatch.setattr(views, "MAX_STEPS", 0)

    page = why_of(member, task, "?at=2030-01-15T08:00:00Z")

    assert "takes too long to compute" in page


def test_what_others_have_is_not_found(
    member: Client, admin: Client, colleague: User, stranger: User
) -> None:
    theirs, foreign = hourly_task(colleague), hourly_task(stranger)

    assert member.get(f"{TASKS}{theirs.pk}/why/").status_code == 404
    for browser in (member, admin):
        assert browser.get(f"{TASKS}{foreign.pk}/why/").status_code == 404
        assert browser.get(f"{TASKS}{uuid4()}/why/").status_code == 404


def test_the_page_of_a_task_leads_to_why(member: Client, user: User) -> None:
    task = hourly_task(user)
    failed = store_run(task, ago=3, state=RunState.FAILED)
    store_run(task, ago=2, state=RunState.SUCCEEDED)
    late = store_run(task, ago=1, state=RunState.SUCCEEDED)
    type(late).objects.filter(pk=late.pk).update(
        first_started_at=late.scheduled_for + timedelta(seconds=5)
    )

    page = unescape(text_of(member, f"{TASKS}{task.pk}/"))

    assert f'id="why" href="{TASKS}{task.pk}/why?zone=UTC"' in page
    links = [part.partition('"')[0] for part in page.split('class="why" href="')[1:]]
    moments = [link.partition("?at=")[2].partition("&")[0] for link in links]
    read = [datetime.fromisoformat(each).astimezone(UTC) for each in moments]
    assert read == [late.scheduled_for, failed.scheduled_for]
    for link in links:
        assert 'id="verdict"' in text_of(member, link)


def test_the_page_of_a_run_leads_to_why(member: Client, user: User) -> None:
    run = store_run(
        hourly_task(user), state=RunState.MISSED, reason="Nobody was there."
    )

    page = unescape(text_of(member, f"/app/runs/{run.pk}/"))

    link = page.partition('id="why" href="')[2].partition('"')[0]
    assert 'id="verdict"' in text_of(member, link)


def test_a_message_of_a_channel_has_no_why(admin: Client, tenant_admin: User) -> None:
    channel = make_channel(tenant_admin)
    channels.send_test(tenant_admin, channel.pk, now=timezone.now())
    run = store_run(Task.objects.get(surface=Surface.NOTICES))

    page = text_of(admin, f"/app/runs/{run.pk}/")

    assert "/why" not in page


def test_an_ended_task_is_answered_for(member: Client, user: User) -> None:
    task = store_task(user, Once(timezone.now() + MINUTE))
    member.post(f"{TASKS}remove/", {"only": str(task.pk), "confirmed": "yes"})

    assert "<code>removed</code>" in why_of(member, task)


def test_viewers_read_it(viewer: User, user: User, client: Client) -> None:
    task = hourly_task(user)
    client.force_login(viewer)
    assert viewer.role == Role.VIEWER

    assert 'id="verdict"' in why_of(client, task)


def test_the_page_takes_as_many_statements_for_many_runs(
    member: Client, user: User
) -> None:
    task, at = minutely(user)
    path = f"{TASKS}{task.pk}/why/?at={at:%Y-%m-%dT%H:%M:%S.%fZ}"
    store_run(task, at=at)
    few = statements(member, path)
    for ago in range(1, 40):
        store_run(task, at=at + ago * MINUTE)

    assert statements(member, path) <= few <= 40
