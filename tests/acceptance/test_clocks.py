"""Web and commands work the same on a machine whose clock is an hour off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.harness import Harness, eventually
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(180)

HALF_HOUR = timedelta(minutes=30)
# Python imports it when it starts, so the whole process has another clock.
SITECUSTOMIZE = """
import datetime, time_machine
now = datetime.datetime.now(datetime.timezone.utc)
time_machine.travel(now + datetime.timedelta(hours={hours}), tick=True).start()
"""


def true_now(harness: Harness) -> datetime:
    now: datetime = harness.query("SELECT clock_timestamp()")[0][0]
    return now


@pytest.fixture(scope="module", params=[1, -1], ids=["ahead", "behind"])
def harness(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Harness]:
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE.format(hours=request.param))
    started = Harness(tmp_path_factory.mktemp("s"))
    started.start()
    for part in ("beat", "worker"):
        started.start_part(part)
    started.environment["PYTHONPATH"] = str(site)
    started.start_part("web")
    eventually(started.is_ready)
    yield started
    started.stop()


def call_api(harness: Harness, method: str, path: str, body: Any = None) -> Any:
    return harness.api.request(method, f"{harness.url}{path}", json=body, timeout=20)


def test_the_process_has_another_clock(harness: Harness) -> None:
    said = harness.manage("shell", "-v0", "-c", "import time; print(time.time())")

    off = float(said) - true_now(harness).timestamp()
    assert abs(abs(off) - 3600) < 60


def test_a_living_task_keeps_its_id(harness: Harness) -> None:
    body = {
        "task_type": "periodic",
        "frequency": 60,
        "url": "http://127.0.0.1:9/",
        "start_datetime": (true_now(harness) + HALF_HOUR / 2).isoformat(),
        "end_datetime": (true_now(harness) + HALF_HOUR).isoformat(),
    }

    made, kept = (
        call_api(harness, "PUT", "/tasks/by-name/backup", body) for _ in range(2)
    )

    assert (made.status_code, kept.status_code) == (201, 200)
    assert made.json()["id"] == kept.json()["id"]
    listed = call_api(harness, "GET", "/tasks/").json()["tasks"]
    assert [task["id"] for task in listed].count(made.json()["id"]) == 1


def test_the_past_is_refused(harness: Harness) -> None:
    at = (true_now(harness) - HALF_HOUR).isoformat()
    once = {"task_type": "one_time", "run_datetime": at, "url": "http://127.0.0.1:9/"}

    refused = call_api(harness, "POST", "/tasks/", once)

    assert refused.status_code == 400
    assert "run_datetime" in refused.text


def test_tasks_that_should_run_now_run_now(harness: Harness, target: Receiver) -> None:
    later = (true_now(harness) + HALF_HOUR).isoformat()
    task_id = harness.create_task(
        task_type="one_time", run_datetime=later, url=f"{target.url}/by-hand"
    )
    job = {
        "task": {
            "method": "POST",
            "uri": f"{target.url}/job",
            "body": {},
            "expected_range": "200-299",
        },
        "schedule": "now",
    }

    assert call_api(harness, "POST", f"/tasks/{task_id}/run/").status_code == 202
    assert call_api(harness, "POST", "/api/v1/jobs", job).status_code == 201

    eventually(lambda: len(target.requests) == 2, timeout=30)
    assert {request.path for request in target.requests} == {"/by-hand", "/job"}


def test_a_token_lives_for_as_long_as_a_command_says(harness: Harness) -> None:
    token = harness.manage(
        *("issue_token", "--tenant", "Alpha", "--user", "ann", "--expires", "30m")
    )

    headers = {"Authorization": f"Bearer {token}"}
    answer = harness.api.get(f"{harness.url}/tasks/", headers=headers, timeout=20)
    assert answer.status_code == 200
    [(lifetime,)] = harness.query(
        "SELECT expires_at - created_at FROM accounts_token ORDER BY id DESC LIMIT 1"
    )
    assert abs(lifetime - HALF_HOUR) < timedelta(minutes=1)
