"""Measures the reads of pages: stats, the account of all tasks, the forecast, searches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg

from tasks_api.storage.id_statements import ID_FOR
from tests.acceptance.harness import eventually
from tests.benchmarks import seed_data
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

# A twentieth of the runs has failed. They belong to the tasks in turn.
_INSERT_RUNS = """
    WITH task AS (
        SELECT task.id, task.tenant_id, row_number() OVER () - 1 AS n
        FROM tasks_api_task task JOIN accounts_tenant tenant
            ON tenant.id = task.tenant_id
        WHERE tenant.name = 'Alpha' AND NOT is_one_off
    ), fire AS (
        SELECT n, %(hour)s::timestamptz + n * (interval '1 hour' / %(count)s) AS moment,
            (%(offset)s + n) %% (SELECT count(*) FROM task) AS task
        FROM generate_series(0, %(count)s - 1) n
    )
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        attempt_count, lost_count, exclusive, started_at, finished_at)
    SELECT {id}, task.id, task.tenant_id, fire.moment,
        CASE WHEN fire.n %% 20 = 0 THEN 'failed' ELSE 'succeeded' END,
        CASE WHEN fire.n %% 20 = 0 THEN 'HTTP 503' ELSE '' END, 1, 0, false,
        fire.moment + fire.n %% 50 * interval '1 ms',
        fire.moment + fire.n %% 50 * interval '2 ms'
    FROM fire JOIN task ON task.n = fire.task ORDER BY fire.moment
    ON CONFLICT DO NOTHING
""".replace("{id}", ID_FOR.format(moment="fire.moment", tenant_id="task.tenant_id"))
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
        harness.store_tasks(
            stored,
            first=datetime.now(UTC) + 3 * HOUR,
            spread=DAY - 4 * HOUR,
            every=DAY,
            urls=harness.target_urls(HOSTS),
        )
        took = store_runs(harness, runs)
        for _ in range(rounds):
            yield {**took, **_measure_reads(harness, boss)}


def store_runs(harness: BenchmarkHarness, runs: int) -> Figures:
    """Store the runs of a day, and wait until housekeeping has closed its hours."""
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOURS * HOUR
    each = runs // HOURS
    with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for number in range(HOURS):
            values = {
                "hour": first + number * HOUR,
                "count": each,
                "offset": number * each,
            }
            connection.execute(_INSERT_RUNS, values)
        # Progress begins with the oldest run, and it may have begun before these.
        connection.execute("DELETE FROM tasks_api_hourrollup")
        connection.execute("DELETE FROM tasks_api_rollupprogress")
    seed_data.vacuum_and_checkpoint(harness.postgres.url)
    began = time.monotonic()
    eventually(
        lambda: (harness.query(_CLOSED_HOURS, first) or [(0,)])[0][0] >= HOURS - 1,
        timeout=CLOSING_TIMEOUT,
    )
    return {"hours closed in s": time.monotonic() - began}


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
