"""A worker takes no more than it can hold, and what it never began was not lost with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from uuid import UUID, uuid4

import pytest
from django.conf import LazySettings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from tasks_api.delivery import retry
from tasks_api.delivery.request import ClaimedRun
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Attempt, Run, Task
from tasks_api.scheduler import rescue
from tasks_api.services import tasks
from tasks_api.taking import leases
from tasks_api.taking.room import Room, count_bytes
from tasks_api.worker.engine import Engine
from tests.acceptance.harness import eventually
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import (
    SECOND,
    store_task,
    take_due,
    take_waiting,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

KILOBYTE = 1000


def store_large(owner: User, url: str, *, size: int) -> Task:
    body = json.dumps("ü" + "x" * size)
    spec = TaskSpec(Surface.TASKS, url, Once(timezone.now()), body)
    return tasks.create_task(owner, spec, now=timezone.now())


def task_ids_of(runs: Iterable[ClaimedRun]) -> list[UUID]:
    return [run.task_id for run in sorted(runs, key=lambda run: run.scheduled_for)]


def test_a_batch_takes_the_earliest_until_they_weigh_enough(user: User) -> None:
    tasks = [
        store_large(user, "http://127.0.0.1:9/", size=KILOBYTE).pk for _ in range(6)
    ]

    first = take_due(Room(bytes=2500))
    rest = take_due(Room(bytes=1))

    assert task_ids_of(first) == tasks[:3]
    assert task_ids_of(rest) == tasks[3:4]
    assert Run.objects.count() == 4
    assert count_bytes(first[0]) == len(first[0].body.encode()) + len(first[0].url)


def test_waiting_runs_are_taken_until_they_weigh_enough(user: User) -> None:
    tasks = [
        store_large(user, "http://127.0.0.1:9/", size=KILOBYTE).pk for _ in range(6)
    ]
    for taken in take_due():
        leases.undo_take(taken.lease)
        Run.objects.filter(pk=taken.run_id).update(wake_at=taken.scheduled_for)

    first = take_waiting(Room(bytes=2500))
    rest = take_waiting(Room(bytes=1))

    assert task_ids_of(first) == tasks[:3]
    assert task_ids_of(rest) == tasks[3:4]
    assert Run.objects.filter(state="pending").count() == 2


@pytest.fixture
def few_bytes(settings: LazySettings) -> None:
    settings.SCHEDULER_MAX_BYTES_IN_FLIGHT = 25 * KILOBYTE


def test_a_worker_holds_few_large_requests_at_a_time_and_sends_them_all(
    user: User, receiver: Receiver, few_bytes: None, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/large", delay=0.3)
    for _ in range(12):
        store_large(user, receiver.url + "/large", size=10 * KILOBYTE)

    engine.ring()
    held = 0
    for count in range(1, 13):
        receiver.wait_for(count)
        held = max(held, engine.vitals().held)
    recorded.wait_for(12)

    assert held <= 3
    assert Run.objects.filter(state="succeeded").count() == 12
    assert len(receiver.requests) == 12


@pytest.fixture
def one_at_a_time(settings: LazySettings) -> None:
    settings.SCHEDULER_MAX_PER_HOST = 1


def test_what_a_worker_has_not_begun_is_not_lost_too_often_with_it(
    user: User, receiver: Receiver, one_at_a_time: None, engine: Engine
) -> None:
    receiver.answer("/slow", delay=5.0)
    with transaction.atomic():
        for _ in range(3):
            store_task(user, Once(timezone.now() - SECOND), receiver.url + "/slow")
        [lease] = {taken.lease for taken in take_due()}
        leases.undo_take(lease)
        Run.objects.update(
            attempt_count=retry.MAX_LOST_ATTEMPTS - 1,
            lost_count=retry.MAX_LOST_ATTEMPTS - 1,
        )

    engine.ring()
    receiver.wait_for(1)
    waiting = Run.objects.filter(reason=leases.UNSENT_REASON)
    eventually(lambda: waiting.count() == 2)
    # As a beat does it that misses this worker, which takes nothing more.
    engine.stop_taking()
    leases.release({engine.presence})
    rescue.rescue_runs()

    [begun] = Run.objects.filter(state="failed")
    others = Run.objects.exclude(pk=begun.pk)
    assert begun.reason == "Its worker was lost too often."
    assert {(r.state, r.reason, r.attempt_count, r.lost_count) for r in others} == {
        ("pending", "", retry.MAX_LOST_ATTEMPTS, retry.MAX_LOST_ATTEMPTS)
    }
    attempts = Attempt.objects.filter(run__in=others)
    assert {attempt.error for attempt in attempts} == {rescue.UNSEEN_LOSS}
    # The next loss is the first that speaks against them.
    Run.objects.filter(pk__in=others).update(
        state="running",
        lease=uuid4(),
        wake_at=timezone.now(),
        attempt_count=retry.MAX_LOST_ATTEMPTS + 1,
    )
    rescue.rescue_runs()
    assert {run.state for run in others.all()} == {"failed"}


def test_what_was_waiting_and_has_begun_counts_as_begun(
    user: User, receiver: Receiver, one_at_a_time: None, engine: Engine
) -> None:
    receiver.answer("/first", delay=1.5)
    receiver.answer("/then", delay=5.0)
    with transaction.atomic():
        store_task(user, Once(timezone.now()), receiver.url + "/first")
        then = store_task(user, Once(timezone.now()), receiver.url + "/then")

    engine.ring()
    of_then = Run.objects.filter(task=then)
    eventually(of_then.filter(reason=leases.UNSENT_REASON).exists)
    receiver.wait_for(2)

    eventually(lambda: of_then.get().reason == "")
    engine.stop_taking()
    leases.release({engine.presence})
    rescue.rescue_runs()
    assert of_then.get().lost_count == 1
