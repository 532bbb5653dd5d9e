"""A probe fails when a process has stopped working, and not when others have."""

from __future__ import annotations

import math
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from tasks_api.delivery.transport import Transport, TransportOptions
from tasks_api.domain.schedules import Once
from tasks_api.monitoring import exporter
from tasks_api.monitoring.watchdog import BeatWatchdog, WorkerVitals, WorkerWatchdog
from tasks_api.worker.engine import Engine
from tests.acceptance.harness import eventually
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import store_task
from tests.integration.support.transport_doubles import Gate, Outcomes, RawServer
from tests.receiver import Receiver

LONG_AGO = 100.0


def run_probe(kind: str, **options: int) -> str:
    out = StringIO()
    call_command("probe", kind, stdout=out, **options)
    return out.getvalue().strip()


@pytest.fixture(autouse=True)
def port(settings: LazySettings) -> int:
    number = random.randrange(30_000, 32_000, exporter.MAX_PORTS_TRIED)
    settings.METRICS_PORT = number
    return number


@contextmanager
def serving(kind: str, complaint: Callable[[], str] = str) -> Iterator[int]:
    server = exporter.serve(kind, complaint)
    assert server is not None
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_process_at_work_passes() -> None:
    with serving("worker"), serving("beat"):
        assert run_probe("worker") == "worker is at work."
        assert run_probe("beat") == "beat is at work."


def test_a_stuck_process_fails_with_its_reason_and_alone() -> None:
    with serving("worker", lambda: "It sleeps."), serving("beat"):
        with pytest.raises(CommandError, match=r"worker on port \d+: It sleeps\."):
            run_probe("worker")
        run_probe("beat")


def test_one_of_several_workers_is_asked_by_its_port() -> None:
    with serving("worker") as sound, serving("worker", lambda: "It sleeps.") as stuck:
        run_probe("worker", port=sound)
        with pytest.raises(CommandError, match="It sleeps"):
            run_probe("worker", port=stuck)


def test_a_probe_of_an_absent_process_fails() -> None:
    with (
        serving("beat"),
        pytest.raises(CommandError, match="No worker answers"),
    ):
        run_probe("worker")


def test_without_a_port_there_is_nobody_to_ask(settings: LazySettings) -> None:
    settings.METRICS_PORT = 0

    with pytest.raises(CommandError, match="METRICS_PORT must be set"):
        run_probe("worker")


def test_a_frozen_process_fails(port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(CommandError, match="does not answer"),
    ):
        run_probe("worker")


def test_who_else_has_a_port_nearby_is_nobody_of_ours(
    receiver: Receiver, settings: LazySettings
) -> None:
    settings.METRICS_PORT = int(receiver.url.rpartition(":")[2])

    with pytest.raises(CommandError, match="No worker answers"):
        run_probe("worker")


def test_web_passes_while_it_answers(
    receiver: Receiver, settings: LazySettings
) -> None:
    settings.PORT = int(receiver.url.rpartition(":")[2])
    assert run_probe("web") == "web is at work."

    receiver.answer("/healthz", status=500)
    with pytest.raises(CommandError, match="web does not answer"):
        run_probe("web")


def vitals(**changes: Any) -> WorkerVitals:
    now = time.monotonic()
    sound = WorkerVitals(
        held=0,
        overdue=0.0,
        rang_at=now,
        looked_at=now,
        sent_at=now,
        recorded_at=now,
    )
    return sound._replace(**changes)


def test_an_idle_worker_is_well() -> None:
    long_ago = time.monotonic() - LONG_AGO
    watch = WorkerWatchdog(lambda: vitals(rang_at=long_ago, looked_at=long_ago))

    watch.compare(0)

    assert watch.problem() == ""


def test_a_worker_whose_recorder_has_stopped_is_not_well() -> None:
    watch = WorkerWatchdog(lambda: vitals(recorded_at=time.monotonic() - LONG_AGO))

    assert watch.problem() == "Nothing was recorded for 100 seconds."


