"""Runs that wait are taken when their time has come, unless their task says otherwise."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from django.utils import timezone

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.domain.schedules import Once
from tasks_api.models import Run
from tasks_api.services import manual_runs, pausing
from tasks_api.taking import leases, waiting_runs
from tasks_api.taking.room import Room
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    give_back,
    ids_of,
    store_task,
    take_due,
    take_waiting,
)
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


def fire_by_hand(owner: User) -> None:
    task = store_task(owner, Once(timezone.now() + HOUR))
    assert manual_runs.fire_task(task.pk, now=timezone.now())


@pytest.mark.parametrize("state", ["pending", "retrying"])
def test_a_run_that_waits_is_taken_once_and_not_before_its_moment(
    user: User, state: str
) -> None:
    fire_by_hand(user)
    at = clock.now() + SECOND / 2
    Run.objects.update(state=state, wake_at=at)

    taken = take_waiting()
    while not taken:
        assert clock.read() < at + 5 * SECOND
        taken = take_waiting()

    run = Run.objects.get()
    assert ids_of(taken) == [run.pk]
    assert run.started_at is not None
    assert at <= run.started_at
    assert (run.state, run.attempt_count) == ("running", 1)
    assert take_waiting() == []


def test_many_workers_take_a_run_that_waits_once(user: User) -> None:
    for _ in range(60):
        fire_by_hand(user)

    found = run_in_threads(8, partial(take_waiting, Room(places=10)))
    while more := take_waiting():
        found.append(more)

    ids = [run_id for taken in found for run_id in ids_of(taken)]
    assert len(ids) == len(set(ids)) == 60


def test_a_take_whose_answer_was_lost_is_undone(user: User) -> None:
    fire_by_hand(user)
    store_task(user, Once(timezone.now()))
    taken = [*take_waiting(), *take_due()]

    given_back = give_back(taken)

    again = take_waiting()
    assert sorted(ids_of(again)) == sorted(given_back)
    # Nothing was sent, so it counts for nothing.
    assert {run.number for run in again} == {1}


def test_a_worker_takes_no_more_than_has_room(user: User, stranger: User) -> None:
    for _ in range(4):
        fire_by_hand(user)
    fire_by_hand(stranger)
    assert user.tenant_id
    room = Room(places_of={user.tenant_id: 2})

    taken = waiting_runs.take_waiting(room, leases.new_lease(leases.NO_PRESENCE))

    tenants = Counter(run.tenant_id for run in taken.runs)
    assert tenants == {user.tenant_id: 2, stranger.tenant_id: 1}
    assert (taken.due, taken.left) == (5, 2)
    assert [len(take_waiting(Room(places=1))) for _ in range(3)] == [1, 1, 0]


def test_a_run_of_a_paused_one_off_waits_and_takes_nobodys_place(user: User) -> None:
    task = store_task(user, Once(timezone.now() - SECOND))
    [held] = give_back(take_due())
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    fire_by_hand(user)

    taken = take_waiting()

    [by_hand] = Run.objects.exclude(pk=held)
    assert ids_of(taken) == [by_hand.pk]
    waiting = Run.objects.get(pk=held)
    assert (waiting.state, waiting.attempt_count) == ("pending", 0)
    assert waiting.wake_at is not None
    assert waiting.wake_at > timezone.now() + 20 * SECOND
