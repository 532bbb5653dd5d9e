"""Measures how long a tenant is frozen while it moves to another database."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import psycopg

from tests.acceptance.harness import ROOT
from tests.benchmarks import seed_data
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import BenchmarkHarness, benchmark_harness
from tests.benchmarks.retention import SyntheticHistory

DAY = timedelta(days=1)
OTHER = "other"


def measure_move(
    tasks: int = 100_000, runs: int = 1_000_000, *, rounds: int
) -> Iterator[Figures]:
    """A tenant with {tasks} tasks and {runs} runs that are over moves to another database on the same server, and is not forgotten; the seconds in which it is frozen, by step, and those in which its history is copied before."""
    with benchmark_harness() as harness:
        harness.store_tasks(tasks, first=seed_data.FAR_FUTURE, every=DAY)
        SyntheticHistory(harness, runs).add_day()
        seed_data.vacuum_and_checkpoint(harness.postgres.url)
        for _ in range(rounds):
            yield _measure_one(harness)


def _measure_one(harness: BenchmarkHarness) -> Figures:
    target = _make_target(harness)
    at = _move(harness, target)
    _take_back(harness)
    return {
        "frozen s": at["arrived"] - at["frozen"],
        "put aside s": at["put aside"] - at["frozen"],
        "copied s": at["copied"] - at["put aside"],
        "verified s": at["verified"] - at["copied"],
        "committed s": at["arrived"] - at["verified"],
        "history before s": at["history copied"] - min(at.values()),
    }


def _manage(harness: BenchmarkHarness, url: str, *command: str) -> list[str | float]:
    """Run a command; returns its lines, each before the moment at which it came."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env={
            **harness.environment,
            "DATABASE_URL": url,
            "SECRET_KEY": os.environ["SECRET_KEY"],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    found: list[str | float] = []
    for line in process.stdout:
        found += [line.strip(), time.monotonic()]
    if process.wait():
        raise RuntimeError(f"{command}: {found[-2:]}")
    return found


def _make_target(harness: BenchmarkHarness) -> str:
    own = harness.postgres.url
    with psycopg.connect(own, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {OTHER} WITH (FORCE)".encode())
        server.execute(f"CREATE DATABASE {OTHER}".encode())
    url = own.replace("/scheduler", f"/{OTHER}", 1)
    _manage(harness, url, "migrate", "--verbosity=0")
    _manage(harness, url, "number_rows", "1")
    return url


def _move(harness: BenchmarkHarness, target: str) -> dict[str, float]:
    name = harness.query(
        "SELECT name FROM accounts_tenant WHERE id = (SELECT min(tenant_id) FROM tasks_api_task)"
    )[0][0]
    lines = _manage(harness, harness.postgres.url, "move_tenant", name, "--to", target)
    return {
        str(line): float(at) for line, at in zip(lines[::2], lines[1::2], strict=True)
    }


def _take_back(harness: BenchmarkHarness) -> None:
    """Let the tenant live at the source again, as if it had not arrived."""
    with psycopg.connect(harness.postgres.url) as session:
        session.execute(
            b"UPDATE tasks_api_task SET is_parked = false, next_fire_at = parked_fire_at,"
            b" parked_fire_at = NULL WHERE is_parked"
        )
        session.execute(
            b"UPDATE accounts_tenant SET frozen_at = NULL, moved_at = NULL, moves_to = ''"
        )
    seed_data.vacuum_and_checkpoint(harness.postgres.url)
