"""Without Redis, workers look by themselves: fire times wait for no bell."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import redis

from scheduler_service.redis.connections import redis_client_url
from tests.acceptance.harness import Harness, eventually
from tests.acceptance.tasks import (
    create_task_at,
    create_tasks_at,
    early_requests,
    in_seconds,
    late_seconds,
)
from tests.receiver import Receiver

# A look comes every second; the rest is for a machine that has other work.
LATEST = 3.0
TASKS = 20

Fault = Callable[[Harness], None]


def stop(harness: Harness) -> None:
    harness.stop_process(harness.redis_process, signal.SIGKILL)


def freeze(harness: Harness) -> None:
    """Have it accept connections and answer none."""
    harness.redis_process.send_signal(signal.SIGSTOP)


def refuse_writes(harness: Harness) -> None:
    with redis.Redis.from_url(redis_client_url(harness.redis.url)) as client:
        client.replicaof("127.0.0.1", "1")


@pytest.fixture
def repaired(harness: Harness) -> Iterator[None]:
    """Have a sound Redis again after the test, and no processes that the test started."""
    yield
    for part in ("worker", "beat"):
        while process := harness.find_running(part):
            harness.stop_process(process, signal.SIGKILL)
    # They would count as alive for a while.
    harness.query("DELETE FROM tasks_api_heartbeat RETURNING 1")
    with suppress(ProcessLookupError):
        harness.redis_process.send_signal(signal.SIGCONT)
    harness.stop_process(harness.redis_process, signal.SIGKILL)
    harness.start_redis()


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize("fault", [stop, freeze, refuse_writes])
def test_fire_times_are_sent_without_redis(
    harness: Harness, target: Receiver, fault: Fault
) -> None:
    harness.start_part("worker")
    harness.start_part("beat")
    eventually(harness.is_ready)
    due = [in_seconds(4 + n / 10) for n in range(TASKS)]
    create_tasks_at(harness, [(f"{target.url}/{n}", at) for n, at in enumerate(due)])

    fault(harness)
    requests = target.wait_for(TASKS, timeout=30)

    assert early_requests(requests) == []
    assert max(late_seconds(requests)) < LATEST


@pytest.mark.usefixtures("repaired")
def test_a_worker_that_starts_without_redis_sends_what_is_due(
    harness: Harness, target: Receiver
) -> None:
    create_task_at(harness, f"{target.url}/first", in_seconds(1))
    stop(harness)

    harness.start_part("worker")

    target.wait_for(1, timeout=60)
