"""Ask the database, in one statement, what is due and when the next thing is.

The statement reads only the first entries of each index, so its cost does not grow with
the tables.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from scheduler_service.db.polling import Poller
from scheduler_service.db.statements import check_columns, prepared
from tasks_api.taking import statements

# A transaction that writes a fire time ends within this time: PostgreSQL cancels longer
# statements, and sessions that leave a transaction open.
LONGEST_TRANSACTION = timedelta(minutes=1)
_ALWAYS = datetime.min.replace(tzinfo=UTC)


class DueFloor(NamedTuple):
    """The moments of the first due task and of the first waiting run."""

    fire_at: datetime = _ALWAYS
    wake_at: datetime = _ALWAYS


class NextWork(NamedTuple):
    """The work that is left after a batch of tasks was taken."""

    # The database's clock.
    now: datetime
    has_waiting_runs: bool
    has_runs_in_lanes: bool
    # When the first task fires, and the first run is to be taken, that is not due yet.
    next_fire_at: datetime | None
    next_wake_at: datetime | None

    @property
    def next_at(self) -> datetime | None:
        return earlier(self.next_fire_at, self.next_wake_at)


class DueWork(NamedTuple):
    """The work that a poll found; another worker may take some of it first."""

    # The database's clock.
    now: datetime
    has_due_tasks: bool
    has_waiting_runs: bool
    has_runs_in_lanes: bool
    # When the first task fires, and the first run is to be taken, that is not due yet.
    next_fire_at: datetime | None
    next_wake_at: datetime | None
    # All work lies at or after the floor.
    floor: DueFloor

    @property
    def next_at(self) -> datetime | None:
        return earlier(self.next_fire_at, self.next_wake_at)


def earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(filter(None, (one, other)), default=None)


_COLUMNS = (*DueWork._fields[:-1], *DueFloor._fields)


def find_due(floor: DueFloor | None = None) -> DueWork:
    values = (floor or DueFloor())._asdict()
    values["margin"] = LONGEST_TRANSACTION.total_seconds()
    with prepared() as cursor:
        cursor.execute(statements.FIND_DUE, values)
        check_columns(cursor, _COLUMNS)
        *seen, fire_at, wake_at = cursor.fetchone()
    return DueWork._make([*seen, DueFloor(fire_at, wake_at)])


def make_poller() -> Poller[DueFloor, DueWork]:
    return Poller(find_due)
