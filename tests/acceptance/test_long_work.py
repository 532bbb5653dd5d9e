"""Long work goes on when its worker is killed: real processes, while a target is at work."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.acceptance.harness import Harness, eventually
from tests.receiver import ReceivedRequest, Receiver

pytestmark = pytest.mark.timeout(240)


def create_long_task(harness: Harness, url: str) -> str:
    run_at = datetime.now(UTC) + timedelta(seconds=2)
    return harness.create_task(
        task_type="one_time",
        run_datetime=run_at.isoformat(),
        url=url,
        long_work={"deadline": 120},
    )


def report_work(harness: Harness, request: ReceivedRequest, report: str) -> Any:
    token = request.headers["x-scheduler-run-token"]
    return requests.post(
        f"{harness.url}/runs/{request.headers['webhook-id']}/{report}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )


def run_state(harness: Harness, request: ReceivedRequest) -> str:
    run = harness.api.get(
        f"{harness.url}/runs/{request.headers['webhook-id']}", timeout=10
    )
    return str(run.json()["state"])


def let_deadline_pass(harness: Harness, request: ReceivedRequest) -> None:
    """Move a deadline to the present, so that it passes now, and not sooner or later."""
    statement = """
        UPDATE tasks_api_run_live SET wake_at = now()
        WHERE id = %s AND state = 'open' RETURNING id
    """
    assert harness.query(statement, request.headers["webhook-id"])


def test_work_goes_on_while_its_worker_is_killed(
    harness: Harness, target: Receiver
) -> None:
    worker = harness.start_part("worker")
    harness.start_part("beat")
    eventually(harness.is_ready)
    target.answer("/done", status=202)
    target.answer("/silent", status=202)
    create_long_task(harness, f"{target.url}/done")
    create_long_task(harness, f"{target.url}/silent")
    sent = {request.path: request for request in target.wait_for(2)}
    done, silent = sent["/done"], sent["/silent"]
    # Of both: a run whose answer its worker did not record is sent again, by a worker.
    eventually(
        lambda: {run_state(harness, each) for each in (done, silent)} == {"open"}
    )

    harness.stop_process(worker, signal.SIGKILL)
    heartbeat = report_work(harness, done, "heartbeat")
    let_deadline_pass(harness, silent)
    eventually(lambda: run_state(harness, silent) == "failed")
    completed = report_work(harness, done, "complete")

    assert (heartbeat.status_code, completed.status_code) == (200, 200)
    assert run_state(harness, done) == "succeeded"
    assert report_work(harness, silent, "complete").status_code == 409
    # The dead worker's runs were not taken for lost.
    assert harness.count_unfinished_runs() == 0
    assert len(target.requests) == 2
    assert not harness.query("SELECT 1 FROM tasks_api_task WHERE ended_at IS NULL")
