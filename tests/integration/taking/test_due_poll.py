"""A worker sees in one statement what is due and when the next thing is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from scheduler_service.db.polling import Poller
from tasks_api.domain.schedules import Once
from tasks_api.models import Run, Task
from tasks_api.taking import (
    due_poll,
    due_tasks,
    leases,
    statements,
    tenant_statements,
    waiting_runs,
)
from tasks_api.taking.room import Room
from tasks_api.taking.tenant_shares import TenantShares
from tests.acceptance.harness import eventually
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


def test_what_is_due_is_seen_until_it_is_taken(user: User) -> None:
    later = timezone.now() + HOUR
    store_task(user, Once(later))
    store_task(user, Once(timezone.now()))

    seen = due_poll.find_due()
    assert (seen.has_due_tasks, seen.has_waiting_runs) == (True, False)
    assert seen.next_at == later
    assert abs(seen.now - timezone.now()) < timedelta(seconds=5)
    taken = take_due()

    seen = due_poll.find_due()
    assert (seen.has_due_tasks, seen.has_waiting_runs) == (False, False)
    give_back(taken)
    assert due_poll.find_due().has_waiting_runs
    take_waiting()
    assert not due_poll.find_due().has_waiting_runs


def test_a_worker_knows_the_next_moment(user: User) -> None:
    assert due_poll.find_due().next_at is None
    task_at, run_at = timezone.now() + 2 * HOUR, timezone.now() + HOUR
    store_task(user, Once(task_at))
    assert due_poll.find_due().next_at == task_at

    store_task(user, Once(timezone.now()))
    give_back(take_due())
    Run.objects.update(wake_at=run_at)

    seen = due_poll.find_due()
    assert (seen.has_due_tasks, seen.has_waiting_runs) == (False, False)
    assert seen.next_at == run_at


@pytest.mark.parametrize("state", ["under a lease", "in line"])
def test_runs_that_no_worker_may_take_are_not_seen(user: User, state: str) -> None:
    store_task(user, Once(timezone.now()))
    taken = take_due()
    if state == "in line":
        give_back(taken)
        Run.objects.update(is_next=True)
    Run.objects.update(wake_at=timezone.now())

    seen = due_poll.find_due()

    assert (seen.has_waiting_runs, seen.next_at) == (False, None)


# While somebody's long transaction keeps dead rows in place.


def test_a_poll_does_not_step_over_what_is_dead_again(user: User) -> None:
    truncate_tables()
    store_past_tasks(user, 3000)
    margin = {"margin": due_poll.LONGEST_TRANSACTION.total_seconds()}
    with long_transaction():
        Task.objects.update(next_fire_at=timezone.now() + HOUR)
        analyze_tables()
        floor = due_poll.find_due().floor

        everything = count_pages(
            statements.FIND_DUE, margin | due_poll.DueFloor()._asdict()
        )
        above = count_pages(statements.FIND_DUE, margin | floor._asdict())

    assert above < everything / 3


def make_poller(slow: float = 0) -> Poller[due_poll.DueFloor, due_poll.DueWork]:
    return Poller(due_poll.find_due, slow=slow)


def take_since(polls: Poller[due_poll.DueFloor, due_poll.DueWork]) -> int:
    """Take what lies above the floor of a poller; how many runs."""
    assert polls.floor is not None
    lease = leases.new_lease(leases.NO_PRESENCE)
    tasks = due_tasks.take_due(Room(), lease, since=polls.floor.fire_at)
    runs = waiting_runs.take_waiting(Room(), lease, since=polls.floor.wake_at)
    return len(tasks.runs) + len(runs.runs)


def test_what_is_due_is_seen_and_taken_above_the_floor(user: User) -> None:
    polls = make_poller()
    polls.poll()
    store_task(user, Once(timezone.now()))
    store_task(user, Once(timezone.now() - SECOND))

    assert polls.poll().has_due_tasks
    assert take_since(polls) == 2

    store_task(user, Once(timezone.now()))
    give_back(take_due())
    assert polls.poll().has_waiting_runs
    assert take_since(polls) == 1


@pytest.mark.parametrize("tenants", [1, 2])
def test_a_backlog_is_taken_whole_from_its_floor(
    user: User, stranger: User, tenants: int
) -> None:
    now = timezone.now()
    for owner in (user, stranger)[:tenants]:
        for minutes in range(20):
            store_task(owner, Once(now - timedelta(minutes=minutes)))
    polls = make_poller()
    assert polls.poll().has_due_tasks
    assert polls.floor is not None
    since = polls.floor.fire_at

    take_all_shares(
        lambda room, shares: due_tasks.take_due(
            room, leases.new_lease(leases.NO_PRESENCE), shares=shares, since=since
        )
    )

    assert Run.objects.count() == 20 * tenants


def take_all_shares(take: Callable[..., due_tasks.TakenTasks]) -> None:
    """Take batch after batch, by the shares of tenants, as a worker does."""
    room, shares = Room(places=6), TenantShares(tenant_statements.TENANTS_OF_TASKS)
    shares.is_full = True
    while shares.is_full:
        chosen = shares.choose(room)
        taken = take(room, chosen)
        shares.note_batch(chosen, room, due=taken.due, left=taken.left)


def test_what_appears_below_the_floor_is_seen_by_the_next_full_poll(
    user: User,
) -> None:
    polls = make_poller()
    polls.poll()
    store_task(user, Once(timezone.now() - HOUR))
    assert take_since(polls) == 0

    eventually(lambda: polls.poll().has_due_tasks)

    assert take_since(polls) == 1


def test_while_full_polls_are_quick_each_poll_is_one(user: User) -> None:
    polls = make_poller(slow=60)
    polls.poll()
    assert polls.floor is None

    store_task(user, Once(timezone.now() - HOUR))

    assert polls.poll().has_due_tasks
