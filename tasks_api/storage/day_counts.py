"""Count the runs of tenants with a quota by the day, and read the counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import NamedTuple

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.storage import quota_statements as statements


class DayRuns(NamedTuple):
    """The runs of tenants that began in a day of UTC; the day is the database's."""

    day: date | None
    runs: Mapping[int, int]


def add_runs(runs: Mapping[int, int]) -> None:
    """Add runs to the present day of tenants. Deleted tenants are left out."""
    if runs:
        with prepared() as cursor:
            cursor.execute(statements.COUNT_RUNS, columns(sorted(runs.items())))


def read_runs(tenant_ids: Collection[int]) -> DayRuns:
    with prepared() as cursor:
        cursor.execute(statements.READ_COUNTS, [array(sorted(tenant_ids))])
        rows = cursor.fetchall()
    day = rows[0][0] if rows else None
    return DayRuns(day, {tenant_id: runs for _, tenant_id, runs in rows})


def delete_old_counts() -> None:
    with prepared() as cursor:
        cursor.execute(statements.DELETE_COUNTS)
