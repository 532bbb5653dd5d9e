"""A beat sees in one statement whether there is anything to do, however much is stored."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.models import User
from scheduler_service.db.polling import Poller
from tasks_api.domain.schedules import Interval, Once
from tasks_api.models import PendingNotice, Run, Task
from tasks_api.scheduler import poll, rescue, statements
from tasks_api.services import pausing
from tasks_api.storage import schedule_changes, task_counts
from tasks_api.taking.due_poll import LONGEST_TRANSACTION
from tests.integration.support.polls import (
    analyze_tables,
    count_pages,
    long_transaction,
    store_past_tasks,
    truncate_tables,
)
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    give_back,
    store_task,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_is_seen_where_nothing_is_due(user: User) -> None:
    at = timezone.now() + HOUR
    store_task(user, Once(at))

    seen = poll.find_work()

    assert (seen.due_at, seen.has_stuck_runs) == (at, False)
    assert (seen.has_open_changes, seen.has_past_tasks) == (False, False)
    assert not seen.has_due_notices
    assert abs(seen.now - timezone.now()) < timedelta(seconds=5)


@pytest.mark.parametrize(("ago", "is_due"), [(SECOND, True), (-HOUR, False)])
def test_notices_are_seen_once_they_are_due(
    user: User, ago: timedelta, is_due: bool
) -> None:
    at = timezone.now() - ago
    assert user.tenant_id is not None
    PendingNotice.objects.create(
        tenant_id=user.tenant_id,
        channel_id=uuid4(),
        rule_id=uuid4(),
        at=at,
        send_at=at,
        count=1,
    )

    assert poll.find_work().has_due_notices == is_due


def test_the_first_moment_is_that_of_a_task_or_of_a_run_that_waits(user: User) -> None:
    early, late = timezone.now() - HOUR, timezone.now() + HOUR
    assert poll.find_work().due_at is None
    task = store_task(user, Once(early))
    assert poll.find_work().due_at == early

    give_back(take_due())
    Task.objects.filter(pk=task.pk).update(next_fire_at=late)

    assert poll.find_work().due_at == Run.objects.get().wake_at
    take_waiting()
    assert poll.find_work().due_at == late


def test_a_run_is_seen_when_its_lease_is_over(user: User) -> None:
    store_task(user, Once(timezone.now()))
    take_due()
    assert not poll.find_work().has_stuck_runs

    Run.objects.update(wake_at=timezone.now())

    assert poll.find_work().has_stuck_runs
    rescue.rescue_runs()
    assert not poll.find_work().has_stuck_runs


def test_what_is_paused_is_not_seen(user: User) -> None:
    store_task(user, Once(timezone.now()))
    Task.objects.update(next_fire_at=None)

    assert poll.find_work().due_at is None


def test_what_a_change_cut_off_is_seen_until_it_is_settled(user: User) -> None:
    task = store_task(user, Interval(timezone.now() - HOUR, HOUR, None))
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    assert poll.find_work().has_open_changes

    schedule_changes.settle_open_changes()

    assert not poll.find_work().has_open_changes


# While somebody's long transaction keeps dead rows in place.


def test_a_poll_does_not_step_over_what_is_dead_again(user: User) -> None:
    now = timezone.now()
    truncate_tables()
    store_past_tasks(user, 3000)
    analyze_tables()
    margin = {"margin": LONGEST_TRANSACTION.total_seconds()}
    with long_transaction():
        Task.objects.update(next_fire_at=now + HOUR)
        full = poll.find_work()

        everything = count_pages(statements.FIND_WORK, margin | poll.Floor()._asdict())
        above = count_pages(statements.FIND_WORK, margin | full.floor._asdict())

    assert above < everything / 3


def test_the_floor_is_what_was_first_and_never_near_the_moment(user: User) -> None:
    store_task(user, Once(timezone.now() + HOUR))

    nothing_due = poll.find_work()
    backlog = timezone.now() - HOUR
    Task.objects.update(next_fire_at=backlog)
    something_due = poll.find_work()

    assert nothing_due.floor.fire_at < timezone.now() - timedelta(seconds=50)
    assert something_due.floor.fire_at == backlog


def test_runs_are_rescued_above_the_floor(user: User) -> None:
    polls = Poller(poll.find_work, slow=0)
    polls.poll()
    store_task(user, Once(timezone.now()))
    take_due()
    Run.objects.update(wake_at=timezone.now())

    assert polls.poll().has_stuck_runs

    assert polls.floor is not None
    assert rescue.rescue_runs(since=polls.floor.wake_at).ready == 1


def test_ends_and_changes_are_seen_above_the_floor(user: User) -> None:
    polls = Poller(poll.find_work, slow=0)
    polls.poll()
    now = timezone.now()
    task = store_task(user, Interval(now - HOUR, HOUR, None))
    pausing.pause_tasks(user, [str(task.pk)], now=now)
    Task.objects.update(ends_at=now - SECOND)

    seen = polls.poll()

    assert polls.floor is not None
    assert (seen.has_open_changes, seen.has_past_tasks) == (True, True)
    assert task_counts.end_all_expired_tasks(since=polls.floor.ends_at) == 1
    schedule_changes.settle_open_changes(since=polls.floor.change_id)
    assert not poll.find_work().has_open_changes
