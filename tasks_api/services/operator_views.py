"""Tell operators what tenants use, and what is stuck or overdue."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from scheduler_service.db.arrays import array
from scheduler_service.db.statements import AnyRow, fetch_all
from tasks_api.services import operator_statements as statements
from tasks_api.services.operator_statements import (
    FullTenant,
    OverdueTask,
    StuckRun,
    TenantUsage,
)

# The rows that each list shows, the oldest ones.
MAX_ROWS = 50
# Seconds for which a task may be due, or a run wait, before somebody should look.
PATIENCE = 30


class Stuck(NamedTuple):
    """What should not wait any longer, each list the oldest first."""

    overdue: list[OverdueTask]
    lapsed: list[StuckRun]
    waiting: list[StuckRun]
    full: list[FullTenant]


def usage_of(tenant_ids: Collection[int]) -> Mapping[int, TenantUsage]:
    """Return what each of these tenants uses, in one statement."""
    found = _fetch(statements.READ_USAGE, [array(tenant_ids)], TenantUsage)
    return {usage.tenant_id: usage for usage in found}


def find_stuck(*, workers: int) -> Stuck:
    """Find what is stuck or overdue, while so many workers are alive."""
    values = {
        "patience": PATIENCE,
        "limit": MAX_ROWS,
        "workers": workers,
        "places": settings.SCHEDULER_MAX_PER_TENANT,
    }
    return Stuck(
        _fetch(statements.FIND_OVERDUE_TASKS, values, OverdueTask),
        _fetch(statements.FIND_LAPSED_RUNS, values, StuckRun),
        _fetch(statements.FIND_WAITING_RUNS, values, StuckRun),
        _fetch(statements.FIND_FULL_TENANTS, values, FullTenant),
    )


def _fetch(statement: str, values: Any, row: type[AnyRow]) -> list[AnyRow]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return fetch_all(cursor, row)
