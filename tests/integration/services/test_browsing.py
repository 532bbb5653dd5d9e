"""People browse the tasks of all wire formats, the newest first, a page at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import Surface
from tasks_api.models import Task
from tasks_api.services import browsing, pausing, removal
from tasks_api.services.listing import TaskFilters, TaskPage
from tests.conftest import MakeTask
from tests.integration.support.stored_runs import hourly_task

pytestmark = pytest.mark.django_db


def browse(user: User, filters: TaskFilters | None = None, **more: Any) -> TaskPage:
    options: dict[str, Any] = {"before": None, "limit": 10, **more}
    return browsing.browse_tasks(
        user, filters or TaskFilters(), now=timezone.now(), **options
    )


def ids_of(page: TaskPage) -> list[UUID]:
    return [task.pk for task in page.tasks]


def all_pages(user: User, filters: TaskFilters, **more: Any) -> list[UUID]:
    found: list[UUID] = []
    before = None
    while True:
        page = browse(user, filters, before=before, limit=2, **more)
        found += ids_of(page)
        if page.after is None:
            return found
        before = page.after


@pytest.fixture
def reader(user: User) -> User:
    """An administrator of Alpha on the pages."""
    accounts.change_user(user, role=Role.ADMIN)
    user.reaches_tenant = True
    return user


def test_tasks_of_all_formats_and_owners_come_in_pages(
    reader: User, colleague: User, stranger: User, make_task: MakeTask
) -> None:
    made = [
        make_task(owner, surface=surface)
        for owner in (reader, colleague)
        for surface in browsing.FORMATS
    ]
    make_task(stranger)
    make_task(surface=Surface.NOTICES)

    newest = [task.pk for task in reversed(made)]
    assert ids_of(browse(reader)) == newest
    assert all_pages(reader, TaskFilters()) == newest


def test_a_member_browses_own_tasks_whatever_owner_is_asked_for(
    user: User, colleague: User, make_task: MakeTask
) -> None:
    own = make_task()
    make_task(colleague)

    assert ids_of(browse(user)) == [own.pk]
    assert ids_of(browse(user, owner="adam")) == [own.pk]


def test_filters_let_some_tasks_through(
    reader: User, colleague: User, make_task: MakeTask
) -> None:
    nightly = make_task(name="nightly", tags=("billing", "eu"))
    other = make_task(colleague, url="https://api.example.com/", tags=("eu",))
    hourly = hourly_task(reader)
    timer = make_task(surface=Surface.TIMERS)
    pausing.pause_tasks(reader, [str(other.pk)], now=timezone.now())

    for filters, options, expected in (
        (TaskFilters(search="night"), {}, [nightly]),
        (TaskFilters(search="api.example"), {}, [other]),
        (TaskFilters(tags=("eu",)), {}, [other, nightly]),
        (TaskFilters(tags=("eu",)), {"owner": "adam"}, [other]),
        (TaskFilters(tags=("eu",), is_paused=True), {}, [other]),
        (TaskFilters(is_paused=True), {}, [other]),
        (TaskFilters(is_paused=False), {}, [timer, hourly, nightly]),
        (TaskFilters(is_one_time=False), {}, [hourly]),
        (TaskFilters(), {"formats": [Surface.TIMERS]}, [timer]),
        (TaskFilters(), {"owner": "nobody"}, []),
    ):
        assert all_pages(reader, filters, **options) == [task.pk for task in expected]


def test_ended_tasks_are_not_browsed(reader: User, make_task: MakeTask) -> None:
    removed, over = make_task(), make_task()
    removal.remove_task(reader, str(removed.pk), now=timezone.now())
    past = timezone.now() - timedelta(minutes=1)
    Task.objects.filter(pk=over.pk).update(ends_at=past)

    assert ids_of(browse(reader)) == []


def test_a_page_that_examined_enough_goes_on(
    reader: User, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "MAX_ROWS_SEARCHED", 2)
    wanted = make_task(name="needle")
    for _ in range(3):
        make_task()

    first = browse(reader, TaskFilters(search="needle"))

    assert first.tasks == []
    assert first.after is not None
    assert all_pages(reader, TaskFilters(search="needle")) == [wanted.pk]


@pytest.mark.parametrize("count", [1, 12])
def test_a_page_takes_a_constant_number_of_statements(
    reader: User,
    make_task: MakeTask,
    count: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(count):
        make_task(schedule=Interval(timezone.now(), timedelta(hours=1)))

    with django_assert_num_queries(3):
        page = browse(reader, limit=20)
        assert [str(task.owner) for task in page.tasks] == ["ann@Alpha"] * count
        assert all(task.periodic_task.interval for task in page.tasks)
