"""Real processes are killed while tasks fire: each fire time has one run, none is lost."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.harness import Harness, eventually
from tests.acceptance.tasks import (
    SECOND,
    count_requests_by_run,
    create_periodic_task,
    create_task_at,
    create_tasks_at,
    early_requests,
    in_seconds,
    is_all_done,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)


def test_kills_lose_nothing_and_double_only_what_a_dead_worker_held(
    harness: Harness, target: Receiver
) -> None:
    workers = [harness.start_part("worker"), harness.start_part("worker")]
    beats = [harness.start_part("beat"), harness.start_part("beat")]
    eventually(lambda: harness.is_ready(workers=2, beats=2))
    target.answer("/slow", delay=2.0)
    # So late that all tasks are created in time, also on a busy machine.
    start = in_seconds(6)
    create_tasks_at(
        harness,
        [(f"{target.url}/quick", start + n * 0.3 * SECOND) for n in range(20)]
        + [(f"{target.url}/slow", start)] * 10,
    )
    for _ in range(5):
        create_periodic_task(harness, f"{target.url}/quick", start, every=2, times=6)

    in_flight = [r for r in target.wait_for(12) if r.path == "/slow"]
    assert in_flight
    harness.stop_process(workers[0], signal.SIGKILL)
    harness.stop_process(beats[0], signal.SIGKILL)
    replacements = [harness.start_part("worker"), harness.start_part("beat")]
    eventually(lambda: is_all_done(harness), timeout=90)

    requests = target.requests
    counted = count_requests_by_run(requests)
    states = harness.query("SELECT id::text, state, lost_count FROM tasks_api_run")
    assert len(states) == 20 + 10 + 5 * 6
    assert {state for _, state, _ in states} == {"succeeded"}
    assert set(counted) == {run_id for run_id, _, _ in states}
    lost = {run_id for run_id, _, lost_count in states if lost_count}
    assert {run_id for run_id, count in counted.items() if count > 1} <= lost
    assert early_requests(requests) == []
    for process in (workers[1], beats[1], *replacements):
        harness.stop_process(process, signal.SIGTERM)


def test_an_emptied_and_a_stopped_redis_delay_runs_and_lose_none(
    harness: Harness, target: Receiver
) -> None:
    worker, beat = harness.start_part("worker"), harness.start_part("beat")
    eventually(harness.is_ready)
    start = in_seconds(6)
    create_tasks_at(
        harness, [(f"{target.url}/x", start + n * 0.2 * SECOND) for n in range(40)]
    )

    target.wait_for(5)
    harness.flush_redis()
    target.wait_for(15)
    harness.stop_process(harness.redis_process, signal.SIGKILL)
    # Tasks are created and due while there is no broker.
    for _ in range(5):
        create_task_at(harness, f"{target.url}/x", in_seconds(2))
    eventually(
        lambda: harness.query(
            "SELECT 1 FROM tasks_api_run HAVING max(scheduled_for) < now() - '1s'::interval"
        )
    )
    harness.start_redis()
    eventually(lambda: is_all_done(harness), timeout=90)

    assert len(target.requests) == 45
    assert set(count_requests_by_run(target.requests).values()) == {1}
    assert early_requests(target.requests) == []
    assert worker.poll() is None
    assert beat.poll() is None
    harness.stop_process(worker, signal.SIGTERM)
    harness.stop_process(beat, signal.SIGTERM)


def test_a_worker_that_is_told_to_stop_finishes_and_doubles_nothing(
    harness: Harness, target: Receiver
) -> None:
    first, beat = harness.start_part("worker"), harness.start_part("beat")
    eventually(harness.is_ready)
    target.answer("/slow", delay=1.5)
    create_tasks_at(harness, [(f"{target.url}/slow", in_seconds(6))] * 30)

    target.wait_for(10)
    second = harness.start_part("worker")
    harness.stop_process(first, signal.SIGTERM)
    eventually(lambda: is_all_done(harness))

    assert first.returncode == 0
    assert set(count_requests_by_run(target.requests).values()) == {1}
    assert len(target.requests) == 30
    harness.stop_process(second, signal.SIGTERM)
    harness.stop_process(beat, signal.SIGTERM)
