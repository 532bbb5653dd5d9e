"""Ask the database, in one statement, whether a tick has work to do.

Nearly all ticks of an idle service end here. The statement reads only the first entry
of each index, so its cost does not grow with the tables.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from scheduler_service.db.polling import Poller
from scheduler_service.db.statements import check_columns, prepared
from tasks_api.scheduler import statements
from tasks_api.taking.due_poll import LONGEST_TRANSACTION

_ALWAYS = datetime.min.replace(tzinfo=UTC)


class Floor(NamedTuple):
    """The first row of each index.

    Due tasks, waiting and stuck runs, past tasks, pauses that end, and changes.
    """

    fire_at: datetime = _ALWAYS
    wait_at: datetime = _ALWAYS
    wake_at: datetime = _ALWAYS
    ends_at: datetime = _ALWAYS
    resume_at: datetime = _ALWAYS
    change_id: int = 0


class PollResult(NamedTuple):
    """The work that a poll found; another beat may do some of it first."""

    # The database's clock.
    now: datetime
    # The moment of the last edit of schedules in the admin, a shell or the ORM.
    edited_at: datetime | None
    # When the first task or waiting run is due.
    due_at: datetime | None
    # Whether workers have left a recurring task for too long.
    has_overdue_tasks: bool
    # Whether leases or deadlines are over, or a run in line is to be looked at.
    has_stuck_runs: bool
    # Whether a schedule change has fire times that have no run yet.
    has_open_changes: bool
    # Whether tasks are past their end and not marked as ended.
    has_past_tasks: bool
    # Whether paused tasks are to resume.
    has_pauses_that_are_over: bool
    # Whether notices are due, of which messages are to be made.
    has_due_notices: bool
    # Whether tasks are to end because nobody renewed the bounds of their token.
    has_lapsed_bounds: bool
    # Whether runs wait for too long, and calendars have held some back lately.
    has_late_runs_on_calendars: bool
    # All work lies at or after the floor.
    floor: Floor


# The result if the poll failed: every kind of work may be there. Its clock is so early
# that no lease expires by it.
UNKNOWN_RESULT = PollResult(
    now=datetime(1970, 1, 1, tzinfo=UTC),
    edited_at=None,
    due_at=None,
    has_overdue_tasks=True,
    has_stuck_runs=True,
    has_open_changes=True,
    has_past_tasks=True,
    has_pauses_that_are_over=True,
    has_due_notices=True,
    has_lapsed_bounds=True,
    has_late_runs_on_calendars=True,
    floor=Floor(),
)
_COLUMNS = (*PollResult._fields[:-1], *Floor._fields)


def find_work(floor: Floor | None = None) -> PollResult:
    values: dict[str, Any] = {"margin": LONGEST_TRANSACTION.total_seconds()}
    with prepared() as cursor:
        cursor.execute(statements.FIND_WORK, values | (floor or Floor())._asdict())
        check_columns(cursor, _COLUMNS)
        row = cursor.fetchone()
    fields = len(Floor._fields)
    return PollResult._make([*row[:-fields], Floor._make(row[-fields:])])


def make_poller() -> Poller[Floor, PollResult]:
    return Poller(find_work)
