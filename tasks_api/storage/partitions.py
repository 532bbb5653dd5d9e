"""The partitions of history by day: list them, make them ahead, and drop them.

A partition holds the runs of a day in UTC, by the fire time in their ids; another one
holds the further attempts of these runs. Where the partition of a day is missing, rows
go to a default one, so nothing fails.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import (
    IntegrityError,
    OperationalError,
    ProgrammingError,
    connection,
    transaction,
)
from psycopg.errors import DeadlockDetected, DuplicateTable, LockNotAvailable

from scheduler_service.db import locks
from scheduler_service.db.statements import fetch_all
from tasks_api.domain.ids import first_id_at, moment_of
from tasks_api.storage.partition_statements import (
    COUNT_ROWS,
    CREATE_DAY_OF_ATTEMPTS,
    CREATE_DAY_OF_RUNS,
    DROP_TABLE,
    HAS_RUNS,
    IS_EMPTY,
    LIMIT_LOCK_WAIT,
    LIST_PARTITIONS,
    of_day,
    of_table,
)

logger = logging.getLogger(__name__)

RUNS = "tasks_api_run_over"
ATTEMPTS = "tasks_api_attempt"
# Runs in these tables are history, too, and deleted one by one.
LATE_RUNS = "tasks_api_run_late"
RUNS_BEFORE = "tasks_api_run_before"
ATTEMPTS_BEFORE = "tasks_api_attempt_before"
_ALL_RUNS = "tasks_api_run"

DAY = timedelta(days=1)
# So long may no worker keep house until rows go to the default partition.
DAYS_AHEAD = 7

# Days that this process has reported, each once.
_reported: set[datetime] = set()


class _Bounds(NamedTuple):
    table_name: str
    first: UUID | None
    until: UUID | None


class Day(NamedTuple):
    """The partition of a day, or of some days."""

    table: str
    since: datetime
    until: datetime


def list_days(parent: str) -> list[Day]:
    """Return the partitions of days, the oldest first."""
    return [
        Day(found.table_name, _moment(found.first), _moment(found.until))
        for found in _list_partitions(parent)
        if found.first is not None and found.until is not None
    ]


def list_plain_tables() -> list[str]:
    """Return the tables of runs that are over and belong to no partition of a day."""
    names = {found.table_name for found in _list_partitions(_ALL_RUNS)}
    others = [
        found.table_name for found in _list_partitions(RUNS) if found.first is None
    ]
    return [name for name in (RUNS_BEFORE, LATE_RUNS) if name in names] + others


def list_plain_tables_of_attempts() -> list[str]:
    """Return the tables of attempts that belong to no partition of a day."""
    found = _list_partitions(ATTEMPTS)
    return [each.table_name for each in found if each.first is None]


def has_old_table() -> bool:
    """Whether the runs of the release before have a table of their own."""
    return RUNS_BEFORE in list_plain_tables()


def make_days(*, now: datetime, since: datetime | None = None) -> None:
    """Make the partitions from a day on, or from yesterday, to some days ahead."""
    first = _midnight(since or now - DAY)
    count = (_midnight(now) - first) // DAY + DAYS_AHEAD + 1
    days = [first + number * DAY for number in range(count)]
    _make_missing(RUNS, CREATE_DAY_OF_RUNS, days)
    if since is None:
        _make_missing(ATTEMPTS, CREATE_DAY_OF_ATTEMPTS, days)


def count_days_ahead(*, now: datetime) -> int:
    """Return how many of the coming days have partitions, without a gap."""
    made = {day.since for day in list_days(RUNS)}
    day, count = _midnight(now) + DAY, 0
    while day in made:
        day, count = day + DAY, count + 1
    return count


def drop_day(day: Day) -> int | None:
    """Drop the partition of a day; return its number of rows.

    Returns None if others read it: then the next round tries again.
    """
    with connection.cursor() as cursor:
        cursor.execute(of_table(COUNT_ROWS, day.table))
        counted = cursor.fetchone()
    if counted is None or not _drop(day.table):
        return None
    logger.info("Dropped the history in %s.", day.table)
    return int(counted[0])


def drop_attempts_without_runs(*, now: datetime) -> None:
    """Drop the partitions of attempts that belong to days of which no run is left."""
    kept = {day.since for day in list_days(RUNS)}
    for day in list_days(ATTEMPTS):
        if day.since not in kept and day.until < now - DAY and not _has_runs(day):
            _drop(day.table)


def drop_empty_old_tables() -> None:
    """Drop the tables of the release before whose rows are all moved or deleted."""
    for parent, table in ((_ALL_RUNS, RUNS_BEFORE), (ATTEMPTS, ATTEMPTS_BEFORE)):
        if table not in {found.table_name for found in _list_partitions(parent)}:
            continue
        with connection.cursor() as cursor:
            cursor.execute(of_table(IS_EMPTY, table))
            [is_empty] = cursor.fetchone()
        if is_empty:
            _drop(table)


def _list_partitions(parent: str) -> list[_Bounds]:
    with connection.cursor() as cursor:
        cursor.execute(LIST_PARTITIONS, [parent])
        return fetch_all(cursor, _Bounds)


def _make_missing(parent: str, statement: str, days: list[datetime]) -> None:
    taken = [found for found in _list_partitions(parent) if found.until is not None]
    for day in days:
        first = first_id_at(day)
        if not any(
            (found.first is None or found.first <= first) and first < found.until
            for found in taken
            if found.until is not None
        ):
            _make_day(statement, day)


def _make_day(statement: str, day: datetime) -> None:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            if locks.try_acquire(locks.LockKind.PARTITIONS):
                cursor.execute(LIMIT_LOCK_WAIT)
                cursor.execute(of_day(statement, day, day + DAY))
    except OperationalError as error:
        _require_lock_conflict(error)
        # The next round tries again, days before the partition is needed.
        logger.warning("No partition is made for %s yet: %s", day.date(), error)
    except ProgrammingError as error:
        # Another worker has made it since we looked.
        if not isinstance(error.__cause__, DuplicateTable):
            raise
    except IntegrityError:
        # Rows of the day are in the default partition, and are deleted one by one.
        if day not in _reported:
            _reported.add(day)
            logger.warning("The default partition has rows of %s.", day.date())


def _drop(table: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(LIMIT_LOCK_WAIT)
            cursor.execute(of_table(DROP_TABLE, table))
    except OperationalError as error:
        _require_lock_conflict(error)
        logger.info("%s is not dropped yet: %s", table, error)
        return False
    return True


def _require_lock_conflict(error: OperationalError) -> None:
    if not isinstance(error.__cause__, LockNotAvailable | DeadlockDetected):
        raise error


def _has_runs(day: Day) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(HAS_RUNS, [first_id_at(day.since), first_id_at(day.until)])
        [found] = cursor.fetchone()
    return bool(found)


def _moment(run_id: UUID) -> datetime:
    return datetime.fromtimestamp(moment_of(run_id), tz=UTC)


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
