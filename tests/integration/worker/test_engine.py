"""One worker's engine on real rows and a real target: sends once, records, gives back."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

import pytest
import time_machine
from django.conf import LazySettings
from django.db import connection, transaction
from django.utils import timezone
from standardwebhooks import Webhook

from accounts import services as accounts
from accounts.models import User
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Backoff
from tasks_api.domain.states import RunState
from tasks_api.models import Attempt, Run, Task
from tasks_api.scheduler import rescue
from tasks_api.services import removal
from tasks_api.worker.engine import Engine
from tests.conftest import tenant_of
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    store_task,
    take_waiting,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_run_is_sent_once_and_recorded(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    at = timezone.now() + 0.5 * SECOND
    task = store_task(user, Once(at), receiver.url + "/hook")

    for _ in range(3):
        engine.ring()
    recorded.wait_for(1)

    [request] = receiver.wait_for(1)
    run = Run.objects.get(task=task)
    task.refresh_from_db()
    assert run.state == RunState.SUCCEEDED
    assert run.attempts.get().status_code == 200
    assert task.ended_at is not None
    assert not task.periodic_task.enabled
    assert request.headers["webhook-id"] == str(run.pk)
    assert request.headers["idempotency-key"] == str(run.pk)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-scheduled-for"].startswith(f"{at:%Y-%m-%dT%H:%M:%S}")


def test_a_request_leaves_at_its_moment_and_not_before(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    at = timezone.now() + 0.8 * SECOND
    store_task(user, Once(at), receiver.url + "/hook")

    engine.ring()
    [item] = recorded.wait_for(1)

    assert timedelta() <= item.started_at - at < SECOND


def test_a_due_task_is_sent_though_no_bell_rings(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    for number in (1, 2):
        store_task(user, Once(timezone.now()), receiver.url + "/hook")
        recorded.wait_for(number)

    assert len(receiver.requests) == 2


def test_a_receiver_can_verify_who_sent_it(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    with transaction.atomic():
        task = store_task(user, Once(timezone.now()), receiver.url + "/hook")
        Task.objects.filter(pk=task.pk).update(body='{"größe": 1.10}')

    engine.ring()
    recorded.wait_for(1)

    [request] = receiver.wait_for(1)
    [secret] = accounts.load_signing_secrets(tenant_of(user).pk, timezone.now())
    verified = Webhook(secret).verify(request.body, dict(request.headers))
    assert verified == json.loads(request.body)
    assert request.body == '{"größe": 1.10}'.encode()


@pytest.mark.parametrize("status", [400, 404, 410, 500, 503])
def test_a_refusal_is_a_failure_and_a_periodic_task_goes_on(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog, status: int
) -> None:
    receiver.answer("/hook", status=status)
    start = timezone.now()
    task = store_task(
        user, Interval(start, HOUR, start + 9 * HOUR), receiver.url + "/hook"
    )

    engine.ring()
    recorded.wait_for(1)

    run = Run.objects.get()
    task.refresh_from_db()
    assert (run.state, run.reason) == (RunState.FAILED, f"HTTP {status}")
    assert task.next_fire_at == start + HOUR


def test_no_answer_is_a_failure_with_its_reason(
    user: User, engine: Engine, recorded: ResultLog
) -> None:
    store_task(user, Once(timezone.now()), "http://127.0.0.1:9/")

    engine.ring()
    recorded.wait_for(1)

    assert Run.objects.get().reason == "connection refused"
    assert Attempt.objects.get().status_code is None


def test_a_private_target_is_refused_at_the_attempt_too(
    user: User, receiver: Receiver, settings: LazySettings, recorded: ResultLog
) -> None:
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = False
    guarded = Engine(on_recorded=recorded, on_beat=lambda _: None)
    guarded.start()
    store_task(user, Once(timezone.now()), receiver.url + "/hook")

    guarded.ring()
    recorded.wait_for(1)
    guarded.stop(grace=1)

    assert Run.objects.get().state == RunState.FAILED
    assert receiver.requests == []


def test_a_lease_is_kept_while_the_answer_takes_its_time(
    user: User, receiver: Receiver, settings: LazySettings, recorded: ResultLog
) -> None:
    settings.SCHEDULER_LEASE = 1.0
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    receiver.answer("/slow", delay=2.5)
    slow = Engine(on_recorded=recorded, on_beat=lambda _: None)
    slow.start()
    store_task(user, Once(timezone.now()), receiver.url + "/slow")

    slow.ring()
    recorded.wait_for(1)
    slow.stop(grace=5)

    run = Run.objects.get()
    assert (run.state, run.attempt_count, run.lost_count) == ("succeeded", 1, 0)
    assert rescue.rescue_runs().ready == 0


def test_stopping_finishes_what_is_under_way_and_gives_back_the_rest(
    user: User, receiver: Receiver, settings: LazySettings, recorded: ResultLog
) -> None:
    settings.SCHEDULER_MAX_PER_HOST = 1
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    receiver.answer("/slow", delay=1.0)
    stopping = Engine(on_recorded=recorded, on_beat=lambda _: None)
    stopping.start()
    for _ in range(3):
        store_task(user, Once(timezone.now()), receiver.url + "/slow")

    stopping.ring()
    receiver.wait_for(1)
    stopping.stop(grace=5)

    states = sorted(Run.objects.values_list("state", flat=True))
    assert states == ["pending", "pending", "succeeded"]
    assert len(take_waiting()) == 2
    assert len(receiver.requests) == 1


@pytest.fixture
def room_for_two(settings: LazySettings) -> None:
    settings.SCHEDULER_MAX_IN_FLIGHT = 2


def test_an_answer_makes_room_and_unrecorded_results_are_bounded(
    user: User,
    receiver: Receiver,
    room_for_two: None,
    engine: Engine,
    recorded: ResultLog,
) -> None:
    for _ in range(6):
        store_task(user, Once(timezone.now()), receiver.url + "/hook")

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE tasks_api_attempt IN SHARE MODE")
        engine.ring()
        receiver.wait_for(4)
        with pytest.raises(AssertionError, match="4 of 5"):
            receiver.wait_for(5, timeout=1)

    recorded.wait_for(6)
    assert Run.objects.filter(state=RunState.SUCCEEDED).count() == 6


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_worker_whose_clock_is_off_signs_and_judges_by_the_databases(
    user: User,
    receiver: Receiver,
    settings: LazySettings,
    recorded: ResultLog,
    hours: int,
) -> None:
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    receiver.answer("/busy", status=503)
    sound = store_task(user, Once(timezone.now()), receiver.url + "/hook")
    busy = store_task(user, Once(timezone.now()), receiver.url + "/busy")
    retry = Backoff(3, 1.0, 60.0, 600.0, "503")
    Task.objects.filter(pk=busy.pk).update(retry=json.dumps(asdict(retry)))
    before = timezone.now()

    with time_machine.travel(before + hours * HOUR, tick=True):
        off = Engine(on_recorded=recorded, on_beat=lambda _: None)
        off.start()
        recorded.wait_for(2)
        off.stop(grace=5)

    [secret] = accounts.load_signing_secrets(tenant_of(user).pk, timezone.now())
    for request in receiver.wait_for(2):
        # It refuses what is five minutes old, or ahead.
        Webhook(secret).verify(request.body, dict(request.headers))
    for attempt in Attempt.objects.all():
        assert before - SECOND < attempt.started_at < timezone.now()
    run = Run.objects.get(task=busy)
    assert run.state == RunState.RETRYING
    assert run.wake_at is not None
    assert run.wake_at < timezone.now() + 61 * SECOND
    assert Run.objects.get(task=sound).state == RunState.SUCCEEDED


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_steps_moves_no_run(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog, hours: int
) -> None:
    task = store_task(user, Once(timezone.now() + 0.7 * SECOND), receiver.url + "/hook")
    engine.ring()

    with time_machine.travel(timezone.now() + hours * HOUR, tick=True):
        recorded.wait_for(1)

    run = Run.objects.get(task=task)
    assert run.started_at is not None
    assert run.scheduled_for <= run.started_at < run.scheduled_for + 2 * SECOND


def test_a_task_removed_in_time_is_not_sent(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    at = timezone.now() + 2 * SECOND
    doomed = store_task(user, Once(at), receiver.url + "/doomed")
    store_task(user, Once(at + 0.1 * SECOND), receiver.url + "/kept")
    engine.ring()

    removal.remove_task(user, str(doomed.pk), now=timezone.now())
    recorded.wait_for(1)

    assert [request.path for request in receiver.requests] == ["/kept"]
