"""Ask the database, in one statement, whether a tick has work to do.

Nearly all ticks of an idle service end here. The statement reads only the first entry
of each index, so its cost does not grow with the tables.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.conf import settings

from scheduler_service.db.statements import prepared
from tasks_api.scheduler import statements

# A transaction that writes a fire time ends within this time: PostgreSQL cancels longer
# statements, and sessions that leave a transaction open.
LONGEST_TRANSACTION = timedelta(minutes=1)
# A beat makes full polls less often if one takes so many seconds: it spends a twentieth
# of its time on them, and makes one each minute in any case.
SLOW_SECONDS = 0.02
REST_RATIO = 20
MAX_REST_SECONDS = 60.0


class Floor(NamedTuple):
    """The first row of each index: due and past tasks, waiting runs, open changes."""

    fire_at: datetime
    wake_at: datetime
    ends_at: datetime
    change_id: int


_ALWAYS = datetime.min.replace(tzinfo=UTC)
NO_FLOOR = Floor(_ALWAYS, _ALWAYS, _ALWAYS, 0)


class Since(NamedTuple):
    """The places where statements begin to read; None: the beginning of the index."""

    fire_at: datetime | None = None
    wake_at: datetime | None = None
    ends_at: datetime | None = None
    change_id: int | None = None


class PollResult(NamedTuple):
    """The work that a poll found; another beat may do some of it first."""

    # The database's clock.
    now: datetime
    # The moment of the last edit of schedules in the admin, a shell or the ORM.
    edited_at: datetime | None
    has_due_tasks: bool
    has_waking_runs: bool
    # Whether a schedule change has fire times that have no run yet.
    has_open_changes: bool
    # Whether tasks are past their end and not marked as ended.
    has_past_tasks: bool
    # Seconds until the next task is due that dispatch must not fire ahead.
    next_exact_in: float
    # All work lies at or after the floor.
    floor: Floor


# The result if the poll failed: every kind of work may be there. Its clock is so early
# that no lease expires by it.
UNKNOWN_RESULT = PollResult(
    now=datetime(1970, 1, 1, tzinfo=UTC),
    edited_at=None,
    has_due_tasks=True,
    has_waking_runs=True,
    has_open_changes=True,
    has_past_tasks=True,
    next_exact_in=1.0,
    floor=NO_FLOOR,
)


def find_work(*, at_most: float, floor: Floor = NO_FLOOR) -> PollResult:
    """Poll once; `next_exact_in` is `at_most` if no task is due before."""
    with prepared() as cursor:
        cursor.execute(
            statements.FIND_WORK,
            {
                "ahead": settings.SCHEDULER_LOOK_AHEAD,
                "at_most": at_most,
                "margin": LONGEST_TRANSACTION.total_seconds(),
                **floor._asdict(),
            },
        )
        *seen, fire_at, wake_at, ends_at, change_id = cursor.fetchone()
    return PollResult._make([*seen, Floor(fire_at, wake_at, ends_at, change_id)])


class Poller:
    """Keeps polls short while a long transaction keeps dead rows in the indexes.

    PostgreSQL keeps the index entry of a dead row, and each poll steps over it, as long
    as any transaction may still see the row. So after a slow full poll, the next polls
    begin at its first row, the floor. The next full poll comes after a rest of twenty
    times its duration, and after a minute at most. Only a row that is stored with a
    fire time more than a minute in the past has to wait for a full poll; every other
    row lies above the floor. While full polls are quick, each poll is a full one.
    """

    def __init__(self, *, slow: float = SLOW_SECONDS) -> None:
        self._slow = slow
        self._full_at = 0.0
        self._floor: Floor | None = None

    def find_work(self, *, at_most: float) -> PollResult:
        began_at = time.monotonic()
        if self._floor is not None and began_at < self._full_at:
            return find_work(at_most=at_most, floor=self._floor)
        seen = find_work(at_most=at_most)
        took = time.monotonic() - began_at
        self._floor = seen.floor if took >= self._slow else None
        self._full_at = began_at + min(took * REST_RATIO, MAX_REST_SECONDS)
        return seen

    @property
    def since(self) -> Since:
        """Return where the statements for the work of the last poll begin to read."""
        return Since() if self._floor is None else Since(*self._floor)
