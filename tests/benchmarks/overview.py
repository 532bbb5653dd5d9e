"""Measures the reads of pages: stats, the account of all tasks, the forecast, searches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg

from tests.acceptance.harness import eventually
from tests.benchmarks import seed_data, seed_history
from tests.benchmarks.api import measure_calls
from tests.benchmarks.api_clients import ApiCall
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import BenchmarkHarness, benchmark_harness

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURS = 24
CALLS = 16
PAGE_SIZE = 100
CLOSING_TIMEOUT = 1800.0
# Tags and hosts that tasks share.
HOSTS = 50

_CLOSED_HOURS = """
    SELECT (extract(epoch FROM closed_until - %s) / 3600)::int
    FROM tasks_api_rollupprogress progress JOIN accounts_tenant tenant
        ON tenant.id = progress.tenant_id
    WHERE tenant.name = 'Alpha'
"""


def measure_overview(
    stored: int = 1_000_000, runs: int = 10_000_000, *, rounds: int
) -> Iterator[Figures]:
    """Reads of pages by a user and by an administrator, with {stored} tasks that fire
    within a day, and {runs} runs of the last day."""
    with benchmark_harness() as harness:
        harness.manage("add_user", "boss", "--tenant", "Alpha", "--role", "admin")
        boss = harness.manage("issue_token", "--tenant", "Alpha", "--user", "boss")
        began = time.monotonic()
        harness.store_tasks(
            stored,
            first=datetime.now(UTC) + 3 * HOUR,
            spread=DAY - 4 * HOUR,
            every=DAY,
            urls=harness.target_urls(HOSTS),
        )
        took = {"tasks stored in s": time.monotonic() - began}
        took |= store_runs(harness, runs)
        for _ in range(rounds):
            yield {**took, **_measure_reads(harness, boss)}


def store_runs(harness: BenchmarkHarness, runs: int) -> Figures:
    """Store the runs of a day, and wait until housekeeping has closed its hours."""
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first = until - HOURS * HOUR
    began = time.monotonic()
    seed_history.store_runs(
        harness.postgres.url, "Alpha", runs, first=first, until=until
    )
    stored_in = time.monotonic() - began
    with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
        # Progress begins with the oldest run, and it may have begun before these.
        connection.execute("DELETE FROM tasks_api_hourrollup")
        connection.execute("DELETE FROM tasks_api_rollupprogress")
    seed_data.vacuum_and_checkpoint(harness.postgres.url)
    began = time.monotonic()
    eventually(
        lambda: (harness.query(_CLOSED_HOURS, first) or [(0,)])[0][0] >= HOURS - 1,
        timeout=CLOSING_TIMEOUT,
    )
    return {
        "runs stored in s": stored_in,
        "hours closed in s": time.monotonic() - began,
    }


def _measure_reads(harness: BenchmarkHarness, boss: str) -> Figures:
    calls = {
        "stats": "/stats/",
        "account": "/account/",
        "forecast": "/forecast/",
        "forecast by minute": "/forecast/?bucket=60",
        "forecast by host": "/forecast/?by=host",
        "page with outcomes": f"/tasks/?owner=all&cursor=&limit={PAGE_SIZE}&outcomes=20",
        "search without result": f"/tasks/?owner=all&search=nothing&limit={PAGE_SIZE}",
        "search with results": f"/tasks/?owner=all&search=127.0.0.7&limit={PAGE_SIZE}",
    }
    found: Figures = {"refused": 0}
    for operation, path in calls.items():
        figures = measure_calls(
            harness, [ApiCall("GET", path)] * CALLS, operation, token=boss, clients=1
        )
        refused = found["refused"] + figures["refused"]
        found |= {**figures, "refused": refused}
    of_user = [ApiCall("GET", "/stats/")] * CALLS
    figures = measure_calls(harness, of_user, "stats of a user", clients=1)
    return found | {**figures, "refused": found["refused"] + figures["refused"]}
