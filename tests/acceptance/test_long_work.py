"""Work that outlives its worker: real processes, killed while a target is at work."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.acceptance.stand import Stand, eventually
from tests.receiver import Received, Receiver

pytestmark = pytest.mark.timeout(240)


def create(stand: Stand, url: str, *, deadline: int) -> str:
    run_at = datetime.now(UTC) + timedelta(seconds=2)
    return stand.create(
        task_type="one_time",
        run_datetime=run_at.isoformat(),
        url=url,
        long_work={"deadline": deadline},
    )


def say(stand: Stand, request: Received, word: str) -> Any:
    token = request.headers["x-scheduler-run-token"]
    return requests.post(
        f"{stand.url}/runs/{request.headers['webhook-id']}/{word}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )


def state_of(stand: Stand, request: Received) -> str:
    run = stand.api.get(f"{stand.url}/runs/{request.headers['webhook-id']}", timeout=10)
    return str(run.json()["state"])


def test_work_goes_on_while_its_worker_is_killed(
    stand: Stand, target: Receiver
) -> None:
    worker = stand.run("worker")
    stand.run("beat")
    eventually(stand.is_ready)
    target.answer("/done", status=202)
    target.answer("/silent", status=202)
    create(stand, f"{target.url}/done", deadline=120)
    create(stand, f"{target.url}/silent", deadline=4)
    sent = {request.path: request for request in target.wait_for(2)}
    done, silent = sent["/done"], sent["/silent"]
    eventually(lambda: state_of(stand, done) == "open")

    stand.end(worker, signal.SIGKILL)
    heard = say(stand, done, "heartbeat")
    eventually(lambda: state_of(stand, silent) == "failed")
    completed = say(stand, done, "complete")

    assert (heard.status_code, completed.status_code) == (200, 200)
    assert state_of(stand, done) == "succeeded"
    assert say(stand, silent, "complete").status_code == 409
    # Nobody took the dead worker's runs for lost.
    assert stand.unfinished() == 0
    assert len(target.requests) == 2
    assert not stand.query("SELECT 1 FROM tasks_api_task WHERE ended_at IS NULL")
