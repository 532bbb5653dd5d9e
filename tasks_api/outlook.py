"""What there is to do, in one statement: the beat's look before each tick.

Nearly all ticks of an idle service end here, so they cost one statement, which reads the
first entry of each index and nothing else, however much is stored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from django.conf import settings

from scheduler_service.statements import prepared
from tasks_api import periodic


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
)


def look(*, at_most: float) -> Outlook:
    """Look around; `next_exact_in` is `at_most` if nothing is due before."""
    with prepared() as cursor:
        cursor.execute(
            _LOOK, {"ahead": settings.SCHEDULER_LOOK_AHEAD, "at_most": at_most}
        )
        return Outlook._make(cursor.fetchone())


# By min(), which reads an index from its beginning. EXISTS might read the table instead,
# when many rows were due at the time of the last ANALYZE.
_LOOK = f"""
    SELECT clock_timestamp(), ({periodic.LAST_EDIT}),
        coalesce((
            SELECT min(next_fire_at) FROM tasks_api_task WHERE next_fire_at IS NOT NULL
        ) <= now() + make_interval(secs => %(ahead)s), false),
        coalesce((
            SELECT min(wake_at) FROM tasks_api_run WHERE wake_at IS NOT NULL
        ) <= now(), false),
        (SELECT min(id) FROM tasks_api_schedulechange WHERE open_from IS NOT NULL)
            IS NOT NULL,
        coalesce((
            SELECT min(ends_at) FROM tasks_api_task
            WHERE ended_at IS NULL AND next_fire_at IS NULL AND ends_at IS NOT NULL
        ) < now(), false),
        coalesce((
            SELECT extract(epoch FROM min(next_fire_at) - now()) FROM tasks_api_task
            WHERE overlap <> 'allow' AND next_fire_at IS NOT NULL
                AND next_fire_at > now()
                AND next_fire_at < now() + make_interval(secs => %(at_most)s)
        ), %(at_most)s)::float
"""  # noqa: S608 (a constant)
