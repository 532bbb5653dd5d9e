"""After an older backup is restored, each fire time is sent again under its old id."""

from __future__ import annotations

import signal
import subprocess
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.harness import Harness, eventually
from tests.acceptance.tasks import create_periodic_task, create_task_at, in_seconds
from tests.receiver import ReceivedRequest, Receiver

pytestmark = pytest.mark.timeout(300)


def dump(harness: Harness, path: Path) -> None:
    _run(harness, "pg_dump", "--format=custom", f"--file={path}", harness.postgres.url)


def restore(harness: Harness, path: Path) -> None:
    """Replace the database by a dump of it, as docs/how-to/backup.md says."""
    others = harness.postgres.url.replace("/scheduler?", "/postgres?")
    with psycopg.connect(others, autocommit=True) as connection:
        connection.execute("DROP DATABASE scheduler WITH (FORCE)")
        connection.execute("CREATE DATABASE scheduler")
    into = f"--dbname={harness.postgres.url}"
    _run(harness, "pg_restore", "--no-owner", "--exit-on-error", into, str(path))


def _run(harness: Harness, program: str, *arguments: str) -> None:
    command: list[str | Path] = [harness.postgres.programs / program, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def start_parts(harness: Harness) -> list[subprocess.Popen[bytes]]:
    return [harness.start_part(part) for part in ("worker", "beat")]


def stop_parts(harness: Harness, parts: list[subprocess.Popen[bytes]]) -> None:
    """Kill processes, so that nothing of what they know is left."""
    for part in parts:
        harness.stop_process(part, signal.SIGKILL)
    harness.flush_redis()


def ids_by_fire_time(
    requests: list[ReceivedRequest],
) -> dict[tuple[str, datetime], str]:
    """The `webhook-id` of each path and fire time."""
    return {
        (
            request.path,
            datetime.fromisoformat(request.headers["x-scheduled-for"]),
        ): request.headers["webhook-id"]
        for request in requests
    }


def test_what_is_made_again_after_a_restore_has_the_same_ids(
    harness: Harness, target: Receiver, tmp_path: Path
) -> None:
    at = in_seconds(6)
    create_task_at(harness, f"{target.url}/once", at)
    create_periodic_task(harness, f"{target.url}/often", at, every=3600, times=2)
    dump(harness, tmp_path / "before")
    parts = start_parts(harness)
    first = ids_by_fire_time(target.wait_for(2, timeout=60))
    eventually(lambda: not harness.count_unfinished_runs())
    stop_parts(harness, parts)

    restore(harness, tmp_path / "before")
    parts = start_parts(harness)

    again = ids_by_fire_time(target.wait_for(4, timeout=60)[2:])
    assert len(first) == 2
    assert again == first
    stop_parts(harness, parts)
