"""Beats make the runs of recurring tasks in time, while no worker takes them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from accounts.models import User
from tasks_api.domain.schedules import Cron, Interval, Once, Schedule
from tasks_api.domain.specs import Misfire
from tasks_api.models import Run, Task
from tasks_api.scheduler import overdue, poll, statements
from tasks_api.scheduler.overdue import FullTenants
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    run_states,
    store_task,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)


def store_due(owner: User, every: timedelta, *, ago: timedelta) -> Task:
    """A recurring task that should have fired some time ago."""
    start = timezone.now() - ago
    return make_due(store_task(owner, Interval(start, every, start + HOUR)), start)


def make_due(task: Task, at: datetime, **changes: object) -> Task:
    Task.objects.filter(pk=task.pk).update(next_fire_at=at, **changes)
    return task


def test_a_task_that_fires_again_soon_gets_its_run(user: User) -> None:
    task = store_due(user, 2 * SECOND, ago=1.5 * SECOND)
    assert poll.find_work().has_overdue_tasks

    overdue.let_wait()

    assert run_states(task) == ["pending"]
    [taken] = take_waiting()
    assert taken.task_id == task.pk


@pytest.mark.parametrize(
    ("schedule", "misfire", "late"),
    [
        (Cron("0 0 1 1 *", "UTC"), Misfire.SKIP, 2 * SECOND),
        # The next fire time has come, too.
        (Cron("* * * * *", "UTC"), Misfire.LATEST, 61 * SECOND),
    ],
)
def test_a_fire_time_that_a_policy_would_leave_out_gets_its_run(
    user: User, schedule: Schedule, misfire: Misfire, late: timedelta
) -> None:
    task = store_task(user, schedule)
    make_due(task, timezone.now() - late, misfire=misfire)

    overdue.let_wait()

    assert run_states(task)[-1] == "pending"


def test_a_cron_that_fires_later_is_planned_and_left_to_workers(user: User) -> None:
    task = store_task(user, Cron("0 0 1 1 *", "UTC"))
    make_due(task, timezone.now() - 2 * SECOND)

    overdue.let_wait()

    assert not Run.objects.exists()
    task.refresh_from_db()
    assert task.following_fire_times


def test_a_last_fire_time_gets_its_run(user: User) -> None:
    task = store_due(user, HOUR / 2, ago=1.5 * SECOND)
    end = timezone.now() - SECOND
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(expires=end)
    Task.objects.filter(pk=task.pk).update(ends_at=end)

    overdue.let_wait()

    assert run_states(task) == ["pending"]


def test_a_run_that_waits_counts_as_one_of_its_schedule(user: User) -> None:
    task = store_due(user, 2 * SECOND, ago=1.5 * SECOND)

    overdue.let_wait()

    row = PeriodicTask.objects.get(pk=task.periodic_task_id)
    assert row.total_run_count == 1
    assert row.last_run_at is not None


def test_what_may_wait_is_left_to_workers(user: User) -> None:
    store_due(user, HOUR / 2, ago=2 * SECOND)
    store_task(user, Once(timezone.now() - 2 * SECOND))
    store_due(user, 2 * SECOND, ago=0.2 * SECOND)

    overdue.let_wait()

    assert not Run.objects.exists()


@pytest.fixture
def _one_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant is full with one waiting run."""
    many = statements.FIND_OVERDUE
    few = many._replace(beginning=many.beginning.replace("5000", "1"))
    monkeypatch.setattr(statements, "FIND_OVERDUE", few)


@pytest.mark.usefixtures("_one_waits")
def test_a_tenant_has_so_many_runs_that_wait(user: User, stranger: User) -> None:
    for owner in (user, user, stranger):
        store_due(owner, 2 * SECOND, ago=1.5 * SECOND)
        overdue.let_wait()

    assert Run.objects.filter(tenant=user.tenant).count() == 1
    assert Run.objects.filter(tenant=stranger.tenant).count() == 1


@pytest.mark.usefixtures("_one_waits")
def test_a_tenant_that_may_make_no_more_hides_no_other(
    user: User, stranger: User
) -> None:
    for ago in range(20, 15, -1):
        store_due(user, 2 * SECOND, ago=ago * SECOND)
    store_due(stranger, 2 * SECOND, ago=1.5 * SECOND)
    full = FullTenants()

    calls = 1
    while overdue.let_wait(limit=2, full=full):
        calls += 1

    assert Run.objects.filter(tenant=stranger.tenant, state="pending").count() == 1
    assert Run.objects.filter(tenant=user.tenant, state="pending").count() == 2
    # One makes two runs, one finds the first tenant full, and one finds the other.
    assert calls == 3


def test_a_look_counts_for_some_of_many_tenants(
    user: User, stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = statements.FIND_OVERDUE
    few = many._replace(beginning=many.beginning.replace("LIMIT 200", "LIMIT 1"))
    monkeypatch.setattr(statements, "FIND_OVERDUE", few)
    for owner, ago in ((user, 3), (stranger, 2)):
        store_due(owner, 2 * SECOND, ago=ago * SECOND)

    assert overdue.let_wait()
    assert not Run.objects.filter(tenant=stranger.tenant).exists()
    assert not overdue.let_wait()

    assert Run.objects.filter(tenant=stranger.tenant).exists()
