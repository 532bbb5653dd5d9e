"""Runs of a lane start at its pace, in their order, and none is lost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.models import Role, User
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Backoff, Surface, TaskSpec
from tasks_api.domain.states import BreakerState, RunState
from tasks_api.models import Attempt, Lane, Run, Task
from tasks_api.scheduler import rescue
from tasks_api.services import lanes, manual_runs, tasks
from tasks_api.services.pausing import Hold
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import AttemptResult
from tests.conftest import tenant_of
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import HOUR, SECOND
from tests.integration.support.worker_process import WorkerProcess
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def make_lane(user: User, **given: object) -> Lane:
    return Lane.objects.create(tenant=tenant_of(user), name="crm", **given)


def store_tasks(user: User, url: str, count: int) -> list[UUID]:
    """Tasks of lane crm that are due at the same time, which are many in a moment."""
    now = timezone.now()
    at = now + SECOND / 2
    specs = [
        TaskSpec(Surface.TASKS, f"{url}/{n}", Once(at), "{}", lane_name="crm")
        for n in range(count)
    ]
    return [task.id for task in tasks.create_tasks(user, specs, now=now)]


def wait_for_sent(recorded: ResultLog, count: int) -> list[AttemptResult]:
    """The results of requests that began; others were given back and came again."""

    def find_sent() -> list[AttemptResult]:
        return [item for item in list(recorded.items) if item.result.was_sent]

    wait_until(lambda: len(find_sent()) >= count)
    return find_sent()


def starts_of(recorded: ResultLog, count: int) -> list[float]:
    sent = wait_for_sent(recorded, count)
    return sorted(item.started_at.timestamp() for item in sent)


def count_in_fullest_window(starts: list[float], seconds: float) -> int:
    return max(
        sum(first <= each <= first + seconds for each in starts) for first in starts
    )


def test_no_second_has_more_starts_than_the_rate(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    make_lane(user, rate_limit=20, rate_per="second")
    store_tasks(user, receiver.url, 50)
    engine.ring()

    starts = starts_of(recorded, 50)

    assert count_in_fullest_window(starts, 1) <= 20
    assert count_in_fullest_window([each.at for each in receiver.requests], 1) <= 20
    assert set(Run.objects.values_list("state", flat=True)) == {RunState.SUCCEEDED}
    assert {run.attempt_count for run in Run.objects.all()} == {1}


def test_three_workers_that_are_killed_keep_the_rate_and_lose_nothing(
    user: User, receiver: Receiver
) -> None:
    make_lane(user, rate_limit=20, rate_per="second")
    stored = store_tasks(user, receiver.url, 150)
    draw = random.Random(7)
    workers = [start_worker() for _ in range(3)]
    try:
        until = time.monotonic() + 150
        while Run.objects.filter(state=RunState.SUCCEEDED).count() < len(stored):
            assert time.monotonic() < until
            killed = draw.randrange(3)
            workers[killed].kill()
            workers[killed] = start_worker()
            wake = time.monotonic() + draw.uniform(0.5, 2.5)
            while time.monotonic() < wake:
                # As a beat does, but without its tick.
                rescue.rescue_runs()
                receiver.wait_for(1, timeout=100)
    finally:
        for worker in workers:
            worker.kill()

    arrived = {request.path for request in receiver.requests}
    assert arrived == {f"/{n}" for n in range(150)}
    # Of an attempt that was lost with its worker, only the taking is known.
    answered = Attempt.objects.exclude(status_code=None)
    starts = [at.timestamp() for at in answered.values_list("started_at", flat=True)]
    assert count_in_fullest_window(starts, 1) <= 20
    # A request arrives some milliseconds after its start.
    assert count_in_fullest_window([each.at for each in receiver.requests], 0.9) <= 20


def start_worker() -> WorkerProcess:
    return WorkerProcess(SCHEDULER_LEASE="2")


def test_runs_start_in_the_order_of_their_fire_times(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    make_lane(user, rate_limit=20, rate_per="second")
    store_tasks(user, receiver.url, 20)
    engine.ring()
    receiver.wait_for(1)
    store_tasks(user, receiver.url + "/later", 5)
    engine.ring()

    wait_for_sent(recorded, 25)

    paths = [request.path for request in receiver.requests]
    assert all(path.startswith("/later/") for path in paths[20:])


def test_no_more_requests_are_under_way_than_the_concurrency(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    make_lane(user, concurrency=3)
    for n in range(12):
        receiver.answer(f"/{n}", delay=0.2)
    store_tasks(user, receiver.url, 12)
    engine.ring()

    items = wait_for_sent(recorded, 12)

    spans = [
        (start := item.started_at.timestamp(), start + item.result.duration_ms / 1000)
        for item in items
    ]
    under_way = [
        sum(begin <= start < end for begin, end in spans) for start, _ in spans
    ]
    assert max(under_way) <= 3
    assert {item.result.status_code for item in items} == {200}


def test_a_paused_lane_keeps_its_runs_until_it_resumes(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    make_lane(user, rate_limit=20)
    user.role = Role.ADMIN
    lanes.pause_lane(user, "crm", Hold("it moves"), now=timezone.now())
    store_tasks(user, receiver.url, 3)
    engine.ring()
    wait_until(lambda: Run.objects.filter(state=RunState.PENDING).count() == 3)
    assert receiver.requests == []
    assert {run.reason for run in Run.objects.all()} == {"Waits for lane crm."}

    lanes.resume_lane(user, "crm")
    engine.ring()

    assert {item.result.status_code for item in wait_for_sent(recorded, 3)} == {200}


def test_a_target_that_asks_for_less_gets_less_until_it_is_well(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    lane = make_lane(user, rate_limit=20)
    receiver.answer("/0", status=429, headers={"Retry-After": "1"})
    store_tasks(user, receiver.url, 1)
    engine.ring()
    wait_for_sent(recorded, 1)
    wait_until(lambda: Lane.objects.get().slowdown == 0.5)
    lane.refresh_from_db()
    assert lane.held_until is not None
    held_until = lane.held_until

    receiver.answer("/0")
    store_tasks(user, receiver.url, 20)
    engine.ring()
    later = wait_for_sent(recorded, 21)[1:]

    # All began after the second that the target asked for.
    assert min(item.started_at for item in later) >= held_until - 0.05 * SECOND
    wait_until(lambda: Lane.objects.get().slowdown > 0.5)


def test_a_breaker_holds_a_lane_and_a_probe_closes_it(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    make_lane(user, rate_limit=50, breaker_after=3, breaker_for=1)
    for n in range(30):
        receiver.answer(f"/{n}", status=500)
    store_tasks(user, receiver.url, 30)
    engine.ring()
    wait_until(lambda: Lane.objects.get().breaker_state == BreakerState.OPEN)

    for n in range(30):
        receiver.answer(f"/{n}")
    items = wait_for_sent(recorded, 30)

    wait_until(lambda: Lane.objects.get().breaker_state == BreakerState.CLOSED)
    statuses = [item.result.status_code for item in items]
    assert statuses.count(200) >= 3
    assert statuses.count(500) >= 3


def test_a_retry_waits_in_its_lane(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    lane = make_lane(user, rate_limit=20)
    receiver.answer("/0", status=500)
    now = timezone.now()
    retry = Backoff(min_delay=1, max_delay=1)
    spec = TaskSpec(
        Surface.TASKS,
        f"{receiver.url}/0",
        Once(now + SECOND / 2),
        "{}",
        lane_name="crm",
        retry=retry,
    )
    tasks.create_task(user, spec, now=now)
    engine.ring()
    wait_for_sent(recorded, 1)
    wait_until(lambda: Run.objects.get().state == RunState.RETRYING)
    assert Run.objects.get().lane_id == lane.pk

    receiver.answer("/0")

    wait_until(lambda: Run.objects.get().state == RunState.SUCCEEDED)
    assert Run.objects.get().attempt_count == 2
    assert Run.objects.get().lane_id == lane.pk


def test_a_manual_run_waits_in_the_lane_of_its_task(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    lane = make_lane(user, rate_limit=20)
    now = timezone.now()
    spec = TaskSpec(
        Surface.TASKS, receiver.url, Once(now + HOUR), "{}", lane_name="crm"
    )
    task = tasks.create_task(user, spec, now=now)
    manual_runs.run_now(user, str(task.pk), surface=Surface.TASKS, now=now)
    engine.ring()

    [item] = wait_for_sent(recorded, 1)

    assert item.run.lane_id == lane.pk
    assert Run.objects.get().lane_id == lane.pk


def test_runs_of_a_lane_that_is_gone_are_sent_without_it(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    lane = make_lane(user, paused_at=timezone.now())
    store_tasks(user, receiver.url, 1)
    engine.ring()
    wait_until(lambda: Run.objects.filter(lane_id=lane.pk).exists())
    Task.objects.update(lane=None)
    lane.delete()
    engine.ring()

    wait_for_sent(recorded, 1)

    assert Run.objects.get().state == RunState.SUCCEEDED


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)
