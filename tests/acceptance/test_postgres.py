"""PostgreSQL is frozen, locked and full: the service recovers alone and doubles nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.harness import Harness, eventually
from tests.acceptance.postgres_faults import (
    fill_disk,
    frozen_postgres,
    mounted_disk,
    running_harness,
)
from tests.acceptance.tasks import (
    SECOND,
    count_requests_by_run,
    create_task_at,
    create_tasks_at,
    in_seconds,
    is_all_done,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

# Longer than the lease, and than the timeout of a statement.
FROZEN_SECONDS = 15.0


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with running_harness(tmp_path_factory.mktemp("s")) as started:
        yield started


def test_a_frozen_server_delays_runs_and_doubles_none(
    harness: Harness, target: Receiver
) -> None:
    target.answer("/slow", delay=4.0)
    start = in_seconds(6)
    create_tasks_at(
        harness,
        [(f"{target.url}/slow", start), (f"{target.url}/quick", start + 5 * SECOND)]
        * 10,
    )

    # Requests are answered and runs are due while no result can be stored.
    target.wait_for(10)
    with frozen_postgres(harness):
        time.sleep(FROZEN_SECONDS)
        sent = len(target.requests)
    eventually(lambda: is_all_done(harness), timeout=60)

    assert sent == 10
    assert set(count_requests_by_run(target.requests).values()) == {1}
    assert len(target.requests) == 20
    states = harness.query("SELECT state, lost_count FROM tasks_api_run")
    assert set(states) == {("succeeded", 0)}
    assert "PostgreSQL did not answer for 8 seconds" in harness.read_logs()


def test_a_request_to_web_ends_while_the_server_is_frozen(
    harness: Harness, target: Receiver
) -> None:
    with frozen_postgres(harness):
        before = time.monotonic()
        answer = harness.api.get(f"{harness.url}/tasks/", timeout=30)
        waited = time.monotonic() - before

    assert answer.status_code == 500
    assert waited < 20
    eventually(lambda: harness.api.get(f"{harness.url}/tasks/").status_code == 200)
    eventually(harness.is_ready)


def is_logged(harness: Harness, line: str) -> bool:
    return line in harness.read_logs()


def test_a_held_table_lock_blocks_no_part_for_long(
    harness: Harness, target: Receiver
) -> None:
    create_task_at(harness, f"{target.url}/x", in_seconds(3))
    task = {
        "task_type": "one_time",
        "url": target.url,
        "run_datetime": f"{in_seconds(60)}",
    }

    with psycopg.connect(harness.postgres.url) as holder:
        holder.execute("LOCK TABLE tasks_api_task IN ACCESS EXCLUSIVE MODE")
        answer = harness.api.post(f"{harness.url}/tasks/", json=task, timeout=30)
        for line in (
            "The database failed: canceling statement due to lock timeout",
            "Polling: it fails, and the rest goes on. OperationalError: "
            "canceling statement due to lock timeout",
        ):
            eventually(partial(is_logged, harness, line))
        assert target.requests == []

    assert answer.status_code == 500
    target.wait_for(1)
    eventually(lambda: not harness.count_unfinished_runs())
    assert len(target.requests) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that holds 200 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted_disk(disk, "size=200m,mode=0711"):
        yield disk


def test_a_full_disk_refuses_tasks_and_loses_none(small_disk: Path) -> None:
    receiver = Receiver()
    receiver.start()
    with running_harness(small_disk) as harness:
        at = in_seconds(6)
        accepted = {create_task_at(harness, f"{receiver.url}/x", at) for _ in range(5)}
        task = {
            "task_type": "one_time",
            "url": receiver.url,
            "run_datetime": f"{in_seconds(600)}",
            "post_data": {"text": "x" * 100_000},
        }

        def is_accepted() -> bool:
            answer = harness.api.post(f"{harness.url}/tasks/", json=task, timeout=30)
            if answer.status_code == 201:
                accepted.add(answer.json()["id"])
            return answer.status_code == 201

        ballast = fill_disk(small_disk)
        eventually(lambda: not is_accepted())
        eventually(lambda: in_seconds(0) > at)
        ballast.unlink()
        eventually(is_accepted)
        # A beat that could write nothing for a while may still have to make some runs.
        eventually(lambda: len(receiver.requests) >= 5)
        eventually(lambda: not harness.count_unfinished_runs())

        assert "No space left on device" in harness.read_logs()
        stored = harness.query("SELECT id::text FROM tasks_api_task")
        assert {task_id for (task_id,) in stored} == accepted
    assert list(count_requests_by_run(receiver.requests).values()) == [1] * 5
    receiver.stop()
