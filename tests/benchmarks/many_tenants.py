"""Measures what very many tenants cost: what is done again and again, and a flood of some."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg

from tasks_api.storage.id_statements import ID_FOR
from tests.acceptance.harness import ROOT
from tests.benchmarks import seed_data
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import (
    BenchmarkHarness,
    benchmark_harness,
    sleep_until,
    time_after_storing,
)

# So many tasks wait, and as many runs, of so many tenants.
WAITING, FLOODING_TENANTS = 400_000, 100
# A flood is watched until so many requests have arrived.
WATCHED = 10_000
# So many tasks come due in a small tenant meanwhile, so far apart.
SMALL_TENANT_TASKS, INTERVAL = 10, timedelta(seconds=0.3)
# So long does a worker take to start.
STARTING_SECONDS = 10
# Each tenant has a quota, and every thousandth one a retention of its own.
_STORE_TENANTS = """
    INSERT INTO accounts_tenant (name, callback_url, created_at, max_runs_per_day,
        retention_days)
    SELECT 'tenant ' || n, '', now(), 1000000, CASE WHEN n %% 1000 = 1 THEN 60 END
    FROM generate_series(1, %s) n
"""
# The id of the only user of a tenant is that of the tenant and this number.
_USERS = 1 << 32
_STORE_USERS = """
    INSERT INTO accounts_user (id, tenant_id, username, name, role, password, first_name,
        last_name, email, is_superuser, is_staff, is_active, date_joined)
    SELECT {users} + id, id, name, name, 'member', '', '', '', '', false, false, true, now()
    FROM accounts_tenant WHERE name LIKE 'tenant %'
""".replace("{users}", str(_USERS))
_STORE_PROGRESS = """
    INSERT INTO tasks_api_rollupprogress (tenant_id, closed_from, closed_until, ended_until)
    SELECT id, date_trunc('hour', now()), date_trunc('hour', now()), now()
    FROM accounts_tenant ORDER BY id DESC OFFSET 10000 ON CONFLICT DO NOTHING
"""
_FIRST_TENANT = "SELECT min(id) FROM accounts_tenant WHERE name LIKE 'tenant %%'"
# The place of a tenant among some, by the id of the copy of a task.
_PLACE = "mod(abs(hashtext(task.task_id::text)::bigint), {count})"
_STORE_WAITING_RUNS = """
    INSERT INTO tasks_api_run_live (id, task_id, tenant_id, scheduled_for, state, reason,
        wake_at, attempt_count, lost_count, exclusive, by_hand)
    SELECT {id}, id, tenant_id,
        now() - interval '1 hour', 'pending', '', now() - interval '1 second', 0, 0, false, true
    FROM tasks_api_task WHERE next_fire_at < now() + interval '1 hour'
""".replace("{id}", ID_FOR.format(moment="now()", tenant_id="tenant_id"))
_FORGET_WAITING_RUNS = "TRUNCATE tasks_api_run_live"
_FORGET_DUE_TASKS = "UPDATE tasks_api_task SET next_fire_at = NULL WHERE next_fire_at < now() + interval '1 hour'"


def measure_tenants(tenants: int = 1_000_000, *, rounds: int) -> Iterator[Figures]:
    """What each process does again and again with {tenants} tenants that have a task each, of which the newest 10,000 have just come, while 400,000 due tasks and as many runs of 100 of them wait; then how soon a small tenant's tasks are delivered beside them."""
    with benchmark_harness() as harness:
        for name in ("worker", "beat"):
            harness.stop_process(harness.parts.pop(name), signal.SIGKILL)
        _store_tenants(harness, tenants)
        for _ in range(rounds):
            _store_waiting(harness)
            yield _probe(harness) | _measure_flood(harness)
            harness.stop_process(harness.parts["worker"], signal.SIGKILL)
            _execute(harness, _FORGET_WAITING_RUNS)
            _execute(harness, _FORGET_DUE_TASKS)


def _store_tenants(harness: BenchmarkHarness, tenants: int) -> None:
    _execute(harness, _STORE_TENANTS, tenants)
    _execute(harness, _STORE_USERS)
    harness.store_tasks(
        tenants,
        first=seed_data.FAR_FUTURE,
        columns=_columns_of_some(harness, tenants),
    )
    # As if the hours of all but the newest had been closed until now.
    _execute(harness, _STORE_PROGRESS)
    seed_data.vacuum_and_checkpoint(harness.postgres.url)


def _columns_of_some(harness: BenchmarkHarness, count: int) -> dict[str, str]:
    """The columns that give copies of a task to so many of the tenants."""
    first = harness.query(_FIRST_TENANT)[0][0]
    place = _PLACE.format(count=count)
    return {
        "tenant_id": f"{first} + {place}",
        "owner_id": f"{_USERS + first} + {place}",
    }


def _store_waiting(harness: BenchmarkHarness) -> None:
    harness.store_tasks(
        WAITING,
        first=datetime.now(UTC) - timedelta(minutes=1),
        spread=timedelta(seconds=30),
        urls=harness.target_urls(10),
        columns=_columns_of_some(harness, FLOODING_TENANTS),
    )
    _execute(harness, _STORE_WAITING_RUNS)
    seed_data.vacuum_and_checkpoint(harness.postgres.url)


def _probe(harness: BenchmarkHarness) -> Figures:
    command = [sys.executable, "-m", "tests.benchmarks.tenant_probe"]
    settings = {"DJANGO_SETTINGS_MODULE": "scheduler_service.settings"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**harness.environment, **settings},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: Figures = json.loads(done.stdout)
    return found


def _measure_flood(harness: BenchmarkHarness) -> Figures:
    """Start a worker, which finds what waits, and see what another tenant notices."""
    _execute(harness, _FORGET_WAITING_RUNS)
    small = "/small"
    token = harness.issue_other_tenant_token()
    # Among so many rows, a few more take long to store.
    first = time_after_storing(WAITING)
    harness.store_tasks(
        SMALL_TENANT_TASKS,
        first=first,
        spread=SMALL_TENANT_TASKS * INTERVAL,
        urls=harness.target_urls(1, small, after=10),
        token=token,
    )
    harness.take_deliveries()
    sleep_until(first.timestamp() - STARTING_SECONDS)
    harness.parts["worker"] = harness.start_part("worker")
    harness.wait_for_requests(1, until=lambda: True, timeout=60)
    began, before = time.time(), harness.read_usage()
    harness.wait_for_requests(
        WATCHED, until=lambda: _is_delivered(harness), timeout=120
    )
    used = harness.usage_since(before)
    arrived = harness.take_deliveries()
    of_small = arrived.for_path(small)
    return {
        "flood: delivered per s": len(arrived.rows) / (time.time() - began),
        **of_small.lateness("small tenant: "),
        **used.cost_per(len(arrived.rows), "delivery"),
        **of_small.count_faults(SMALL_TENANT_TASKS),
    }


def _is_delivered(harness: BenchmarkHarness) -> bool:
    """Whether the tasks of the small tenant are over."""
    statement = """
        SELECT count(*) FROM tasks_api_task task
        JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
        WHERE tenant.name = 'Beta' AND next_fire_at IS NOT NULL
    """
    return not harness.query(statement)[0][0]


def _execute(harness: BenchmarkHarness, statement: str, *values: object) -> None:
    with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
        connection.execute(statement.encode(), values or None)
