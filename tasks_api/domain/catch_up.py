"""What a task makes up for: which fire times of its past fire after all."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from tasks_api.domain.schedules import (
    MAX_CATCH_UP,
    Missed,
    Schedule,
    find_crowd,
    first_after,
    missed_reason,
    sort_due,
)
from tasks_api.domain.specs import Misfire


class CatchUp(StrEnum):
    """Which of the passed fire times fire: those of a pause, or those that were due."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"

    @property
    def most(self) -> int:
        """Return how many of the fire times fire at most."""
        return {CatchUp.NONE: 0, CatchUp.LATEST: 1, CatchUp.ALL: MAX_CATCH_UP}[self]

    @property
    def missed_reason(self) -> str:
        """Return the reason of a pause's older fire times, which are missed."""
        newest = "one is" if self.most == 1 else f"{self.most} are"
        return (
            f"Passed while the task was paused; only the newest {newest} made up for."
        )


def grace_of(
    misfire: str, catchup_window: int | None, *, misfire_grace: int
) -> timedelta | None:
    """Return how late a fire time of a task may be and still fire; None: no limit.

    The arguments are the task's policies, and the seconds of SCHEDULER_MISFIRE_GRACE.
    """
    if misfire == Misfire.SKIP:
        return timedelta(seconds=misfire_grace)
    if catchup_window is None:
        return None
    return timedelta(seconds=max(misfire_grace, catchup_window))


class PassedFireTimes(NamedTuple):
    """Passed fire times, missed or firing, oldest first.

    `covers_until` is set if the only missed one stands for all up to that moment.
    `open_from` is the first fire time that is left for the next call.
    """

    missed: list[Missed]
    fires: tuple[datetime, ...]
    open_from: datetime | None
    covers_until: datetime | None = None


def sort_passed(
    schedule: Schedule,
    catch_up: CatchUp,
    *,
    first: datetime,
    until: datetime,
    limit: int,
    grace: timedelta | None = None,
    why: str = "",
) -> PassedFireTimes:
    """Sort passed fire times: the newest ones fire, and the others are missed.

    `first` is a fire time, and at or before `until`. With a `grace`, fire times that are
    older than that at `until` are missed, too. `why` is the reason of the missed ones;
    without it, each has the one that a worker would have given it at `until`. One call
    sorts at most `limit` and `catch_up.most` fire times.
    """
    most = catch_up.most
    if crowd := find_crowd(schedule, first, until, spare=most):
        text = why or missed_reason(schedule, crowd.first, until, grace, most)
        missed = [Missed(crowd.first, crowd.reason(text))]
        left = _within(first_after(schedule, crowd.last), until)
        return PassedFireTimes(missed, (), left, covers_until=crowd.last)
    due = sort_due(
        schedule, since=first, now=until, limit=limit, grace=grace, most=most
    )
    missed = [Missed(moment, why or reason) for moment, reason in due.missed]
    return PassedFireTimes(missed, due.fires, _within(due.next_fire_at, until))


def _within(moment: datetime | None, until: datetime) -> datetime | None:
    return moment if moment is not None and moment <= until else None
