"""Measures what pruning costs: days of history arrive and go, and sizes must level off."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg

from tasks_api.storage.id_statements import ID_FOR
from tests.acceptance.harness import ROOT, eventually
from tests.benchmarks import seed_data
from tests.benchmarks.delivery import DELIVERY_TIMEOUT
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import (
    BenchmarkHarness,
    benchmark_harness,
    sleep_until,
    time_after_storing,
)

# Days of history that are kept, and tenants that share a day.
RETENTION_DAYS = 3
TENANTS = 20
# Periodic tasks that made the runs; a tenth as many more came from one-offs.
TASKS = 1000
ONE_OFFS = 0.1
# Fires a second, for how many seconds, while a day is pruned.
RATE, SECONDS = 500, 10

DAY = timedelta(days=1)
TABLES = {
    "runs": "tasks_api_run",
    "attempts": "tasks_api_attempt",
    "tasks": "tasks_api_task",
    "schedules": "django_celery_beat_periodictask",
}

_ADD_TENANTS = """
    INSERT INTO accounts_tenant (name, callback_url, created_at)
    SELECT 'tenant ' || n, '', now() FROM generate_series(1, %s) n
"""
_DISTRIBUTE_TASKS = """
    UPDATE tasks_api_task task SET tenant_id = tenant.id
    FROM (SELECT id, row_number() OVER () AS n FROM accounts_tenant) tenant
    WHERE tenant.n = 1 + abs(hashtext(task.id::text)) %% %s
"""
_INSERT_RUNS = """
    WITH task AS (
        SELECT id, tenant_id, row_number() OVER () - 1 AS n FROM tasks_api_task
        WHERE ended_at IS NULL
    ), fire AS (
        SELECT %(day)s::timestamptz + n * (interval '1 day' / %(count)s) AS moment,
            n %% (SELECT count(*) FROM task) AS task
        FROM generate_series(0, %(count)s - 1) n
    )
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        attempt_count, lost_count, exclusive, started_at, finished_at)
    SELECT {id}, task.id, task.tenant_id, fire.moment, 'succeeded', '', 1, 0, false,
        fire.moment, fire.moment + interval '20 ms'
    FROM fire JOIN task ON task.n = fire.task ORDER BY fire.moment
""".replace("{id}", ID_FOR.format(moment="fire.moment", tenant_id="task.tenant_id"))
_INSERT_ONE_OFF_RUNS = """
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        attempt_count, lost_count, exclusive, started_at, finished_at)
    SELECT {id}, task.id, task.tenant_id, task.ended_at, 'succeeded', '', 1, 0, false,
        task.ended_at, task.ended_at
    FROM tasks_api_task task WHERE ended_at >= %(day)s::timestamptz
        AND ended_at < %(day)s::timestamptz + interval '1 day'
""".replace("{id}", ID_FOR.format(moment="task.ended_at", tenant_id="task.tenant_id"))
_INSERT_ATTEMPTS = """
    INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, status_code,
        error, answer)
    SELECT run.id, 1, run.started_at, 20, 200, '', '{"ok": true}'
    FROM tasks_api_run run WHERE scheduled_for >= %(day)s::timestamptz
        AND scheduled_for < %(day)s::timestamptz + interval '1 day'
    ORDER BY run.id
