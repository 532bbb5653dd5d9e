"""Runs the service on a PostgreSQL that can be frozen, or whose disk can be filled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.acceptance.harness import Harness, eventually

# Short, so that a test need not wait long; the lease stays at its 10 seconds.
SHORT_TIMEOUTS = {"DATABASE_STATEMENT_TIMEOUT": "3", "DATABASE_LOCK_TIMEOUT": "1"}


@contextmanager
def running_harness(
    home: Path, *, durable: bool = False, limits: Mapping[str, str] = SHORT_TIMEOUTS
) -> Iterator[Harness]:
    """Run web, a worker and a beat, with short timeouts unless other limits are given."""
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
def frozen_postgres(harness: Harness) -> Iterator[None]:
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


@contextmanager
def mounted_disk(disk: Path, options: str) -> Iterator[None]:
    """Mount a file system in memory; skip the test where that is not allowed."""
    mounting = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    try:
        is_mounted = subprocess.run(mounting, capture_output=True).returncode == 0
    except OSError:
        is_mounted = False
    if not is_mounted:
        pytest.skip("Only root may mount a small disk.")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill_disk(disk: Path) -> Path:
    """Fill a disk with a file, which is returned."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            return ballast
