"""Times what processes do again and again, in milliseconds of the fastest of some calls.

    python -m tests.benchmarks.tenant_probe

It prints a JSON object. The environment names the database.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

from django.db import connection

import tests.benchmarks.django_setup  # noqa: F401 (the imports below need it)
from accounts.models import Tenant
from accounts.services import load_delivery_limits
from scheduler_service.db import clock
from tasks_api.monitoring.collector_statements import COUNT_WAITING_RUNS
from tasks_api.scheduler import overdue, poll, rescue
from tasks_api.services import rollups
from tasks_api.storage import retention
from tasks_api.taking import due_poll
from tasks_api.taking.room import Room
from tasks_api.taking.tenant_shares import TenantShares
from tasks_api.taking.tenant_statements import TENANTS_OF_RUNS, TENANTS_OF_TASKS
from tasks_api.worker.capacity import MAX_KNOWN

CALLS = 5


def close_hours(tenants: Iterator[int]) -> None:
    """Close an hour of the next tenant, as if it had just passed."""
    rollups.close_hours(next(tenants), now=clock.now() + timedelta(hours=1))


def main() -> None:
    known = list(Tenant.objects.values_list("pk", flat=True)[:MAX_KNOWN])
    tasks, runs = TenantShares(TENANTS_OF_TASKS), TenantShares(TENANTS_OF_RUNS)
    calls: dict[str, Callable[[], object]] = {
        "worker: limits of tenants": lambda: load_delivery_limits(known),
        "worker: what is due": due_poll.find_due,
        "worker: shares of tasks": lambda: tasks.divide(Room()),
        "worker: shares of runs": lambda: runs.divide(Room()),
        "beat: what there is to do": poll.find_work,
        "beat: overdue tasks": overdue.let_wait,
        "beat: runs to rescue": rescue.rescue_runs,
        "metrics: lag of retention": lambda: retention.lag(now=clock.now()),
        "metrics: lag of sums": lambda: rollups.lag(now=clock.now()),
        "metrics: waiting runs": count_waiting,
        "housekeeping: retention": prune,
        "housekeeping: sums of hours": sum_up,
        "housekeeping: hours of a tenant": partial(
            # The first ones have tasks that are due, so their hours stay open.
            close_hours,
            reversed(known),
        ),
    }
    found = {f"{name} ms": milliseconds(call) for name, call in calls.items()}
    sys.stdout.write(json.dumps(found))


def milliseconds(call: Callable[[], object]) -> float:
    durations = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call()
        durations.append(time.perf_counter() - began)
    # Other work on the machine makes some calls slower, and none faster.
    return min(durations) * 1000


def count_waiting() -> None:
    with connection.cursor() as cursor:
        cursor.execute(COUNT_WAITING_RUNS)
        cursor.fetchall()


def prune() -> None:
    retention.prune(now=clock.now(), pause=lambda _: None)


def sum_up() -> None:
    """A round of sums that begins for some new tenants and closes the hours of one."""
    rollups.keep_rollups(now=clock.now(), pause=lambda _: True)


if __name__ == "__main__":
    main()
