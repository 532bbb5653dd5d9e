"""Count the fire times of groups of tasks in buckets of time.

Tasks that fire alike within a window are one group: the cost grows with the number of
groups and buckets, and not with the number of tasks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from tasks_api.domain import effort
from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedules import (
    MICROSECOND,
    Cron,
    Interval,
    Part,
    fire_times_between,
)

DAY = timedelta(days=1)
# What groups share a walk of.
_Grid = Cron | Recurrence | AnyOf[Part] | OnCalendars


class Buckets(NamedTuple):
    """So many spans of time of the same width, one after the other."""

    start: datetime
    width: timedelta
    size: int

    @property
    def end(self) -> datetime:
        return self.start + self.width * self.size

    def index_of(self, moment: datetime) -> int:
        return (moment - self.start) // self.width

    def starts(self) -> Iterator[datetime]:
        return (self.start + index * self.width for index in range(self.size))


@dataclass(frozen=True)
class FireTimeGroup:
    """Tasks that fire alike from `first` to `last`, both included.

    The schedule has no start and no end of its own, unless it follows calendars. That of
    an interval starts with a fire time. With `fires_once`, only the first of the fire times counts.
    """

    size: int
    schedule: Interval | Cron | Recurrence | AnyOf[Part] | OnCalendars
    first: datetime
    last: datetime
    fires_once: bool = False


class FireTimeCounter:
    """Counts fire times in buckets; groups of the same cron expression share a walk.

    Spends a step for each fire time and each bucket that it looks at; see effort.py.
    """

    def __init__(self, buckets: Buckets) -> None:
        self.buckets = buckets
        self._walks: dict[tuple[_Grid, datetime, datetime], list[datetime]] = {}

    def count(self, group: FireTimeGroup) -> Counter[int]:
        """Return the fire times of a group of tasks by the index of their bucket."""
        if isinstance(group.schedule, OnCalendars):
            found = self._count_times(_on_calendars(group), timedelta())
        elif isinstance(group.schedule, Interval) and not group.fires_once:
            found = self._count_interval(group.schedule, group.first, group.last)
        else:
            found = self._count_times(self._fire_times(group), group.schedule.offset)
        effort.spend(len(found) + 1)
        if group.size == 1:
            return found
        return Counter({index: each * group.size for index, each in found.items()})

    def _count_interval(
        self, schedule: Interval, first: datetime, last: datetime
    ) -> Counter[int]:
        buckets = self.buckets
        at = schedule.first_from(max(first, buckets.start))
        last = min(last, buckets.end - MICROSECOND)
        found: Counter[int] = Counter()
        while at is not None and at <= last:
            index = buckets.index_of(at)
            in_bucket = min(
                last, buckets.start + (index + 1) * buckets.width - MICROSECOND
            )
            steps = (in_bucket - at) // schedule.every + 1
            found[index] += steps
            at += steps * schedule.every
        return found

    def _count_times(self, times: list[datetime], offset: timedelta) -> Counter[int]:
        """Count sorted times of a grid that lie in each bucket with the offset added."""
        found: Counter[int] = Counter()
        buckets, place = self.buckets, 0
        while place < len(times):
            index = buckets.index_of(times[place] + offset)
            if index >= buckets.size:
                break
            bucket_end = buckets.start + (index + 1) * buckets.width - offset
            following = bisect_left(times, bucket_end, lo=place)
            if index >= 0:
                found[index] += following - place
            place = following
        return found

    def _fire_times(self, group: FireTimeGroup) -> list[datetime]:
        """Return the fire times of a group, without their offset, in order."""
        offset = group.schedule.offset
        first, last = group.first - offset, group.last - offset
        if group.fires_once:
            at = replace(group.schedule, offset=timedelta()).first_from(first)
            return [at] if at is not None and at <= last else []
        assert not isinstance(group.schedule, Interval)
        grid = replace(group.schedule, offset=timedelta())
        times = self._walk(grid, first, last)
        return times[bisect_left(times, first) : bisect_right(times, last)]

    def _walk(self, grid: _Grid, first: datetime, last: datetime) -> list[datetime]:
        """Return the fire times of a grid in all buckets, and on days beside them."""
        start, end = self.buckets.start, self.buckets.end
        first = min(start, start + (first - start) // DAY * DAY)
        last = max(end, end - (end - last) // DAY * DAY)
        key = (grid, first, last)
        if key not in self._walks:
            self._walks[key] = list(_spend_on(fire_times_between(grid, first, last)))
        return self._walks[key]


def _on_calendars(group: FireTimeGroup) -> list[datetime]:
    times = fire_times_between(group.schedule, group.first, group.last)
    if group.fires_once:
        times = islice(times, 1)
    return list(_spend_on(times))


def _spend_on(times: Iterator[datetime]) -> Iterator[datetime]:
    for at in times:
        effort.spend(1)
        yield at
