"""Measures what pruning costs: days of history arrive and go, and sizes must level off."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg

from tasks_api.domain.states import LATE_AFTER
from tasks_api.storage.id_statements import ID_FOR
from tasks_api.storage.partition_statements import (
    CREATE_DAY_OF_ATTEMPTS,
    CREATE_DAY_OF_RUNS,
    of_day,
)
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
# A run that is over, with its first attempt.
_FIRST = """
    stage, first_started_at, first_duration_ms, first_status_code, first_error,
    first_answer
"""
_FIRST_VALUES = """'over', {moment}, 20, 200, '', '{{"ok": true}}'"""
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
        attempt_count, lost_count, exclusive, started_at, finished_at, {first})
    SELECT {id}, task.id, task.tenant_id, fire.moment, 'succeeded', '', 1, 0, false,
        fire.moment, fire.moment + interval '20 ms', {first_values}
    FROM fire JOIN task ON task.n = fire.task ORDER BY fire.moment
"""
_INSERT_ONE_OFF_RUNS = """
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        attempt_count, lost_count, exclusive, started_at, finished_at, {first})
    SELECT {id}, task.id, task.tenant_id, task.ended_at, 'succeeded', '', 1, 0, false,
        task.ended_at, task.ended_at, {first_values}
    FROM tasks_api_task task WHERE ended_at >= %(day)s::timestamptz
        AND ended_at < %(day)s::timestamptz + interval '1 day'
"""


def _complete(statement: str, moment: str) -> str:
    return (
        statement.replace(
            "{id}", ID_FOR.format(moment=moment, tenant_id="task.tenant_id")
        )
        .replace("{first}", _FIRST)
        .replace("{first_values}", _FIRST_VALUES.format(moment=moment))
    )


# A partitioned table has the sizes of its partitions.
_SIZES = """
    SELECT sum(pg_table_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint FROM pg_class
    WHERE oid = %s::regclass
        OR oid IN (SELECT relid FROM pg_partition_tree(%s) WHERE isleaf)
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
            for statement in (CREATE_DAY_OF_RUNS, CREATE_DAY_OF_ATTEMPTS):
                connection.execute(of_day(statement, day, day + DAY).encode())
            connection.execute(_complete(_INSERT_RUNS, "fire.moment").encode(), values)
            connection.execute(
                _complete(_INSERT_ONE_OFF_RUNS, "task.ended_at").encode(), values
            )
            # As autovacuum does while a day is written.
            connection.execute(of_day("VACUUM (ANALYZE) tasks_api_run_{day}", day, day))
            connection.execute("CHECKPOINT")

    def start_pruner(self, *options: str) -> subprocess.Popen[bytes]:
        """Start to delete the oldest day, and the one-offs that ended in it."""
        self._oldest += DAY
        # One-offs wait for as long as the runs of a day may.
        now = self._oldest + RETENTION_DAYS * DAY + DAY + LATE_AFTER
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
        """Wait until the dead rows of tasks are gone."""
        since = datetime.now(UTC)
        statement = """
            SELECT count(*) FROM pg_stat_user_tables
            WHERE relname = 'tasks_api_task' AND last_autovacuum > %s
        """
        eventually(
            lambda: self._harness.query(statement, since)[0][0] == 1,
            timeout=300,
            every=0.5,
        )

    def table_sizes(self) -> Figures:
        found: Figures = {}
        for name, table in TABLES.items():
            rows, indexes = self._harness.query(_SIZES, table, table)[0]
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
        yield measure_lateness(harness, "alone: ")
        pruner = history.start_pruner("--at-leisure")
        yield measure_lateness(harness, "forgetting: ")
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


def measure_lateness(
    harness: BenchmarkHarness,
    prefix: str,
    meanwhile: Callable[[], object] | None = None,
) -> Figures:
    """Fire tasks for some seconds; do something else when a third of them is over."""
    count = RATE * SECONDS
    first = time_after_storing(count)
    harness.store_tasks(count, first=first, spread=timedelta(seconds=SECONDS))
    harness.take_deliveries()
    start = first.timestamp()
    sleep_until(start)
    before = harness.read_usage()
    if meanwhile is not None:
        time.sleep(SECONDS / 3)
        meanwhile()
    harness.wait_for_runs(count, before=start + SECONDS, timeout=DELIVERY_TIMEOUT)
    used = harness.usage_since(before)
    arrived = harness.take_deliveries()
    return {
        **arrived.lateness(prefix),
        f"{prefix}postgres % of a core": used.cpu["postgres"] / used.seconds * 100,
        **arrived.count_faults(count),
    }
