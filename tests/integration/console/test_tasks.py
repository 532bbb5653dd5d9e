"""The list of tasks, and what its buttons change."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.models import Role, User
from tasks_api.domain.schedules import Cron, Interval
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import pausing
from tests.conftest import MakeTask
from tests.integration.support.audit_log import logged_actions
from tests.integration.support.stored_runs import hourly_task, store_run
from tests.integration.support.task_pages import (
    HTMX,
    TASKS,
    change,
    statements,
    text_of,
)

pytestmark = pytest.mark.django_db


# The list.


def test_the_list_shows_tasks_of_every_format(
    member: Client, user: User, make_task: MakeTask
) -> None:
    cron = Cron("0 9 * * 1-5", "Europe/Berlin")
    make_task(name="nightly", tags=("billing",), schedule=cron)
    make_task(surface=Surface.TIMERS, url="")
    store_run(Task.objects.get(name="nightly"), state=RunState.FAILED)

    page = text_of(member)

    for part in ("nightly", "POST example.com", "billing", "timer", "in Europe/Berlin"):
        assert part in page
    assert "POST to the tenant&#x27;s endpoint" in page
    assert 'class="dot failed"' in page
    assert "active" in page


def test_an_empty_list_teaches(member: Client, make_task: MakeTask) -> None:
    assert "There is no task yet" in text_of(member)
    make_task(name="nightly")

    assert "No task matches" in text_of(member, f"{TASKS}?q=daily")


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
    member: Client, user: User, make_task: MakeTask, query: str, names: set[str]
) -> None:
    make_task(name="nightly", tags=("billing",))
    every = Interval(timezone.now(), timedelta(hours=1))
    hourly = make_task(name="hourly", url="https://api.example.com/", schedule=every)
    pausing.pause_tasks(user, [str(hourly.pk)], now=timezone.now())

    page = text_of(member, f"{TASKS}?{query}")

    assert {name for name in ("nightly", "hourly") if f">{name}</a>" in page} == names


def test_an_administrator_sees_and_filters_owners_and_a_member_does_not(
    member: Client, admin: Client, tenant_admin: User, make_task: MakeTask
) -> None:
    make_task(name="mine")
    make_task(tenant_admin, name="theirs")

    assert "theirs" not in text_of(member, f"{TASKS}?owner=adam")
    assert ">mine<" in text_of(admin)
    filtered = text_of(admin, f"{TASKS}?owner=ann")
    assert (">mine<" in filtered, ">theirs<" in filtered) == (True, False)


def test_the_list_has_pages(member: Client, make_task: MakeTask) -> None:
    for number in range(30):
        make_task(name=f"task{number:02}", tags=("many",))

    first = text_of(member, f"{TASKS}?tag=many")
    link = first.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
    second = text_of(member, f"{TASKS}{link.replace('&amp;', '&')}")

    assert ("task05" in first, "task04" in first) == (True, False)
    assert ("task05" in second, "task04" in second) == (False, True)
    assert 'rel="next"' not in second


def test_a_cursor_that_is_none_is_not_found(member: Client) -> None:
    assert member.get(f"{TASKS}?after=nonsense").status_code == 404


def test_a_poll_gets_the_list_when_it_has_changed(
    member: Client, make_task: MakeTask
) -> None:
    make_task(name="nightly")
    first = member.get(TASKS, headers=HTMX)
    known = {**HTMX, "If-None-Match": first["ETag"]}

    assert "<html" not in first.content.decode()
    assert member.get(TASKS, headers=known).status_code == 304
    make_task(name="daily")
    assert "daily" in text_of(member, headers=known)


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


def test_the_button_of_a_row_changes_that_row_alone(
    member: Client, make_task: MakeTask
) -> None:
    checked, task = make_task(name="other"), make_task(name="nightly")

    page = change(member, "pause", checked, only=str(task.pk))

    assert "nightly is paused." in page
    assert list(Task.objects.paused()) == [task]
    assert logged_actions(action="task.pause") == [
        ("ann@Alpha", "console", "task.pause", str(task.pk))
    ]


def test_many_tasks_change_at_once_and_the_filters_stay(
    member: Client, make_task: MakeTask
) -> None:
    first, second = make_task(name="first"), make_task(name="second")
    change(member, "pause", first)

    answer = member.post(f"{TASKS}pause/?q=x&tag=y", {"task": [first.pk, second.pk]})
    page = text_of(member)

    assert answer["Location"] == "/app/tasks?q=x&tag=y"
    assert "second is paused." in page
    assert "first is not paused. It was paused before." in page
    assert "2 tasks are resumed." in change(member, "resume", first, second)
    assert "2 tasks are running now." in change(member, "run", first, second)
    assert Run.objects.filter(by_hand=True).count() == 2


def test_a_removal_asks_first_and_names_the_tasks(
    member: Client, make_task: MakeTask
) -> None:
    first, second = make_task(name="first"), make_task(name="second")

    page = change(member, "remove", first, second)
    assert "Remove 2 tasks?" in page
    assert "<li>first</li>" in page
    assert not Task.objects.exclude(ended_at=None).exists()

    assert "2 tasks are removed." in change(
        member, "remove", first, second, confirmed="yes"
    )
    assert Task.objects.filter(end_reason="removed").count() == 2


def test_nothing_chosen_is_said(member: Client) -> None:
    assert "Choose the tasks first" in change(member, "pause")
    assert "Choose the tasks first" in change(member, "remove")


def test_too_many_are_refused(member: Client) -> None:
    ids = [str(uuid4()) for _ in range(101)]

    page = member.post(f"{TASKS}pause/", {"task": ids}, follow=True)

    assert "at most 100" in page.content.decode()


@pytest.mark.parametrize("action", ["pause", "resume", "run", "remove"])
@pytest.mark.parametrize("confirmed", [{}, {"confirmed": "yes"}])
def test_what_somebody_else_has_is_not_found(
    member: Client,
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
        answer = member.post(f"{TASKS}{action}/", {"task": ids, **confirmed})
        assert answer.status_code == 404
        assert member.get(f"{TASKS}{foreign.pk}/").status_code == 404

    assert not Task.objects.paused().exists()
    assert not Task.objects.exclude(ended_at=None).exists()
    assert not Run.objects.exists()


def test_a_viewer_sees_everything_and_no_button(
    member: Client, user: User, colleague: User, make_task: MakeTask
) -> None:
    task = make_task(colleague, name="nightly")
    services.change_user(user, role=Role.VIEWER)

    for path in (TASKS, f"{TASKS}{task.pk}/"):
        page = text_of(member, path)
        assert "nightly" in page
        assert "formaction" not in page
        assert "New task" not in page
        assert "/edit/" not in page
    assert member.post(f"{TASKS}pause/", {"task": [task.pk]}).status_code == 403
