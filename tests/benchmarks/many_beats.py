"""Measures what many beats cost that all see the same overdue tasks."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

import psycopg

from tests.acceptance.harness import eventually
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import (
    BenchmarkHarness,
    benchmark_harness,
    sleep_until,
    time_after_storing,
)

# So many recurring tasks come due while no worker is there, of so many tenants: beats make
# 5,000 runs for each.
TASKS, TENANTS = 20_000, 20
WATCH_INTERVAL = 0.01
MADE = "SELECT count(*) FROM tasks_api_run_live"
_STORE_TENANTS = """
    INSERT INTO accounts_tenant (name, callback_url, created_at)
    SELECT 'tenant ' || n, '', now() FROM generate_series(1, %s) n
"""
_TENANT = """
    (SELECT id FROM accounts_tenant WHERE name = 'tenant '
        || 1 + mod(abs(hashtext(task.task_id::text)::bigint), {tenants}))
"""
_LONGEST = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - query_start)), 0)::float
    FROM pg_stat_activity
    WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def measure_beats(beats: int = 20, *, rounds: int) -> Iterator[Figures]:
    """20,000 recurring tasks that no worker takes get their runs from {beats} beats, in turn with one beat."""
    with benchmark_harness() as harness:
        for name in ("worker", "beat"):
            harness.stop_process(harness.parts.pop(name), signal.SIGKILL)
        with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
            connection.execute(_STORE_TENANTS, [TENANTS])
        for _ in range(rounds):
            one = _measure_round(harness, 1)
            many = _measure_round(harness, beats)
            name = "PostgreSQL CPU µs per run"
            yield {
                **{f"one: {figure}": value for figure, value in one.items()},
                **{f"many: {figure}": value for figure, value in many.items()},
                f"many : one, {name}": many[name] / one[name],
            }


def _measure_round(harness: BenchmarkHarness, beats: int) -> Figures:
    started = [harness.start_part("beat") for _ in range(beats)]
    try:
        eventually(lambda: harness.is_ready(workers=0, beats=beats), timeout=180)
        return _measure_overdue(harness)
    finally:
        for process in started:
            harness.stop_process(process, signal.SIGKILL)
        harness.delete_all_tasks()
        with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
            # They were killed, and would count as alive for a while.
            connection.execute("DELETE FROM tasks_api_heartbeat")


def _measure_overdue(harness: BenchmarkHarness) -> Figures:
    first = time_after_storing(TASKS)
    harness.store_tasks(
        TASKS,
        first=first,
        every=timedelta(days=1),
        columns={"tenant_id": _TENANT.format(tenants=TENANTS), "misfire": "'skip'"},
    )
    sleep_until(first.timestamp())
    before, began = harness.read_usage(), time.monotonic()
    with _longest_statement(harness) as longest:
        eventually(lambda: harness.query(MADE)[0][0] >= TASKS, timeout=120, every=0.2)
    used = harness.usage_since(before)
    return {
        "runs made in s": time.monotonic() - began,
        "PostgreSQL CPU µs per run": used.cpu["postgres"] / TASKS * 1e6,
        "longest statement ms": longest[0] * 1000,
        **used.other_load(),
    }


@contextmanager
def _longest_statement(harness: BenchmarkHarness) -> Iterator[list[float]]:
    """Watch how long statements have been under way; the longest, in seconds."""
    longest, is_over = [0.0], Event()

    def watch() -> None:
        with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
            while not is_over.wait(WATCH_INTERVAL):
                [(seconds,)] = connection.execute(_LONGEST).fetchall()
                longest[0] = max(longest[0], seconds)

    watching = Thread(target=watch)
    watching.start()
    try:
        yield longest
    finally:
        is_over.set()
        watching.join()
