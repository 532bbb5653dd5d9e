"""The formats on real processes: recovery, requeueing, and never two requests of one job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.acceptance.harness import ROOT, Harness, eventually
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def running_service(harness: Harness, target: Receiver) -> Iterator[Harness]:
    """The service with a target, a worker and a beat, which a test may kill."""
    parts = [harness.start_part("worker"), harness.start_part("beat")]
    eventually(harness.is_ready)
    yield harness
    for part in parts:
        harness.stop_process(part, signal.SIGKILL)


def store_job(harness: Harness, target: Receiver, **changes: Any) -> None:
    job = {
        "id": "job",
        "endpoint": f"{target.url}/job",
        "cron": "* * * * * *",
        "payload": {"n": 1},
    }
    answer = harness.api.post(f"{harness.url}/", json={**job, **changes}, timeout=10)
    assert answer.status_code == 202, answer.text


def count_runs(harness: Harness, state: str) -> int:
    statement = "SELECT count(*) FROM tasks_api_run WHERE state = %s"
    return int(harness.query(statement, state)[0][0])


def test_the_walk_through_the_documents(
    running_service: Harness, target: Receiver
) -> None:
    running_service.manage(
        "configure_tenant",
        "Alpha",
        "--callback-url",
        f"{target.url}/timers",
        "--shared-secret",
        "XXXXXX",
    )
    token = running_service.api.headers["Authorization"]
    assert isinstance(token, str)

    done = subprocess.run(
        [
            sys.executable,
            "docs/examples/walkthrough.py",
            f"--url={running_service.url}",
            f"--token={token.removeprefix('Bearer ')}",
            "--secret=XXXXXX",
            f"--target={target.url}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert done.stdout.endswith("All answers were as expected.\n")
    [timer] = [r for r in target.requests if r.path == "/timers"]
    assert timer.headers["scheduler-secret"] == "XXXXXX"
    assert json.loads(timer.body)["body"] == {"foo": "bar"}


def test_the_story_of_a_task(running_service: Harness) -> None:
    token = running_service.api.headers["Authorization"]
    assert isinstance(token, str)

    done = subprocess.run(
        [
            sys.executable,
            "docs/examples/story.py",
            f"--url={running_service.url}",
            f"--token={token.removeprefix('Bearer ')}",
            f"--secret={running_service.manage('signing_secret', 'Alpha')}",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python" / "src")},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert done.stdout.endswith("Everything was as expected.\n")
    assert "signature='ok'" in done.stdout


def test_a_job_never_has_two_requests_under_way(
    running_service: Harness, target: Receiver
) -> None:
    target.answer("/job", delay=2.5)
    store_job(running_service, target)

    first, second, third = target.wait_for(3)

    assert second.at - first.at >= 2.5
    assert third.at - second.at >= 2.5
    # Those of the last wait are written after the third request.
    eventually(lambda: count_runs(running_service, "skipped") >= 4)


def test_a_failing_job_is_tried_again_until_it_is_deleted(
    running_service: Harness, target: Receiver
) -> None:
    target.answer("/job", status=503)
    store_job(running_service, target, cron="@every 1h")
    running_service.query("UPDATE tasks_api_task SET next_fire_at = now() RETURNING id")

    first, second, third = target.wait_for(3)
    deleted = running_service.api.delete(
        f"{running_service.url}/?job_id=job", timeout=10
    )
    eventually(lambda: running_service.count_unfinished_runs() == 0)

    assert deleted.status_code == 200
    assert len({r.headers["webhook-id"] for r in (first, second, third)}) == 1
    assert second.at - first.at >= 1
    assert third.at - second.at >= 2
    assert count_runs(running_service, "cancelled") == 1


@pytest.mark.parametrize(("recovery_check", "caught_up"), [(True, 1), (False, 0)])
def test_missed_fire_times_are_caught_up_once_or_not_at_all(
    harness: Harness, target: Receiver, recovery_check: bool, caught_up: int
) -> None:
    half_an_hour_ago = datetime.now(UTC) - timedelta(minutes=30)
    hourly = f"{half_an_hour_ago.minute} * * * *"
    store_job(harness, target, cron=hourly, recovery_check=recovery_check)
    # Three fire times passed while nothing ran.
    harness.query(
        "UPDATE tasks_api_task SET next_fire_at = next_fire_at - interval '3 hours'"
        " RETURNING id"
    )

    parts = [harness.start_part("worker"), harness.start_part("beat")]
    eventually(
        lambda: count_runs(harness, "missed") + count_runs(harness, "succeeded") == 3
    )
    for part in parts:
        harness.stop_process(part, signal.SIGTERM)

    assert len(target.requests) == caught_up
    assert count_runs(harness, "succeeded") == caught_up


def test_a_rest_job_whose_worker_dies_is_delivered_by_another(
    harness: Harness, target: Receiver
) -> None:
    target.answer("/rest", delay=3)
    # A lease so long that it plays no part.
    parts = [
        harness.start_part("worker", SCHEDULER_LEASE="300"),
        harness.start_part("beat"),
    ]
    eventually(harness.is_ready)
    job = {
        "task": {
            "method": "PUT",
            "uri": f"{target.url}/rest",
            "body": {"n": 1},
            "expected_range": "200-299",
        },
        "schedule": "now",
    }
    made = harness.api.post(f"{harness.url}/api/v1/jobs", json=job, timeout=10).json()
    link = harness.url + made["link"]
    [first] = target.wait_for(1)
    assert harness.api.get(link, timeout=10).json()["status"] == "RUNNING"

    harness.stop_process(parts[0], signal.SIGKILL)
    parts.append(harness.start_part("worker"))
    target.answer("/rest")

    def status() -> str:
        return str(harness.api.get(link, timeout=10).json()["status"])

    eventually(lambda: status() == "SUCCESS")
    second = target.wait_for(2)[1]
    assert (first.method, second.method) == ("PUT", "PUT")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    for part in parts[1:]:
        harness.stop_process(part, signal.SIGKILL)


def test_consumers_that_die_leave_their_messages_to_others(
    harness: Harness, target: Receiver
) -> None:
    jobs: list[dict[str, Any]] = [
        {"id": str(n), "queue": "q", "timeout": 1, "max_retries": -1, "payload": n}
        for n in range(100)
    ]
    harness.api.post(f"{harness.url}/enqueue/batch", json=jobs, timeout=10)
    # These consumers fetch some and never return.
    for _ in range(3):
        harness.api.get(f"{harness.url}/next?queue=q&num_jobs=20", timeout=10)

    done: list[str] = []

    def consume() -> None:
        with requests.Session() as session:
            session.headers.update(harness.api.headers)
            while len(done) < len(jobs):
                answer = session.get(
                    f"{harness.url}/next?queue=q&num_jobs=7", timeout=10
                )
                for job in answer.json() if answer.status_code == 200 else []:
                    one = f"queue=q&job_id={job['id']}"
                    completed = session.delete(
                        f"{harness.url}/complete?{one}", timeout=10
                    )
                    # A consumer that took longer than its second finds it completed.
                    if completed.status_code == 200:
                        done.append(job["id"])

    threads = [threading.Thread(target=consume, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert sorted(done) == sorted(job["id"] for job in jobs)


def test_a_timer_that_was_missed_runs_late_and_its_crons_do_not(
    harness: Harness, target: Receiver
) -> None:
    harness.manage(
        "configure_tenant",
        "Alpha",
        "--callback-url",
        f"{target.url}/timers",
        "--shared-secret",
        "XXXXXX",
    )
    secret = {"Scheduler-Secret": "XXXXXX"}
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for path, body in (
        ("/insert", {"timestamp": soon, "body": 1}),
        ("/cron", {"jobs": [{"id": "c", "spec": "@every 1h"}]}),
    ):
        requests.post(harness.url + path, json=body, headers=secret, timeout=10)
    harness.query(
        "UPDATE tasks_api_task SET next_fire_at = now() - interval '10 minutes'"
        " RETURNING id"
    )

    parts = [harness.start_part("worker"), harness.start_part("beat")]
    eventually(
        lambda: (
            count_runs(harness, "missed") == 1 and count_runs(harness, "succeeded") == 1
        )
    )
    for part in parts:
        harness.stop_process(part, signal.SIGTERM)

    [request] = target.requests
    assert json.loads(request.body)["body"] == 1
