"""What a resumed task makes up for: which fire times of its pause fire."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from tasks_api.domain.schedules import (
    MAX_CATCH_UP,
    Missed,
    Schedule,
    find_crowd,
    first_after,
    sort_due,
)


class CatchUp(StrEnum):
    """Which fire times of a pause fire when the task resumes."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"

    @property
    def most(self) -> int:
        """Return how many of the fire times fire at most."""
        return {CatchUp.NONE: 0, CatchUp.LATEST: 1, CatchUp.ALL: MAX_CATCH_UP}[self]

    @property
    def missed_reason(self) -> str:
        """Return the reason of the older fire times, which are missed."""
        newest = "one is" if self.most == 1 else f"{self.most} are"
        return (
            f"Passed while the task was paused; only the newest {newest} made up for."
        )


class PassedFireTimes(NamedTuple):
    """The fire times of a pause, missed or firing, oldest first.

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
) -> PassedFireTimes:
    """Sort the fire times of a pause: the newest ones fire, and the others are missed.

    `first` is a fire time, and at or before `until`. One call sorts at most `limit` and
    `catch_up.most` fire times.
    """
    why = catch_up.missed_reason
    if crowd := find_crowd(schedule, first, until, spare=catch_up.most):
        missed = [Missed(crowd.first, crowd.reason(why))]
        left = _within(first_after(schedule, crowd.last), until)
        return PassedFireTimes(missed, (), left, covers_until=crowd.last)
    due = sort_due(schedule, since=first, now=until, limit=limit, most=catch_up.most)
    missed = [Missed(moment, why) for moment, _ in due.missed]
    return PassedFireTimes(missed, due.fires, _within(due.next_fire_at, until))


def _within(moment: datetime | None, until: datetime) -> datetime | None:
    return moment if moment is not None and moment <= until else None
