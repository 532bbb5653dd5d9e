"""Copy the history of a tenant to its target, most of it while the tenant still lives.

A run that was over within LATE_AFTER of its fire time stands in the partition of its day,
and is never changed. So nothing is added to an hour of fire times that ended longer ago:
it is closed. Closed hours are copied before the tenant is frozen, each in a transaction of
the target. While it is frozen, each hour is compared once more, and one in which retention
or an erasure has deleted runs is copied again.

Nobody notes what was copied: an hour is copied if it differs. So a copy that was
interrupted goes on, and the rows of one that was given up are overwritten or cleared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from scheduler_service.db.statements import with_limit
from tasks_api.domain.ids import id_range
from tasks_api.domain.states import LATE_AFTER
from tasks_api.moving import part_statements as statements
from tasks_api.moving.copying import PartTotals, copy_part, sum_up
from tasks_api.moving.databases import as_default
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.parts import Columns, Part, closed_runs, further_attempts
from tasks_api.services.stats import floor_hour

Report = Callable[[str], object]

HOUR = timedelta(hours=1)
# The transaction that ends a run may take so long.
MARGIN = timedelta(minutes=5)
# Rounds over all hours before the freeze. The second one finds what was deleted meanwhile.
MAX_ROUNDS = 3
# Rows that one statement deletes.
BATCH_SIZE = 2000

HourTotals = dict[datetime, PartTotals]


class ClosedHistory(NamedTuple):
    """The hours of a tenant's runs to which nothing is added, before `until`."""

    tenant_id: int
    columns: Columns
    until: datetime
    # The database in which the tenant lives.
    home: BaseDatabaseWrapper

    def runs_of(self, hour: datetime) -> Part:
        return closed_runs(self.tenant_id, self.columns, hour, hour + HOUR)

    @property
    def attempts(self) -> Part:
        return further_attempts(self.tenant_id, self.columns, self.until)

    @property
    def all_attempts(self) -> Part:
        return further_attempts(self.tenant_id, self.columns)

    def hours(self) -> HourTotals:
        """The totals of each hour in the default database."""
        until_id = id_range(None, self.until)[1]
        values: dict[str, Any] = {
            "tenant": self.tenant_id,
            "until": self.until,
            "until_id": until_id,
        }
        with connection.cursor() as cursor:
            cursor.execute(statements.SUM_UP_HOURS, values)
            return {hour: PartTotals(*totals) for hour, *totals in cursor.fetchall()}


def closed_until(now: datetime) -> datetime:
    return floor_hour(now - LATE_AFTER - MARGIN)


def copy_ahead(
    closed: ClosedHistory, target: BaseDatabaseWrapper, report: Report
) -> None:
    """Copy the closed hours of a tenant that lives, each in a transaction of its own."""
    for _ in range(MAX_ROUNDS):
        with as_default(target):
            hours = _find_differing(closed)
        for hour in hours:
            with _snapshot(closed.home), as_default(target), transaction.atomic():
                rows = _replace(closed, hour)
            report(f"history of {hour:%Y-%m-%d %H:%M}: {rows} runs")
        if not hours:
            break
    with _snapshot(closed.home), as_default(target), transaction.atomic():
        _complete_attempts(closed)


def complete(closed: ClosedHistory, report: Report) -> None:
    """Make the closed hours in the default database the same as at home, and verify them.

    The caller has a snapshot of the home and a transaction here.
    """
    for hour in _find_differing(closed):
        rows = _replace(closed, hour)
        report(f"history of {hour:%Y-%m-%d %H:%M} again: {rows} runs")
    _complete_attempts(closed)


def clear(tenant_id: int) -> int:
    """Delete what was copied ahead of a tenant that never arrived; returns the runs."""
    _execute(statements.CLEAR_ATTEMPTS, {"tenant": tenant_id})
    gone, last = 0, BATCH_SIZE
    statement = with_limit(statements.CLEAR_RUNS, BATCH_SIZE)
    while last == BATCH_SIZE:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, {"tenant": tenant_id})
            last = cursor.rowcount
        gone += last
    return gone


@contextmanager
def _snapshot(home: BaseDatabaseWrapper) -> Iterator[None]:
    with as_default(home), transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute(statements.READ_FROM_SNAPSHOT)
        yield


def _find_differing(closed: ClosedHistory) -> list[datetime]:
    """The hours that are not the same at home and in the default database."""
    with as_default(closed.home):
        wanted = closed.hours()
    found = closed.hours()
    hours = wanted.keys() | found.keys()
    return sorted(hour for hour in hours if wanted.get(hour) != found.get(hour))


def _replace(closed: ClosedHistory, hour: datetime) -> int:
    """Copy the runs of an hour in the place of those that are there; returns how many."""
    first_id, until_id = id_range(hour, hour + HOUR)
    values = {
        "tenant": closed.tenant_id,
        "hour": hour,
        "first_id": first_id,
        "until_id": until_id,
    }
    _execute(statements.DELETE_HOUR, values)
    return _copy(closed, closed.runs_of(hour))


def _complete_attempts(closed: ClosedHistory) -> None:
    part = closed.attempts
    with as_default(closed.home):
        wanted = sum_up(part.compared)
    # All others come with the arrival; some may have lost their runs.
    if sum_up(closed.all_attempts.compared) != wanted:
        _execute(statements.CLEAR_ATTEMPTS, {"tenant": closed.tenant_id})
        _copy(closed, part)


def _copy(closed: ClosedHistory, part: Part) -> int:
    with as_default(closed.home):
        wanted = sum_up(part.compared)
    rows = copy_part(part, closed.home)
    if sum_up(part.compared) != wanted:
        raise MoveRefused(f"{part.name} is not the same at the target.")
    return rows


def _execute(statement: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
