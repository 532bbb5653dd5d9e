"""What there is to do, in one statement: the beat's look before each tick.

Nearly all ticks of an idle service end here, so they cost one statement, which reads the
first entry of each index and nothing else, however much is stored.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.conf import settings

from scheduler_service.db.statements import prepared
from tasks_api.storage import schedule_statements

# A transaction that writes a fire time is over sooner than this: its statements are ended,
# and so is one that is left open.
MARGIN = timedelta(minutes=1)
# Seconds. A full look that takes so long is not made each time, but for a twentieth of the
# time, and after a minute in any case.
SLOW, SPARSELY, LONGEST = 0.02, 20, 60.0


class Floor(NamedTuple):
    """Where the first rows were: of what fires, of what waits, ends, and was changed."""

    fire_at: datetime
    wake_at: datetime
    ends_at: datetime
    change_id: int


_ALWAYS = datetime.min.replace(tzinfo=UTC)
GROUND = Floor(_ALWAYS, _ALWAYS, _ALWAYS, 0)


class Since(NamedTuple):
    """A floor for what is done after a look; None is at the beginning."""

    fire_at: datetime | None = None
    wake_at: datetime | None = None
    ends_at: datetime | None = None
    change_id: int | None = None


class Outlook(NamedTuple):
    """What a beat sees. May name what another one does first, and misses nothing."""

    # The clock that everything goes by.
    now: datetime
    # When somebody last edited schedules by the usual means: admin, shell, ORM.
    edited_at: datetime | None
    has_due_tasks: bool
    has_waking_runs: bool
    # Whether fire times have to be settled that a change of a schedule cut off.
    has_open_changes: bool
    # Such as are past their end and have not been ended.
    has_past_tasks: bool
    # Until a task is due that is not dispatched ahead, in seconds.
    next_exact_in: float
    # Below it there is nothing.
    floor: Floor


# What a beat goes by that could not look: there may be anything to do. Leases are not
# judged by it.
BLIND = Outlook(
    now=datetime(1970, 1, 1, tzinfo=UTC),
    edited_at=None,
    has_due_tasks=True,
    has_waking_runs=True,
    has_open_changes=True,
    has_past_tasks=True,
    next_exact_in=1.0,
    floor=GROUND,
)


def look(*, at_most: float, floor: Floor = GROUND) -> Outlook:
    """Look around; `next_exact_in` is `at_most` if nothing is due before."""
    with prepared() as cursor:
        cursor.execute(
            _LOOK,
            {
                "ahead": settings.SCHEDULER_LOOK_AHEAD,
                "at_most": at_most,
                "margin": MARGIN.total_seconds(),
                **floor._asdict(),
            },
        )
        *seen, fire_at, wake_at, ends_at, change_id = cursor.fetchone()
    return Outlook._make([*seen, Floor(fire_at, wake_at, ends_at, change_id)])


# By min(), which reads an index from its beginning. EXISTS might read the table instead,
# when many rows were due at the time of the last ANALYZE. Read once, for which OFFSET
# stands.
_LOOK = f"""
    SELECT clock_timestamp(), ({schedule_statements.LAST_EDIT}),
        coalesce(fire_at <= now() + make_interval(secs => %(ahead)s), false),
        coalesce(wake_at <= now(), false),
        change_id IS NOT NULL,
        coalesce(ends_at < now(), false),
        coalesce((
            SELECT extract(epoch FROM min(next_fire_at) - now()) FROM tasks_api_task
            WHERE overlap <> 'allow' AND next_fire_at IS NOT NULL
                AND next_fire_at > now()
                AND next_fire_at < now() + make_interval(secs => %(at_most)s)
        ), %(at_most)s)::float,
        least(fire_at, past), least(wake_at, past), least(ends_at, past),
        coalesce(change_id, (SELECT max(id) FROM tasks_api_schedulechange), 0)
    FROM (
        SELECT now() - make_interval(secs => %(margin)s) AS past, (
            SELECT min(next_fire_at) FROM tasks_api_task
            WHERE next_fire_at IS NOT NULL AND next_fire_at >= %(fire_at)s::timestamptz
        ) AS fire_at, (
            SELECT min(wake_at) FROM tasks_api_run
            WHERE wake_at IS NOT NULL AND wake_at >= %(wake_at)s::timestamptz
        ) AS wake_at, (
            SELECT min(ends_at) FROM tasks_api_task
            WHERE ended_at IS NULL AND next_fire_at IS NULL AND ends_at IS NOT NULL
                AND ends_at >= %(ends_at)s::timestamptz
        ) AS ends_at, (
            SELECT min(id) FROM tasks_api_schedulechange
            WHERE open_from IS NOT NULL AND id >= %(change_id)s::bigint
        ) AS change_id
        OFFSET 0
    ) AS first
"""  # noqa: S608 (a constant)


class Looks:
    """Looks that stay short while somebody's long transaction keeps dead rows in place.

    An entry of an index stays, and each look steps over it, until nobody can see its row
    any more. So when a full look is slow, others begin where it saw the first row; it is
    said anew after a while that is long beside what it takes, and a minute at most. What
    is stored with a fire time more than a minute in the past waits for that; everything
    else lies above the floor. While full looks are quick, each look is one.
    """

    def __init__(self, *, slow: float = SLOW) -> None:
        self._slow = slow
        self._full_at = 0.0
        self._floor: Floor | None = None

    def look(self, *, at_most: float) -> Outlook:
        began_at = time.monotonic()
        if self._floor is not None and began_at < self._full_at:
            return look(at_most=at_most, floor=self._floor)
        seen = look(at_most=at_most)
        took = time.monotonic() - began_at
        self._floor = seen.floor if took >= self._slow else None
        self._full_at = began_at + min(took * SPARSELY, LONGEST)
        return seen

    @property
    def since(self) -> Since:
        """Where to begin with what the last look has seen."""
        return Since() if self._floor is None else Since(*self._floor)
