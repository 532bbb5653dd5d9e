"""Runs that a calendar held back go in order and at the pace, though all workers die."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.acceptance.harness import Harness, eventually
from tests.acceptance.tasks import SECOND, in_seconds
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

RUNS = 24
# Two runs a second.
PACE, INTERVAL = "120/minute", SECOND / 2


def make_freeze(harness: Harness, until: datetime) -> None:
    """Make a calendar as an administrator, which the user of the harness becomes."""
    harness.query("UPDATE accounts_user SET role = 'admin' RETURNING id")
    hold = {"from": "2020-01-01T00:00:00Z", "to": until.isoformat()}
    content = {"name": "freeze", "ranges": [hold]}
    answer = harness.api.post(f"{harness.url}/calendars/", json=content, timeout=10)
    assert answer.status_code == 201, answer.text


def held(harness: Harness) -> int:
    found = harness.query(
        "SELECT count(*) FROM tasks_api_run WHERE state = 'pending'"
        " AND reason = 'Held by calendar freeze.'"
    )
    return int(found[0][0])


def test_held_runs_go_in_order_at_the_pace_after_all_workers_were_killed(
    harness: Harness, target: Receiver
) -> None:
    workers = [harness.start_part("worker"), harness.start_part("worker")]
    beat = harness.start_part("beat")
    eventually(lambda: harness.is_ready(workers=2))
    start, end = in_seconds(8), in_seconds(26)
    make_freeze(harness, end)
    for number in range(RUNS):
        harness.create_task(
            task_type="periodic",
            frequency=100_000,
            start_datetime=(start + number * 0.2 * SECOND).isoformat(),
            url=f"{target.url}/x",
            calendars={"hold": ["freeze"], "pace": PACE},
        )
    eventually(lambda: held(harness) == RUNS, timeout=30)
    assert target.requests == []

    target.wait_for(4)
    for worker in workers:
        harness.stop_process(worker, signal.SIGKILL)
    # Nobody is there for some seconds, in which the places of many runs pass.
    overdue = (
        "SELECT 1 FROM tasks_api_run WHERE state = 'pending'"
        " AND wake_at < now() - '2 s'::interval HAVING count(*) > 3"
    )
    eventually(lambda: harness.query(overdue) or held(harness) < RUNS - 8)
    killed_at = len(target.requests)
    replacement = harness.start_part("worker")
    eventually(lambda: held(harness) == 0, timeout=60)
    target.wait_for(RUNS)

    arrived = sorted(target.requests, key=lambda request: request.at)
    assert arrived[0].at >= end.timestamp()
    firsts = {each.headers["webhook-id"]: each for each in reversed(arrived)}
    ordered = sorted(firsts.values(), key=lambda request: request.at)
    planned = [each.headers["x-scheduled-for"] for each in ordered]
    later = planned[killed_at:]
    assert later == sorted(later)
    # After the kill no window of four seconds has more than the pace allows, but for what
    # waited less than the time after which runs get new places.
    times = [each.at for each in ordered[killed_at:]]
    spare = int(timedelta(seconds=3) / INTERVAL) + 2
    for index, at in enumerate(times):
        window = [other for other in times[index:] if other < at + 4]
        assert len(window) <= 4 * SECOND / INTERVAL + spare
    assert all(first <= second for first, second in pairwise(times))
    harness.stop_process(replacement, signal.SIGTERM)
    harness.stop_process(beat, signal.SIGTERM)
