"""PostgreSQL is frozen, locked and full: the service recovers alone and doubles nothing."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.acceptance.harness import Harness, eventually
from tests.acceptance.test_processes import all_done, ids_of, one_time, soon
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

# Small, so that a test need not wait long; the lease stays at its 10 seconds.
LIMITS = {"DATABASE_STATEMENT_TIMEOUT": "3", "DATABASE_LOCK_TIMEOUT": "1"}
# Longer than the lease, and than a statement is waited for.
FROZEN = 15.0


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with running(tmp_path_factory.mktemp("s")) as started:
        yield started


@contextmanager
def running(
    home: Path, *, durable: bool = False, limits: Mapping[str, str] = LIMITS
) -> Iterator[Harness]:
    """A harness with web, worker and beat, none of which is patient unless told to be."""
    started = Harness(home, durable=durable)
    started.environment |= limits
    started.start()
    try:
        started.start_part("web")
        eventually(lambda: started.is_ready(workers=0, beats=0))
        started.start_part("worker")
        started.start_part("beat")
        eventually(started.is_ready)
        yield started
    finally:
        started.stop()


@contextmanager
def frozen(harness: Harness) -> Iterator[None]:
    parts = [psutil.Process(harness.postgres_process.pid)]
    parts[0].suspend()
    parts += parts[0].children()
    for part in parts[1:]:
        part.suspend()
    try:
        yield
    finally:
        for part in reversed(parts):
            part.resume()


def test_a_frozen_server_delays_runs_and_doubles_none(
    harness: Harness, target: Receiver
) -> None:
    target.answer("/slow", delay=4.0)
    start = soon(3)
    for _ in range(10):
        one_time(harness, f"{target.url}/slow", start)
        one_time(harness, f"{target.url}/quick", soon(8))

    # Answered, and due, while nobody can write it down.
    target.wait_for(10)
    with frozen(harness):
        time.sleep(FROZEN)
        sent = len(target.requests)
    eventually(lambda: all_done(harness), timeout=60)

    assert sent == 10
    assert set(ids_of(target.requests).values()) == {1}
    assert len(target.requests) == 20
    states = harness.query("SELECT state, lost_count FROM tasks_api_run")
    assert set(states) == {("succeeded", 0)}
    assert "PostgreSQL did not answer for 8 seconds" in harness.read_logs()


def test_a_request_to_web_ends_while_the_server_is_frozen(
    harness: Harness, target: Receiver
) -> None:
    with frozen(harness):
        before = time.monotonic()
        answer = harness.api.get(f"{harness.url}/tasks/", timeout=30)
        waited = time.monotonic() - before

    assert answer.status_code == 500
    assert waited < 20
    eventually(lambda: harness.api.get(f"{harness.url}/tasks/").status_code == 200)
    eventually(harness.is_ready)


def test_a_lock_that_somebody_holds_stops_nobody_for_long(
    harness: Harness, target: Receiver
) -> None:
    one_time(harness, f"{target.url}/x", soon(3))
    task = {"task_type": "one_time", "url": target.url, "run_datetime": f"{soon(60)}"}

    with psycopg.connect(harness.postgres.url) as hog:
        hog.execute("LOCK TABLE tasks_api_task IN ACCESS EXCLUSIVE MODE")
        before = time.monotonic()
        answer = harness.api.post(f"{harness.url}/tasks/", json=task, timeout=30)
        waited = time.monotonic() - before
        eventually(
            lambda: (
                "Dispatch: it fails, and the rest goes on. OperationalError: "
                "canceling statement due to lock" in harness.read_logs()
            )
        )
        assert target.requests == []

    assert (answer.status_code, 1 <= waited < 3) == (500, True)
    assert "The database failed: canceling statement due to lock" in harness.read_logs()
    target.wait_for(1)
    eventually(lambda: not harness.count_unfinished_runs())
    assert len(target.requests) == 1


@contextmanager
def mounted(disk: Path, options: str) -> Iterator[None]:
    """A file system in memory at a directory, where somebody may mount one."""
    mounting = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    try:
        is_mounted = subprocess.run(mounting, capture_output=True).returncode == 0
    except OSError:
        is_mounted = False
    if not is_mounted:
        pytest.skip("Nobody but root may mount a small disk.")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that holds 200 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "size=200m,mode=0711"):
        yield disk


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            return ballast


def test_a_full_disk_refuses_tasks_and_loses_none(small_disk: Path) -> None:
    receiver = Receiver()
    receiver.start()
    with running(small_disk) as harness:
        at = soon(6)
        accepted = {one_time(harness, f"{receiver.url}/x", at) for _ in range(5)}
        task = {
            "task_type": "one_time",
            "url": receiver.url,
            "run_datetime": f"{soon(600)}",
            "post_data": {"text": "x" * 100_000},
        }

        def is_accepted() -> bool:
            answer = harness.api.post(f"{harness.url}/tasks/", json=task, timeout=30)
            if answer.status_code == 201:
                accepted.add(answer.json()["id"])
            return answer.status_code == 201

        ballast = fill(small_disk)
        eventually(lambda: not is_accepted())
        eventually(lambda: soon(0) > at)
        ballast.unlink()
        eventually(is_accepted)
        eventually(lambda: receiver.requests and not harness.count_unfinished_runs())

        assert "No space left on device" in harness.read_logs()
        stored = harness.query("SELECT id::text FROM tasks_api_task")
        assert {task_id for (task_id,) in stored} == accepted
    assert list(ids_of(receiver.requests).values()) == [1] * 5
    receiver.stop()
