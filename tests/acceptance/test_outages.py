"""PostgreSQL cannot write its log of changes, or is frozen for a minute: what comes of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.stand import Stand, eventually
from tests.acceptance.test_postgres import fill, frozen, mounted, running
from tests.acceptance.test_processes import all_done, early, ids_of, one_time, soon
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(300)

# A segment of the log has 16 MB, and this holds a few.
WAL_DISK = "96m"
MINUTE = 60.0


@pytest.fixture
def target() -> Iterator[Receiver]:
    started = Receiver()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def wal_disk(tmp_path: Path) -> Iterator[Path]:
    """The log's directory of a server that was made but does not run: a small disk."""
    made = Stand(tmp_path, durable=True)
    made.copy_database()
    log = made.postgres.data / "pg_wal"
    kept = log.rename(log.with_name("kept"))
    log.mkdir()
    owner = kept.stat()
    options = f"size={WAL_DISK},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    with mounted(log, options):
        # With their owner, who is not us.
        subprocess.run(["cp", "--archive", f"{kept}/.", str(log)], check=True)
        yield log


def write_until_it_fails(stand: Stand) -> None:
    with psycopg.connect(stand.postgres.url, autocommit=True) as connection:
        message = "SELECT pg_logical_emit_message(false, 'bulk', repeat('x', 1000000))"
        with suppress(psycopg.OperationalError):
            while True:
                connection.execute(message)


def test_a_server_without_room_for_its_log_loses_nothing_that_was_accepted(
    tmp_path: Path, wal_disk: Path, target: Receiver
) -> None:
    with running(tmp_path, durable=True) as stand:
        due = {one_time(stand, f"{target.url}/x", soon(8)) for _ in range(5)}
        later = one_time(stand, f"{target.url}/later", soon(600))

        ballast = fill(wal_disk)
        write_until_it_fails(stand)
        eventually(lambda: not stand.postgres.is_ready())
        answer = stand.api.get(f"{stand.url}/tasks/", timeout=30)
        # It gives up by itself, when it has no room to recover either.
        eventually(lambda: stand.database.poll() is not None)
        time.sleep(3)
        ballast.unlink()
        stand.database = stand.postgres.start()
        stand.postgres.wait_until_ready(stand.database)

        target.wait_for(5)
        eventually(lambda: not stand.unfinished())
        assert answer.status_code == 500
        stored = stand.query("SELECT id::text FROM tasks_api_task")
        assert {task_id for (task_id,) in stored} == due | {later}
        assert "No space left on device" in stand.postgres.log.read_text()
        assert "The database does not answer" in stand.logs()
        one_time(stand, f"{target.url}/again", soon(1))
        target.wait_for(6)
    assert set(ids_of(target.requests).values()) == {1}


@pytest.mark.slow
def test_a_server_frozen_for_a_minute_delays_runs_and_doubles_none(
    tmp_path: Path, target: Receiver, record_property: Callable[[str, object], None]
) -> None:
    """With the limits that operators have who change nothing."""
    target.answer("/slow", delay=4.0)
    with running(tmp_path, durable=True, limits={}) as stand:
        stand.run("beat")
        stand.run("worker")
        eventually(lambda: stand.is_ready(workers=2, beats=2))
        for _ in range(20):
            one_time(stand, f"{target.url}/slow", soon(3))
            one_time(stand, f"{target.url}/quick", soon(30))
        one_time(stand, f"{target.url}/afterwards", soon(75))

        target.wait_for(20)
        with frozen(stand):
            time.sleep(MINUTE / 2)
            before = time.monotonic()
            refused = stand.api.get(f"{stand.url}/tasks/", timeout=50)
            waited = time.monotonic() - before
            time.sleep(max(0.0, MINUTE / 2 - waited))
            sent = len(target.requests)
        back = time.time()
        eventually(lambda: stand.is_ready(workers=2, beats=2))
        whole = time.time() - back
        requests = target.wait_for(41, timeout=60)
        eventually(lambda: all_done(stand), timeout=60)

        quick = [each.at - back for each in requests if each.path == "/quick"]
        lost = stand.query("SELECT sum(lost_count)::int FROM tasks_api_run")
        figures = {
            "web answered after s": waited,
            "whole again after s": whole,
            "first run after s": min(quick),
            "last run after s": max(quick),
            "runs that lost a worker": lost[0][0],
            "requests sent twice": len(requests) - len(ids_of(requests)),
        }
        for name, value in figures.items():
            record_property(name, value)
            print(f"{name}: {value:.2f}")  # noqa: T201 (shown with -s, for docs/chaos.md)
        assert (sent, refused.status_code) == (20, 500)
        assert set(ids_of(requests).values()) == {1}
        assert not early(requests)
        assert max(quick) < 30
