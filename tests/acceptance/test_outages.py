"""PostgreSQL cannot write its log of changes, or is frozen for a minute: what comes of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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
    count_requests_by_run,
    create_task_at,
    early_requests,
    in_seconds,
    is_all_done,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(300)

# A segment of the log has 16 MB, and this holds a few.
WAL_DISK = "96m"
MINUTE = 60.0


@pytest.fixture
def wal_disk(tmp_path: Path) -> Iterator[Path]:
    """Put the log of changes of a new server, which does not run, on a small disk."""
    harness = Harness(tmp_path, durable=True)
    harness.copy_database()
    log = harness.postgres.data / "pg_wal"
    kept = log.rename(log.with_name("kept"))
    log.mkdir()
    owner = kept.stat()
    options = f"size={WAL_DISK},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    with mounted_disk(log, options):
        # The files keep their owner, another user.
        subprocess.run(["cp", "--archive", f"{kept}/.", str(log)], check=True)
        yield log


def write_until_it_fails(harness: Harness) -> None:
    with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
        message = "SELECT pg_logical_emit_message(false, 'bulk', repeat('x', 1000000))"
        with suppress(psycopg.OperationalError):
            while True:
                connection.execute(message)


def test_a_server_without_room_for_its_log_loses_nothing_that_was_accepted(
    tmp_path: Path, wal_disk: Path, lone_target: Receiver
) -> None:
    with running_harness(tmp_path, durable=True) as harness:
        due = {
            create_task_at(harness, f"{lone_target.url}/x", in_seconds(8))
            for _ in range(5)
        }
        later = create_task_at(harness, f"{lone_target.url}/later", in_seconds(600))

        ballast = fill_disk(wal_disk)
        write_until_it_fails(harness)
        eventually(lambda: not harness.postgres.is_ready())
        answer = harness.api.get(f"{harness.url}/tasks/", timeout=30)
        # The server ends when it has no room to recover either.
        eventually(lambda: harness.postgres_process.poll() is not None)
        time.sleep(3)
        ballast.unlink()
        harness.postgres_process = harness.postgres.start()
        harness.postgres.wait_until_ready(harness.postgres_process)

        lone_target.wait_for(5)
        eventually(lambda: not harness.count_unfinished_runs())
        assert answer.status_code == 500
        stored = harness.query("SELECT id::text FROM tasks_api_task")
        assert {task_id for (task_id,) in stored} == due | {later}
        assert "No space left on device" in harness.postgres.log.read_text()
        assert "The database does not answer" in harness.read_logs()
        create_task_at(harness, f"{lone_target.url}/again", in_seconds(1))
        lone_target.wait_for(6)
    assert set(count_requests_by_run(lone_target.requests).values()) == {1}


@pytest.mark.slow
def test_a_server_frozen_for_a_minute_delays_runs_and_doubles_none(
    tmp_path: Path,
    lone_target: Receiver,
    record_property: Callable[[str, object], None],
) -> None:
    """With the timeouts of an operator who changes no setting."""
    lone_target.answer("/slow", delay=4.0)
    with running_harness(tmp_path, durable=True, limits={}) as harness:
        for part in ("beat", "worker"):
            harness.start_part(part)
        eventually(lambda: harness.is_ready(workers=2, beats=2))
        for _ in range(20):
            create_task_at(harness, f"{lone_target.url}/slow", in_seconds(3))
            create_task_at(harness, f"{lone_target.url}/quick", in_seconds(30))
        create_task_at(harness, f"{lone_target.url}/afterwards", in_seconds(75))

        lone_target.wait_for(20)
        with frozen_postgres(harness):
            status, waited = list_tasks_after(harness, MINUTE / 2)
            time.sleep(max(0.0, MINUTE / 2 - waited))
            sent = len(lone_target.requests)
        thawed_at = time.time()
        eventually(lambda: harness.is_ready(workers=2, beats=2))
        ready_after = time.time() - thawed_at
        requests = lone_target.wait_for(41, timeout=60)
        eventually(lambda: is_all_done(harness), timeout=60)

        quick = [each.at - thawed_at for each in requests if each.path == "/quick"]
        [(lost,)] = harness.query("SELECT sum(lost_count)::int FROM tasks_api_run")
        counted = count_requests_by_run(requests)
        figures = {
            "web answered after s": waited,
            "whole again after s": ready_after,
            "first run after s": min(quick),
            "last run after s": max(quick),
            "runs that lost a worker": lost,
            "requests sent twice": len(requests) - len(counted),
        }
        report_figures(figures, record_property)
        assert (sent, status) == (20, 500)
        assert set(counted.values()) == {1}
        assert not early_requests(requests)
        assert max(quick) < 30


def list_tasks_after(harness: Harness, seconds: float) -> tuple[int, float]:
    """The status of a list of the tasks, and how many seconds it took."""
    time.sleep(seconds)
    before = time.monotonic()
    answer = harness.api.get(f"{harness.url}/tasks/", timeout=50)
    return answer.status_code, time.monotonic() - before


def report_figures(
    figures: dict[str, float], record_property: Callable[[str, object], None]
) -> None:
    for name, value in figures.items():
        record_property(name, value)
        print(f"{name}: {value:.2f}")  # noqa: T201 (shown with -s, for docs/explanation/chaos.md)
