"""Workers are killed, and tasks still end exactly, and each slot is backfilled once."""

from __future__ import annotations

import signal
from collections import Counter
from datetime import timedelta

import pytest

from tests.acceptance.harness import Harness, eventually
from tests.acceptance.tasks import (
    count_requests_by_run,
    early_requests,
    in_seconds,
    is_all_done,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

HOURS = 30


def create_hourly_task(harness: Harness, url: str, **rules: object) -> str:
    """A task whose schedule had begun long ago, as far as its backfills are concerned."""
    start = in_seconds(3600).replace(minute=0, second=0, microsecond=0)
    return harness.create_task(
        task_type="periodic",
        frequency=3600,
        start_datetime=(start + timedelta(hours=1)).isoformat(),
        end_datetime=None,
        url=url,
        **rules,
    )


@pytest.mark.parametrize("overlap", ["allow", "skip"])
def test_each_slot_is_delivered_once_though_a_worker_is_killed(
    harness: Harness, target: Receiver, overlap: str
) -> None:
    target.answer("/slot", delay=0.2)
    workers = [harness.start_part("worker"), harness.start_part("worker")]
    beat = harness.start_part("beat")
    eventually(lambda: harness.is_ready(workers=2))
    task_id = create_hourly_task(harness, f"{target.url}/slot", overlap=overlap)
    body = {"which": "all", "from": in_seconds(-3600 * HOURS).isoformat()}
    url = f"{harness.url}/tasks/{task_id}/backfill/"

    made = harness.api.post(url, json={**body, "pace": "10/second"}, timeout=10).json()
    target.wait_for(5)
    harness.stop_process(workers[0], signal.SIGKILL)
    replacement = harness.start_part("worker")
    eventually(lambda: not harness.count_unfinished_runs(), timeout=120)

    runs = harness.query(
        "SELECT id::text, state, slot, lost_count FROM tasks_api_run"
        " WHERE backfill_id = %s::uuid",
        made["backfill"],
    )
    assert made["count"] == len(runs) == HOURS
    assert {state for _, state, _, _ in runs} == {"succeeded"}
    assert set(Counter(slot for _, _, slot, _ in runs).values()) == {1}
    requests = target.requests
    counted = count_requests_by_run(requests)
    assert set(counted) == {run_id for run_id, *_ in runs}
    lost = {run_id for run_id, _, _, lost_count in runs if lost_count}
    assert {run_id for run_id, count in counted.items() if count > 1} <= lost
    sent = {request.headers["x-scheduled-for"] for request in requests}
    assert len(sent) == HOURS
    assert {request.headers["x-scheduler-backfill"] for request in requests} == {
        made["backfill"]
    }
    for process in (workers[1], replacement, beat):
        harness.stop_process(process, signal.SIGTERM)


def test_a_task_ends_after_its_runs_though_workers_are_killed(
    harness: Harness, target: Receiver
) -> None:
    target.answer("/poll", delay=0.3)
    workers = [harness.start_part("worker"), harness.start_part("worker")]
    beat = harness.start_part("beat")
    eventually(lambda: harness.is_ready(workers=2))
    limits = {}
    for most in (1, 2, 3, 5, 6, 6):
        start = in_seconds(3).isoformat()
        task_id = harness.create_task(
            task_type="periodic",
            frequency=1,
            start_datetime=start,
            end_datetime=None,
            url=f"{target.url}/poll",
            max_runs=most,
            misfire="all",
        )
        limits[task_id] = most

    target.wait_for(6)
    harness.stop_process(workers[0], signal.SIGKILL)
    replacement = harness.start_part("worker")
    target.wait_for(12)
    harness.stop_process(workers[1], signal.SIGKILL)
    eventually(lambda: is_all_done(harness), timeout=120)

    made = harness.query(
        "SELECT task_id::text FROM tasks_api_run WHERE state = 'succeeded'"
    )
    assert Counter(task_id for (task_id,) in made) == limits
    ended = harness.query("SELECT DISTINCT end_reason FROM tasks_api_task")
    assert ended == [("max_runs",)]
    assert early_requests(target.requests) == []
    for process in (replacement, beat):
        harness.stop_process(process, signal.SIGTERM)
