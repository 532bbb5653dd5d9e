"""Backfills: the runs that a user asks for of slots, which are fire times of before.

A slot gets one run, and the runs are sent one after the other at a pace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tasks_api.domain.schedules import MICROSECOND

SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
_UNITS = {
    "second": SECOND,
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
_PACE = re.compile(rf"([1-9][0-9]{{0,5}})/({'|'.join(_UNITS)})", re.ASCII)
MAX_PER_SECOND = 100
# A backfill takes no longer than the partitions of history are made ahead.
MAX_DURATION = timedelta(days=6)


class Which(StrEnum):
    """The slots that a backfill is about."""

    # Those that the schedules in force then had and of which no run succeeded.
    MISSED = "missed"
    # Those of the present schedule, whatever became of them.
    ALL = "all"


@dataclass(frozen=True)
class Pace:
    """So many runs in a second, a minute, an hour or a day, in equal distances."""

    count: int
    unit: str

    @property
    def distance(self) -> timedelta:
        return _UNITS[self.unit] / self.count

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"


def parse_pace(text: object) -> Pace:
    """Read a pace such as 20/minute. Raises ValueError with a clause."""
    found = _PACE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(
            "should be a number of runs per second, minute, hour or day, such as 20/minute"
        )
    pace = Pace(int(found[1]), found[2])
    if pace.distance < SECOND / MAX_PER_SECOND:
        raise ValueError(f"should be at most {MAX_PER_SECOND}/second")
    return pace


DEFAULT_PACE = Pace(60, "minute")


def send_times(
    count: int, *, begin: datetime, pace: Pace, apart_from: Iterable[datetime]
) -> Iterator[datetime]:
    """Yield so many moments at which runs are sent, a distance apart.

    No moment is a fire time of the schedules to which the others belong, because a task
    has one run for each: all fire times of a schedule end with the same microseconds, and
    these moments with others.
    """
    taken = {moment.microsecond % 1000 for moment in apart_from}
    last = next(last for last in range(1, 1000) if last not in taken)
    for number in range(count):
        at = begin + number * pace.distance
        yield at - at.microsecond % 1000 * MICROSECOND + last * MICROSECOND
