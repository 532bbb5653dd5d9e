"""A beat sees in one statement whether there is anything to do, however much is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Run, Task
from tasks_api.scheduler import dispatch, poll, rescue, statements
from tasks_api.services import pausing, tasks
from tasks_api.storage import schedule_changes, task_counts
from tests.acceptance.harness import eventually
from tests.integration.support.stored_tasks import HOUR, store_task

pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_is_seen_where_nothing_is_due(user: User) -> None:
    store_task(user, Once(timezone.now() + HOUR))

    seen = poll.find_work(at_most=0.2)

    assert (seen.has_due_tasks, seen.has_waking_runs) == (False, False)
    assert seen.next_exact_in == 0.2
    assert abs(seen.now - timezone.now()) < timedelta(seconds=5)


def test_what_is_due_is_seen_until_it_is_done(user: User) -> None:
    store_task(user, Once(timezone.now() + timedelta(seconds=0.5)))
    assert poll.find_work(at_most=0.2).has_due_tasks

    dispatch.dispatch_due()

    assert not poll.find_work(at_most=0.2).has_due_tasks


def test_a_run_that_waits_is_seen_when_its_time_has_come(user: User) -> None:
    store_task(user, Once(timezone.now()))
    dispatch.dispatch_due()
    assert not poll.find_work(at_most=0.2).has_waking_runs

    Run.objects.update(wake_at=timezone.now())

    assert poll.find_work(at_most=0.2).has_waking_runs


def test_what_is_paused_is_not_seen(user: User) -> None:
    store_task(user, Once(timezone.now()))
    Task.objects.update(next_fire_at=None)

    assert not poll.find_work(at_most=0.2).has_due_tasks


def test_what_a_change_cut_off_is_seen_until_it_is_settled(user: User) -> None:
    task = store_task(user, Interval(timezone.now() - HOUR, HOUR, None))
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    assert poll.find_work(at_most=0.2).has_open_changes

    schedule_changes.settle_open_changes()

    assert not poll.find_work(at_most=0.2).has_open_changes


# While somebody's long transaction keeps dead rows in place.


@contextmanager
def long_transaction() -> Iterator[None]:
    """One that has taken a snapshot, so that nothing that it may see is swept."""
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    with psycopg.connect(**parameters) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM tasks_api_task")
        yield


def pages_read(floor: poll.Floor) -> int:
    """What a look costs, in pages."""
    values = {"ahead": 1.0, "at_most": 0.2, "margin": 60.0, **floor._asdict()}
    with connection.cursor() as cursor:
        cursor.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statements.FIND_WORK}", values
        )
        [[found]] = cursor.fetchall()
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.fixture
def _new_tables(db: None) -> None:
    """No dead rows of other tests are left, which a poll would read."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE tasks_api_task, tasks_api_run, tasks_api_schedulechange,"
            " django_celery_beat_periodictask, django_celery_beat_periodictasks CASCADE"
        )


@pytest.mark.usefixtures("_new_tables")
def test_a_look_does_not_step_over_what_is_dead_again(user: User) -> None:
    now = timezone.now()
    spec = TaskSpec(Surface.TASKS, "http://example.com/", Once(now - HOUR), "{}")
    tasks.create_tasks(user, [spec] * 3000, now=now - HOUR)
    with long_transaction():
        Task.objects.update(next_fire_at=now + HOUR)
        full = poll.find_work(at_most=0.2)

        everything, above = pages_read(poll.NO_FLOOR), pages_read(full.floor)

    assert above < everything / 3


def test_the_floor_is_what_was_first_and_never_near_the_moment(user: User) -> None:
    store_task(user, Once(timezone.now() + HOUR))

    nothing_due = poll.find_work(at_most=0.2)
    backlog = timezone.now() - HOUR
    Task.objects.update(next_fire_at=backlog)
    something_due = poll.find_work(at_most=0.2)

    assert nothing_due.floor.fire_at < timezone.now() - timedelta(seconds=50)
    assert something_due.floor.fire_at == backlog


def test_what_is_due_is_seen_and_done_above_the_floor(user: User) -> None:
    looks = poll.Poller(slow=0)
    looks.find_work(at_most=0.2)
    late = store_task(user, Once(timezone.now()))
    soon = store_task(user, Once(timezone.now() + timedelta(seconds=0.5)))

    assert looks.find_work(at_most=0.2).has_due_tasks
    dispatch.dispatch_due(since=looks.since.fire_at)

    made = set(Run.objects.values_list("task", flat=True))
    assert made == {late.pk, soon.pk}
    Run.objects.update(wake_at=timezone.now())
    assert looks.find_work(at_most=0.2).has_waking_runs
    assert len(rescue.wake_runs(since=looks.since.wake_at).run_ids) == 2


@pytest.mark.parametrize("tenants", [1, 2])
def test_a_backlog_is_dispatched_whole_from_its_floor(
    user: User, stranger: User, tenants: int
) -> None:
    now = timezone.now()
    for owner in (user, stranger)[:tenants]:
        for minutes in range(20):
            store_task(owner, Once(now - timedelta(minutes=minutes)))
    looks = poll.Poller(slow=0)
    assert looks.find_work(at_most=0.2).has_due_tasks

    while dispatch.dispatch_due(limit=6, since=looks.since.fire_at).is_full:
        pass

    assert Run.objects.count() == 20 * tenants


def test_what_appears_below_the_floor_is_seen_by_the_next_full_look(
    user: User,
) -> None:
    looks = poll.Poller(slow=0)
    looks.find_work(at_most=0.2)
    task = store_task(user, Once(timezone.now() - HOUR))
    left = dispatch.dispatch_due(since=looks.since.fire_at)
    assert left.run_ids == []

    eventually(lambda: looks.find_work(at_most=0.2).has_due_tasks)

    assert len(dispatch.dispatch_due(since=looks.since.fire_at).run_ids) == 1
    assert Run.objects.get().task_id == task.pk


def test_while_full_looks_are_quick_each_look_is_one(user: User) -> None:
    looks = poll.Poller(slow=60)
    looks.find_work(at_most=0.2)
    assert looks.since == poll.Since()

    store_task(user, Once(timezone.now() - HOUR))

    assert looks.find_work(at_most=0.2).has_due_tasks


def test_ends_and_changes_are_seen_above_the_floor(user: User) -> None:
    looks = poll.Poller(slow=0)
    looks.find_work(at_most=0.2)
    now = timezone.now()
    task = store_task(user, Interval(now - HOUR, HOUR, None))
    pausing.pause_tasks(user, [str(task.pk)], now=now)
    Task.objects.update(ends_at=now - timedelta(seconds=1))

    seen = looks.find_work(at_most=0.2)

    assert (seen.has_open_changes, seen.has_past_tasks) == (True, True)
    assert task_counts.end_all_expired_tasks(since=looks.since.ends_at) == 1
    schedule_changes.settle_open_changes(since=looks.since.change_id)
    assert not poll.find_work(at_most=0.2).has_open_changes