def test_a_worker_whose_transport_has_stopped_is_not_well() -> None:
    watch = WorkerWatchdog(lambda: vitals(sent_at=time.monotonic() - LONG_AGO))

    assert watch.problem() == "The transport has done nothing for 100 seconds."


def test_a_worker_that_does_not_look_for_what_is_due_is_not_well() -> None:
    found = vitals(overdue=90.0, looked_at=time.monotonic() - LONG_AGO)

    assert WorkerWatchdog(lambda: found).problem() == (
        "It has not looked for what is due for 90 seconds."
    )


def test_a_worker_that_looks_in_vain_is_well() -> None:
    # As it does while the database is away.
    assert WorkerWatchdog(lambda: vitals(overdue=90.0)).problem() == ""


def test_a_worker_that_leaves_messages_lying_is_not_well(
    settings: LazySettings,
) -> None:
    settings.PROBE_PATIENCE = 0.0
    later = time.monotonic() + LONG_AGO
    found = vitals(sent_at=later, recorded_at=later)
    watch = WorkerWatchdog(lambda: found)

    watch.compare(3)

    assert "Messages wait" in watch.problem()
    watch.compare(0)
    assert watch.problem() == ""


@pytest.mark.parametrize("change", [{"is_cut_off": True}, {"rang_at": math.inf}])
def test_a_worker_that_is_cut_off_or_takes_messages_is_well(
    settings: LazySettings, change: dict[str, Any]
) -> None:
    settings.PROBE_PATIENCE = 0.0
    later = time.monotonic() + LONG_AGO
    found = [vitals(sent_at=later, recorded_at=later)]
    watch = WorkerWatchdog(lambda: found[-1])
    found.append(found[0]._replace(**change))

    watch.compare(3)

    assert watch.problem() == ""


def test_a_beat_that_does_not_tick_is_not_well(settings: LazySettings) -> None:
    watch = BeatWatchdog()
    assert watch.problem() == ""

    settings.PROBE_PATIENCE = -1.0

    assert watch.problem().startswith("It has not ticked for")
    settings.PROBE_PATIENCE = 60.0
    watch.ticked()
    assert watch.problem() == ""


@pytest.mark.django_db(transaction=True)
def test_an_engine_tells_what_it_has_in_hand(engine: Engine) -> None:
    before = engine.vitals()

    engine.ring()

    after = engine.vitals()
    assert after.rang_at > before.rang_at
    assert after.held == 0


@pytest.mark.django_db(transaction=True)
def test_an_engine_tells_when_it_sent(
    engine: Engine, user: User, target: Receiver, recorded: ResultLog
) -> None:
    before = time.monotonic()
    store_task(user, Once(timezone.now()), target.url)

    engine.ring()
    recorded.wait_for(1)

    assert engine.vitals().sent_at > before


def test_a_transport_without_requests_is_well(
    outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_api.delivery.transport.MAX_TURN_WAIT", 0.01)
    options = TransportOptions[str](allow_private=True)
    transport = Transport(outcomes, options)
    transport.start()
    before = time.monotonic()

    eventually(lambda: transport.active_at > before)
    transport.close(grace=0)


@pytest.mark.django_db(transaction=True)
def test_a_full_worker_that_looks_for_nothing_is_well(
    user: User, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_IN_FLIGHT = 1
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    held = Gate()
    hanging = RawServer(held)
    for _ in range(2):
        store_task(user, Once(timezone.now()), hanging.url)
    full = Engine(on_recorded=lambda _: None, on_beat=lambda _: None)
    full.start()
    with pytest.raises(AssertionError):
        held.wait_for(2, timeout=2)

    vitals = full.vitals()

    assert (vitals.held, vitals.overdue) == (1, 0.0)
    held.open()
    full.stop(grace=5)
    hanging.close()