"""
# The columns of a one-off whose request was answered at its moment.
_ENDED_COLUMNS = {
    "next_fire_at": "NULL",
    "last_fire_at": "task.moment",
    "ended_at": "task.moment",
    "end_reason": "'completed'",
}


class SyntheticHistory:
    """Days of history, the first of them so long ago that all are over."""

    def __init__(self, harness: BenchmarkHarness, runs: int) -> None:
        self._harness = harness
        self._runs = runs
        self._first = datetime.now(UTC).replace(hour=0, minute=0, second=0) - 25 * DAY
        self._days = itertools.count()
        self._oldest = self._first

    def store_tasks(self, tenants: int = TENANTS) -> None:
        """Store the tasks that made the runs, of so many tenants; 0 is the own tenant alone."""
        harness = self._harness
        harness.store_tasks(TASKS, first=seed_data.FAR_FUTURE, every=DAY)
        if tenants:
            self._execute(_ADD_TENANTS, tenants)
            self._execute(_DISTRIBUTE_TASKS, tenants)

    def add_day(self) -> None:
        day = self._first + next(self._days) * DAY
        one_offs = int(self._runs * ONE_OFFS)
        self._harness.store_tasks(
            one_offs, first=day, spread=DAY * 0.999, columns=_ENDED_COLUMNS
        )
        values = {"day": day, "count": self._runs}
        with psycopg.connect(self._harness.postgres.url, autocommit=True) as connection:
            for statement in (_INSERT_RUNS, _INSERT_ONE_OFF_RUNS, _INSERT_ATTEMPTS):
                connection.execute(statement, values)
            connection.execute("CHECKPOINT")

    def start_pruner(self, *options: str) -> subprocess.Popen[bytes]:
        """Start to delete the oldest day."""
        self._oldest += DAY
        now = self._oldest + RETENTION_DAYS * DAY
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.pruner",
                now.isoformat(),
                *options,
            ],
            cwd=ROOT,
            env={
                **self._harness.environment,
                "DJANGO_SETTINGS_MODULE": "scheduler_service.settings",
                "SCHEDULER_RETENTION_DAYS": str(RETENTION_DAYS),
                "SECRET_KEY": os.environ["SECRET_KEY"],
            },
            stdout=subprocess.PIPE,
        )

    def set_autovacuum(self, *, on: bool) -> None:
        self._execute(f"ALTER SYSTEM SET autovacuum = {'on' if on else 'off'}")
        self._execute("SELECT pg_reload_conf()")

    def wait_for_autovacuum(self) -> None:
        """Wait until the dead rows of runs, attempts and tasks are gone."""
        since = datetime.now(UTC)
        statement = """
            SELECT count(*) FROM pg_stat_user_tables
            WHERE relname IN ('tasks_api_run', 'tasks_api_attempt', 'tasks_api_task')
                AND last_autovacuum > %s
        """
        eventually(
            lambda: self._harness.query(statement, since)[0][0] == 3,
            timeout=300,
            every=0.5,
        )

    def table_sizes(self) -> Figures:
        statement = "SELECT pg_table_size(%s), pg_indexes_size(%s)"
        found: Figures = {}
        for name, table in TABLES.items():
            rows, indexes = self._harness.query(statement, table, table)[0]
            found[f"{name} MB"] = rows / 2**20
            found[f"{name}' indexes MB"] = indexes / 2**20
        return {"all MB": sum(found.values()), **found}

    def _execute(self, statement: str, *values: object) -> None:
        with psycopg.connect(self._harness.postgres.url, autocommit=True) as connection:
            connection.execute(statement, values or None)


def measure_retention(day: int = 1_000_000, *, rounds: int) -> Iterator[Figures]:
    """{day} runs arrive and are forgotten for each day of 3 that are kept, a tenth of them of one-offs."""
    with benchmark_harness() as harness:
        history = SyntheticHistory(harness, day)
        history.store_tasks()
        for _ in range(RETENTION_DAYS):
            history.add_day()
        # The second turn around finds the space that the first one left.
        before = 0.0
        for number in range(max(rounds, 2)):
            figures = _replace_day(harness, history)
            if number:
                figures["grown since the day before, %"] = (
                    figures["all MB"] / before - 1
                ) * 100
            before = figures["all MB"]
            yield figures
        history.add_day()
        yield _measure_lateness(harness, "alone: ")
        pruner = history.start_pruner("--at-leisure")
        yield _measure_lateness(harness, "forgetting: ")
        pruner.send_signal(signal.SIGTERM)
        pruner.communicate()


def _replace_day(harness: BenchmarkHarness, history: SyntheticHistory) -> Figures:
    """A day arrives, and the oldest one is pruned."""
    history.add_day()
    history.set_autovacuum(on=False)
    before, began = harness.read_usage(), time.perf_counter()
    pruner = history.start_pruner()
    output, _ = pruner.communicate()
    seconds, used = time.perf_counter() - began, harness.usage_since(before)
    deleted = json.loads(output)
    before = harness.read_usage()
    history.set_autovacuum(on=True)
    history.wait_for_autovacuum()
    vacuum = harness.usage_since(before)
    return {
        "runs forgotten per s": deleted["run"] / seconds,
        "PostgreSQL CPU µs per run": used.cpu["postgres"] / deleted["run"] * 1e6,
        "and to sweep, µs per run": vacuum.cpu["postgres"] / deleted["run"] * 1e6,
        **history.table_sizes(),
        "swept after s": vacuum.seconds,
    }


def _measure_lateness(harness: BenchmarkHarness, prefix: str) -> Figures:
    count = RATE * SECONDS
    first = time_after_storing(count)
    harness.store_tasks(count, first=first, spread=timedelta(seconds=SECONDS))
    harness.take_deliveries()
    start = first.timestamp()
    sleep_until(start)
    before = harness.read_usage()
    harness.wait_for_runs(count, before=start + SECONDS, timeout=DELIVERY_TIMEOUT)
    used = harness.usage_since(before)
    arrived = harness.take_deliveries()
    return {
        **arrived.lateness(prefix),
        f"{prefix}postgres % of a core": used.cpu["postgres"] / used.seconds * 100,
        **arrived.count_faults(count),
    }
