"""The forecast of a lane: what comes, what it can bear, and how long its runs wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from scheduler_service.db.arrays import array
from tasks_api.domain.admission import Capacity
from tasks_api.domain.effort import TooMuch, allowance
from tasks_api.domain.exceptions import InvalidTask, ScheduleError
from tasks_api.domain.fire_counts import Buckets, FireTimeCounter, FireTimeGroup
from tasks_api.domain.lines import Horizon, Load, LoadChange, Moments, walk_line
from tasks_api.domain.schedules import MICROSECOND, Once
from tasks_api.domain.states import RunState
from tasks_api.models import Lane, Run
from tasks_api.services import lane_load_statements as statements
from tasks_api.services.forecast import MAX_GROUPS, MAX_STEPS, Series
from tasks_api.services.rated_lanes import capacity_of
from tasks_api.storage import fire_time_groups
from tasks_api.storage.fire_time_groups import GroupWindow

SECOND = timedelta(seconds=1)
# The most moments at which something comes: a second of a web process.
MAX_EVENTS = 300_000


@dataclass
class LaneForecast:
    """What comes in a lane by the index of the bucket; `waits` are in seconds.

    Without a rate there are no waits, and the capacity is None. `waiting` runs stand in
    the line already.
    """

    lane: Lane
    buckets: Buckets
    capacity: Capacity | None
    waiting: int
    all: Series = field(default_factory=Series)
    waits: dict[int, float] = field(default_factory=dict)

    @property
    def runs_per_bucket(self) -> float | None:
        """Return how many runs may start within a bucket."""
        if self.capacity is None:
            return None
        return self.capacity.rate * self.buckets.width.total_seconds()


def make_lane_forecast(lane: Lane, buckets: Buckets, *, now: datetime) -> LaneForecast:
    """Return what all tasks of a lane bring after now, whoever owns them.

    Raises InvalidTask that names `to` if that takes too long to count.
    """
    found = LaneForecast(lane, buckets, capacity_of(lane), _count_waiting(lane))
    first = max(buckets.start, now + MICROSECOND)
    if first >= buckets.end:
        return found
    loads = []
    try:
        with allowance(MAX_STEPS, TooMuch):
            counter = FireTimeCounter(buckets)
            for is_paused, group in _groups(lane, buckets, first, now):
                found.all.add(_count(counter, group), is_paused=is_paused)
                if not is_paused:
                    loads.append(Load(group.size, group.schedule, 0, group.last))
            loads += _add_one_time_tasks(found, first)
            _measure_waits(found, loads, first)
    except TooMuch:
        text = (
            "The fire times from from to to take too long to count; ask for less time"
        )
        raise InvalidTask("to", text) from None
    return found


def _count(counter: FireTimeCounter, group: FireTimeGroup) -> Counter[int]:
    try:
        return counter.count(group)
    except ScheduleError:
        # A schedule that cannot be computed has no fire times.
        return Counter()


def _count_waiting(lane: Lane) -> int:
    waiting = (RunState.PENDING, RunState.RETRYING)
    return Run.objects.filter(lane_id=lane.pk, state__in=waiting, is_next=False).count()


def _groups(
    lane: Lane, buckets: Buckets, first: datetime, now: datetime
) -> Iterator[tuple[bool, FireTimeGroup]]:
    """Yield the recurring tasks of a lane that fire in the same seconds."""
    seconds = Buckets(buckets.start, SECOND, (buckets.end - buckets.start) // SECOND)
    window = GroupWindow(seconds, first, now)
    values: dict[str, Any] = {
        "lane": lane.pk,
        "without": array([]),
        "limit": MAX_GROUPS + 1,
    }
    for read, statement in (
        (fire_time_groups.read_intervals, statements.FORECAST_INTERVALS),
        (fire_time_groups.read_crons, statements.FORECAST_CRONS),
        (fire_time_groups.read_on_calendars, statements.FORECAST_ON_CALENDARS),
    ):
        for number, (keys, group) in enumerate(read(statement, values, window)):
            if number >= MAX_GROUPS:
                raise TooMuch
            yield bool(keys[0]), group


def _add_one_time_tasks(found: LaneForecast, first: datetime) -> list[Load]:
    buckets = found.buckets
    values: dict[str, Any] = {
        "lane": found.lane.pk,
        "first": first,
        "last": buckets.end - MICROSECOND,
        "limit": MAX_EVENTS + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.ONE_TIME_IN_LANE, values)
        rows = cursor.fetchall()
    if len(rows) > MAX_EVENTS:
        raise TooMuch
    for at, is_paused, size in rows:
        index = max(0, buckets.index_of(at))
        found.all.add(Counter({index: size}), is_paused=is_paused)
    return [Load(size, Once(at)) for at, is_paused, size in rows if not is_paused]


def _measure_waits(found: LaneForecast, loads: list[Load], first: datetime) -> None:
    """Walk along the line that begins with the runs that wait now."""
    if found.capacity is None:
        return
    if found.waiting:
        loads = [Load(found.waiting, Once(first)), *loads]
    start = first.replace(microsecond=0)
    horizon = Horizon(start, found.buckets.end, start)
    waits = walk_line(
        LoadChange((), loads),
        Moments(horizon),
        rate=found.capacity.rate,
        max_events=MAX_EVENTS + 1,
    )
    for number, wait in enumerate(waits):
        if number >= MAX_EVENTS:
            raise TooMuch
        index = max(0, found.buckets.index_of(wait.moment))
        found.waits[index] = max(found.waits.get(index, 0.0), wait.seconds)
