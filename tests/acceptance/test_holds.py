"""Runs that a calendar held back go in order and at the pace, though all workers die."""

from __future__ import annotations

import signal
from datetime import datetime

import pytest

from tests.acceptance.harness import Harness, eventually
from tests.acceptance.tasks import SECOND, in_seconds
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(400)

RUNS = 20
# Two runs a second.
PACE, INTERVAL = "120/minute", SECOND / 2
# Runs that are less late than this keep their places; see held_runs.MAX_LATENESS.
KEPT = 3 * SECOND
FOREVER = datetime.fromisoformat("2999-01-01T00:00:00+00:00")


def freeze_until(end: datetime) -> dict[str, object]:
    return {"ranges": [{"from": "2020-01-01T00:00:00Z", "to": end.isoformat()}]}


def make_freeze(harness: Harness) -> None:
    """Make a calendar as an administrator, which the user of the harness becomes."""
    harness.query("UPDATE accounts_user SET role = 'admin' RETURNING id")
    body = {"name": "freeze", **freeze_until(FOREVER)}
    answer = harness.api.post(f"{harness.url}/calendars/", json=body, timeout=20)
    assert answer.status_code == 201, answer.text


def end_freeze(harness: Harness, end: datetime) -> None:
    url = f"{harness.url}/calendars/freeze/"
    answer = harness.api.put(url, json=freeze_until(end), timeout=20)
    assert answer.status_code == 200, answer.text


def count_held(harness: Harness) -> int:
    found = harness.query(
        "SELECT count(*) FROM tasks_api_run WHERE state = 'pending'"
        " AND reason = 'Held by calendar freeze.'"
    )
    return int(found[0][0])


def list_begins(harness: Harness) -> list[tuple[datetime, datetime, int]]:
    """Fire times, when their runs were taken, and how often they were lost, by the taking."""
    found = harness.query(
        "SELECT scheduled_for, started_at, lost_count FROM tasks_api_run"
        " WHERE started_at IS NOT NULL ORDER BY started_at, scheduled_for"
    )
    return [(at, started, lost) for at, started, lost in found]


def test_held_runs_go_in_order_at_the_pace_after_all_workers_were_killed(
    harness: Harness, target: Receiver
) -> None:
    workers = [harness.start_part("worker"), harness.start_part("worker")]
    beat = harness.start_part("beat")
    eventually(lambda: harness.is_ready(workers=2), timeout=90)
    make_freeze(harness)
    for _ in range(RUNS):
        harness.create_task(
            task_type="periodic",
            frequency=100_000,
            start_datetime=in_seconds(5).isoformat(),
            url=f"{target.url}/x",
            calendars={"hold": ["freeze"], "pace": PACE},
        )
    eventually(lambda: count_held(harness) == RUNS, timeout=90)
    assert target.requests == []
    end = in_seconds(3)
    end_freeze(harness, end)

    target.wait_for(3)
    for worker in workers:
        harness.stop_process(worker, signal.SIGKILL)
    [(killed_at,)] = harness.query("SELECT now()")
    # The places of some runs pass while nobody is there.
    overdue = (
        "SELECT 1 FROM tasks_api_run WHERE state = 'pending'"
        " HAVING min(wake_at) < now() - '4 s'::interval"
        " OR max(wake_at) < now() + '1 s'::interval"
    )
    harness.stop_process(beat, signal.SIGTERM)
    eventually(lambda: harness.query(overdue), timeout=60)
    rest = [harness.start_part("worker"), harness.start_part("beat")]
    eventually(lambda: count_held(harness) == 0, timeout=90)
    eventually(lambda: harness.count_unfinished_runs() == 0, timeout=90)

    found = list_begins(harness)
    assert len(found) == RUNS
    assert all(started >= end for _, started, _ in found)
    later = [each for each in found if each[1] > killed_at]
    # A request that was under way at the kill is sent again, out of the line.
    once = [at for at, _, lost in later if not lost]
    assert once == sorted(once)
    times = [started for _, started, _ in later]
    most = 4 * SECOND / INTERVAL + KEPT / INTERVAL + 4
    for first in times:
        window = [at for at in times if first <= at < first + 4 * SECOND]
        assert len(window) <= most
    for process in rest:
        harness.stop_process(process, signal.SIGTERM)
