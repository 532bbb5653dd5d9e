"""Web and commands on a machine whose clock is an hour off do as all others do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.stand import Stand, eventually
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(180)

HALF = timedelta(minutes=30)
# Python reads it at its start, so all of the process lives by another clock.
SITE = """
import datetime, time_machine
now = datetime.datetime.now(datetime.timezone.utc)
time_machine.travel(now + datetime.timedelta(hours={hours}), tick=True).start()
"""


def true_now(stand: Stand) -> datetime:
    now: datetime = stand.query("SELECT clock_timestamp()")[0][0]
    return now


@pytest.fixture(scope="module", params=[1, -1], ids=["ahead", "behind"])
def stand(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(SITE.format(hours=request.param))
    started = Stand(tmp_path_factory.mktemp("s"))
    started.start()
    for part in ("beat", "worker"):
        started.run(part)
    started.environment["PYTHONPATH"] = str(site)
    started.run("web")
    eventually(started.is_ready)
    yield started
    started.stop()


def send(stand: Stand, method: str, path: str, body: Any = None) -> Any:
    return stand.api.request(method, f"{stand.url}{path}", json=body, timeout=20)


def test_the_process_has_another_clock(stand: Stand) -> None:
    said = stand.manage("shell", "-v0", "-c", "import time; print(time.time())")

    off = float(said) - true_now(stand).timestamp()
    assert abs(abs(off) - 3600) < 60


def test_a_living_task_keeps_its_id(stand: Stand) -> None:
    body = {
        "task_type": "periodic",
        "frequency": 60,
        "url": "http://127.0.0.1:9/",
        "start_datetime": (true_now(stand) + HALF / 2).isoformat(),
        "end_datetime": (true_now(stand) + HALF).isoformat(),
    }

    made, kept = (send(stand, "PUT", "/tasks/by-name/backup", body) for _ in range(2))

    assert (made.status_code, kept.status_code) == (201, 200)
    assert made.json()["id"] == kept.json()["id"]
    listed = send(stand, "GET", "/tasks/").json()["tasks"]
    assert [task["id"] for task in listed].count(made.json()["id"]) == 1


def test_the_past_is_refused(stand: Stand) -> None:
    at = (true_now(stand) - HALF).isoformat()
    once = {"task_type": "one_time", "run_datetime": at, "url": "http://127.0.0.1:9/"}

    refused = send(stand, "POST", "/tasks/", once)

    assert refused.status_code == 400
    assert "run_datetime" in refused.text


def test_what_should_run_now_runs_now(stand: Stand, target: Receiver) -> None:
    later = (true_now(stand) + HALF).isoformat()
    task_id = stand.create(
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

    assert send(stand, "POST", f"/tasks/{task_id}/run/").status_code == 202
    assert send(stand, "POST", "/api/v1/jobs", job).status_code == 201

    eventually(lambda: len(target.requests) == 2, timeout=30)
    assert {request.path for request in target.requests} == {"/by-hand", "/job"}


def test_a_token_lives_for_as_long_as_a_command_says(stand: Stand) -> None:
    token = stand.manage(
        *("issue_token", "--tenant", "Alpha", "--user", "ann", "--expires", "30m")
    )

    headers = {"Authorization": f"Bearer {token}"}
    answer = stand.api.get(f"{stand.url}/tasks/", headers=headers, timeout=20)
    assert answer.status_code == 200
    [(lifetime,)] = stand.query(
        "SELECT expires_at - created_at FROM accounts_token ORDER BY id DESC LIMIT 1"
    )
    assert abs(lifetime - HALF) < timedelta(minutes=1)
