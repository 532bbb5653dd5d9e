"""Ask, in one statement, whether there is anything to do: the beginning of each tick.

Nearly all ticks of an idle service end here. The statement reads the first entry of each
index and nothing else, however much is stored.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.conf import settings

from scheduler_service.db.statements import prepared
from tasks_api.scheduler import statements

# A transaction that writes a fire time ends within this: PostgreSQL ends statements that
# take longer, and sessions that leave a transaction open.
LONGEST_TRANSACTION = timedelta(minutes=1)
# A full poll that takes so many seconds is made less often: the beat spends a twentieth of
# its time on it, and makes one each minute in any case.
SLOW_SECONDS = 0.02
REST_RATIO = 20
MAX_REST_SECONDS = 60.0


class Floor(NamedTuple):
    """The first row of each index: of tasks that fire and end, runs that wait, and changes."""

    fire_at: datetime
    wake_at: datetime
    ends_at: datetime
    change_id: int


_ALWAYS = datetime.min.replace(tzinfo=UTC)
NO_FLOOR = Floor(_ALWAYS, _ALWAYS, _ALWAYS, 0)


class Since(NamedTuple):
    """Where the statements after a poll begin to read; None is the beginning of the index."""

    fire_at: datetime | None = None
    wake_at: datetime | None = None
    ends_at: datetime | None = None
    change_id: int | None = None


class PollResult(NamedTuple):
    """What a beat has to do. Another beat may do some of it first; nothing is missing."""

    # The database's clock.
    now: datetime
    # When schedules were last edited in the admin, a shell or the ORM.
    edited_at: datetime | None
    has_due_tasks: bool
    has_waking_runs: bool
    # Whether a change of a schedule left fire times that have no run yet.
    has_open_changes: bool
    # Tasks that are past their end and are not marked as ended.
    has_past_tasks: bool
    # Seconds until a task is due that may not be dispatched ahead.
    next_exact_in: float
    # No row with work lies before it.
    floor: Floor


# The result for a beat that could not ask: there may be anything to do. No lease is judged
# by its clock.
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
    """Ask once; `next_exact_in` is `at_most` if nothing is due before."""
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

    PostgreSQL keeps the index entry of a dead row, and each poll steps over it, as long as
    any transaction may still see the row. So after a slow full poll, the next ones begin
    where it found the first row. A full poll is made again after a rest that is long
    compared with what it takes, and after a minute at most. Only a row that is stored with
    a fire time more than a minute in the past has to wait for that one; every other row
    lies above the floor. While full polls are quick, each poll is a full one.
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
        """Where to begin with the work that the last poll found."""
        return Since() if self._floor is None else Since(*self._floor)
