"""What it costs to forget: days of history arrive and go, in turn, and sizes must level off."""

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

from tasks_api.ids import ID_FOR
from tests.acceptance.harness import ROOT, eventually
from tests.benchmarks import seed_data
from tests.benchmarks.delivery import PATIENCE
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import Bench, bench, sleep_until, soon

# Days of history that are kept, and tenants that share a day.
KEPT = 3
TENANTS = 20
# Periodic tasks that made the runs; a tenth as many more came from one-offs.
TASKS = 1000
ONE_OFFS = 0.1
# Fires a second, for how many seconds, while a day is forgotten.
RATE, SECONDS = 500, 10

DAY = timedelta(days=1)
SIZED = {
    "runs": "tasks_api_run",
    "attempts": "tasks_api_attempt",
    "tasks": "tasks_api_task",
    "schedules": "django_celery_beat_periodictask",
}

_TENANTS = """
    INSERT INTO accounts_tenant (name, callback_url, created_at)
    SELECT 'tenant ' || n, '', now() FROM generate_series(1, %s) n
"""
_SHARE_OUT = """
    UPDATE tasks_api_task task SET tenant_id = tenant.id
    FROM (SELECT id, row_number() OVER () AS n FROM accounts_tenant) tenant
    WHERE tenant.n = 1 + abs(hashtext(task.id::text)) %% %s
"""
_RUNS = """
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
_RUNS_OF_ONE_OFFS = """
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        attempt_count, lost_count, exclusive, started_at, finished_at)
    SELECT {id}, task.id, task.tenant_id, task.ended_at, 'succeeded', '', 1, 0, false,
        task.ended_at, task.ended_at
    FROM tasks_api_task task WHERE ended_at >= %(day)s::timestamptz
        AND ended_at < %(day)s::timestamptz + interval '1 day'
""".replace("{id}", ID_FOR.format(moment="task.ended_at", tenant_id="task.tenant_id"))
_ATTEMPTS = """
    INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, status_code,
        error, answer)
    SELECT run.id, 1, run.started_at, 20, 200, '', '{"ok": true}'
    FROM tasks_api_run run WHERE scheduled_for >= %(day)s::timestamptz
        AND scheduled_for < %(day)s::timestamptz + interval '1 day'
    ORDER BY run.id
"""
# As a one-off is whose request was answered at its moment.
_ENDED = {
    "next_fire_at": "NULL",
    "last_fire_at": "task.moment",
    "ended_at": "task.moment",
    "end_reason": "'completed'",
}


class History:
    """Days of a harness's history, the first of them so long ago that all are over."""

    def __init__(self, harness: Bench, runs: int) -> None:
        self._harness = harness
        self._runs = runs
        self._first = datetime.now(UTC).replace(hour=0, minute=0, second=0) - 25 * DAY
        self._days = itertools.count()
        self._oldest = self._first

    def begin(self, tenants: int = TENANTS) -> None:
        """Store the tasks that made it, of so many tenants; or of the harness's own user."""
        harness = self._harness
        harness.store(TASKS, first=seed_data.LATER, every=DAY)
        if tenants:
            self._say(_TENANTS, tenants)
            self._say(_SHARE_OUT, tenants)

    def arrive(self) -> None:
        """One more day."""
        day = self._first + next(self._days) * DAY
        one_offs = int(self._runs * ONE_OFFS)
        self._harness.store(one_offs, first=day, spread=DAY * 0.999, differences=_ENDED)
        values = {"day": day, "count": self._runs}
        with psycopg.connect(self._harness.postgres.url, autocommit=True) as connection:
            for statement in (_RUNS, _RUNS_OF_ONE_OFFS, _ATTEMPTS):
                connection.execute(statement, values)
            connection.execute("CHECKPOINT")

    def forget(self, *options: str) -> subprocess.Popen[bytes]:
        """Begin to delete the oldest day."""
        self._oldest += DAY
        now = self._oldest + KEPT * DAY
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
                "SCHEDULER_RETENTION_DAYS": str(KEPT),
                "SECRET_KEY": os.environ["SECRET_KEY"],
            },
            stdout=subprocess.PIPE,
        )

    def sweeping(self, on: bool) -> None:
        """Let the database sweep by itself, or not."""
        self._say(f"ALTER SYSTEM SET autovacuum = {'on' if on else 'off'}")
        self._say("SELECT pg_reload_conf()")

    def swept(self) -> None:
        """Wait until the dead rows of runs and attempts are gone."""
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

    def sizes(self) -> Figures:
        statement = "SELECT pg_table_size(%s), pg_indexes_size(%s)"
        found: Figures = {}
        for name, table in SIZED.items():
            rows, indexes = self._harness.query(statement, table, table)[0]
            found[f"{name} MB"] = rows / 2**20
            found[f"{name}' indexes MB"] = indexes / 2**20
        return {"all MB": sum(found.values()), **found}

    def _say(self, statement: str, *values: object) -> None:
        with psycopg.connect(self._harness.postgres.url, autocommit=True) as connection:
            connection.execute(statement, values or None)


def retention(day: int = 1_000_000, *, rounds: int) -> Iterator[Figures]:
    """{day} runs arrive and are forgotten for each day of 3 that are kept, a tenth of them of one-offs."""
    with bench() as harness:
        history = History(harness, day)
        history.begin()
        for _ in range(KEPT):
            history.arrive()
        # The second turn around finds the space that the first one left.
        before = 0.0
        for number in range(max(rounds, 2)):
            figures = _turn(harness, history)
            if number:
                figures["grown since the day before, %"] = (
                    figures["all MB"] / before - 1
                ) * 100
            before = figures["all MB"]
            yield figures
        history.arrive()
        yield _lateness(harness, "alone: ")
        pruner = history.forget("--at-leisure")
        yield _lateness(harness, "forgetting: ")
        pruner.send_signal(signal.SIGTERM)
        pruner.communicate()


def _turn(harness: Bench, history: History) -> Figures:
    """A day arrives and another one goes."""
    history.arrive()
    history.sweeping(False)
    before, began = harness.reading(), time.perf_counter()
    pruner = history.forget()
    said, _ = pruner.communicate()
    seconds, used = time.perf_counter() - began, harness.since(before)
    gone = json.loads(said)
    before = harness.reading()
    history.sweeping(True)
    history.swept()
    swept = harness.since(before)
    return {
        "runs forgotten per s": gone["run"] / seconds,
        "PostgreSQL CPU µs per run": used.cpu["postgres"] / gone["run"] * 1e6,
        "and to sweep, µs per run": swept.cpu["postgres"] / gone["run"] * 1e6,
        **history.sizes(),
        "swept after s": swept.seconds,
    }


def _lateness(harness: Bench, whose: str) -> Figures:
    count = RATE * SECONDS
    first = soon(count)
    harness.store(count, first=first, spread=timedelta(seconds=SECONDS))
    harness.arrivals()
    start = first.timestamp()
    sleep_until(start)
    before = harness.reading()
    harness.wait_for_runs(count, before=start + SECONDS, timeout=PATIENCE)
    used = harness.since(before)
    arrived = harness.arrivals()
    return {
        **arrived.lateness(whose),
        f"{whose}postgres % of a core": used.cpu["postgres"] / used.seconds * 100,
        **arrived.faults(count),
    }
