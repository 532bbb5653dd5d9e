"""The line of a lane: what waits while more runs are due than its rate lets start.

The line is a fluid. It grows when fire times come, and shrinks by the rate. Tasks that
fire alike are one load, so the cost grows with the number of different schedules.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import groupby, islice
from math import lcm
from operator import itemgetter
from typing import NamedTuple

from tasks_api.domain.schedules import (
    FOREVER,
    MICROSECOND,
    Cron,
    Interval,
    Schedule,
    fire_times_between,
    first_after,
)

SECOND, DAY, WEEK = timedelta(seconds=1), timedelta(days=1), timedelta(weeks=1)
# The most events of one walk along a line; it ends with the last of them.
MAX_EVENTS = 60_000
_PER_SECOND = SECOND // MICROSECOND
# The seconds after which a cron expression repeats itself, by its first field that is
# not a star; clock changes aside.
_CRON_PERIODS = {1: timedelta(hours=1), 2: DAY}


@dataclass(frozen=True)
class Load:
    """Tasks that fire alike: each moment of their schedule is due `size` times.

    The runs of a moment come evenly over the `window` seconds after it, or all at once
    without a window. No moment after `last` counts.
    """

    size: int
    schedule: Schedule
    window: int = 0
    last: datetime | None = None

    def with_window(self, seconds: int) -> Load:
        return replace(self, window=seconds)


class LoadChange(NamedTuple):
    """The loads of a lane that a change keeps, those that it brings, and those that go."""

    kept: Sequence[Load]
    new: Sequence[Load]
    gone: Sequence[Load] = ()


class Horizon(NamedTuple):
    """The time in which a line is looked at; what comes repeats itself from `last` on."""

    start: datetime
    end: datetime
    last: datetime


class Wait(NamedTuple):
    """The longest wait of the runs of one moment of a load, in seconds.

    `was` is this wait without the change.
    """

    load: Load
    moment: datetime
    seconds: float
    was: float


class _Kind:
    """The order of events at the same moment."""

    WINDOW_ENDS, WINDOW_BEGINS, ALL_AT_ONCE = range(3)


class _Event(NamedTuple):
    """A change of the line, so many microseconds after the start of the horizon."""

    at: int
    kind: int
    load: int


def start_of_horizon(new: Iterable[Load], *, now: datetime) -> datetime | None:
    """Return the moment from which new loads can make a line longer; None for never.

    It is now, or a day before they fire for the first time if that is a week away. The
    year 9999 does not count: a week after its last fire times there is no moment.
    """
    coming = (first_after(each.schedule, now) for each in new)
    first = min((at for at in coming if at is not None), default=None)
    if first is None:
        return None
    return now if first < now + WEEK else min(first, FOREVER) - DAY


def horizon_from(start: datetime, loads: Sequence[Load]) -> Horizon:
    """Return the time in which the line of loads is looked at: at most a week.

    Loads that repeat themselves sooner are looked at for two periods after the last of
    them has begun.
    """
    end = start + WEEK
    seconds = 1
    for load in loads:
        seconds = lcm(seconds, _period_of(load.schedule) // SECOND)
        if seconds >= WEEK // SECOND:
            return Horizon(start, end, start)
    repeats = seconds * SECOND
    begins = (each.schedule.first_from(start) for each in loads)
    latest = max((at for at in begins if at is not None and at < end), default=start)
    end = min(end, latest + 2 * repeats)
    return Horizon(start, end, max(start, end - repeats))


class Moments:
    """The moments of loads within one horizon, in microseconds after its start.

    Those of a cron expression are searched for once, however many lines are walked.
    """

    def __init__(self, horizon: Horizon) -> None:
        self.horizon = horizon
        self._known: dict[tuple[Schedule, datetime | None], list[int]] = {}

    def of(self, load: Load) -> Iterable[int]:
        """Return the moments whose windows reach into the horizon."""
        if isinstance(load.schedule, Interval):
            return moments_of(load, self.horizon)
        key = (load.schedule, load.last)
        if key not in self._known:
            widest = load.with_window(DAY // SECOND)
            self._known[key] = list(moments_of(widest, self.horizon))
        found = self._known[key]
        # A window that ends with the beginning of the horizon does not reach into it.
        began = -load.window * _PER_SECOND
        return found[bisect_left(found, began + 1 if load.window else began) :]

    def count_runs(self, loads: Iterable[Load]) -> int:
        """Return how many runs are due in the last part of the horizon."""
        first = (self.horizon.last - self.horizon.start) // MICROSECOND
        return sum(
            load.size * sum(1 for at in self.of(load.with_window(0)) if at >= first)
            for load in loads
        )


def _period_of(schedule: Schedule) -> timedelta:
    match schedule:
        case Interval(every=every) if every % SECOND == timedelta():
            return every
        case Cron(expression=expression, years="*"):
            fields = expression.split()
            restricted = max(
                (i for i, field in enumerate(fields, 1) if field != "*"), default=1
            )
            return _CRON_PERIODS.get(restricted, WEEK)
    return WEEK


def walk_line(
    change: LoadChange,
    moments: Moments,
    *,
    rate: float,
    max_events: int = MAX_EVENTS,
) -> Iterator[Wait]:
    """Yield how long the runs of each load wait in a line that `rate` a second leave.

    The last run of a moment has the longest wait of those that matter: no run of a
    window starts later than the one that comes at its end.
    """
    loads = [*change.kept, *change.new, *change.gone]
    first_new = len(change.kept)
    first_gone = first_new + len(change.new)
    streams = [_events(load, index, moments) for index, load in enumerate(loads)]
    before, after, start = _Line(rate), _Line(rate), moments.horizon.start
    events = islice(merge(*streams), max_events)
    for (at, kind), together in groupby(events, key=itemgetter(0, 1)):
        before.move(at)
        after.move(at)
        indexes = [event.load for event in together]
        for index in indexes:
            if not first_new <= index < first_gone:
                before.change(kind, loads[index])
            if index < first_gone:
                after.change(kind, loads[index])
        if kind != _Kind.WINDOW_BEGINS:
            # Of those that come at once, the last waits for the others.
            itself = 1 if kind == _Kind.ALL_AT_ONCE else 0
            waits = after.wait(itself), before.wait(itself)
            for load in (loads[index] for index in indexes if index < first_gone):
                moment = start + at * MICROSECOND - load.window * SECOND
                yield Wait(load, moment, *waits)


class _Line:
    """So many runs wait, and so many come each second."""

    def __init__(self, rate: float) -> None:
        self.rate, self.length, self.flow, self.at = rate, 0.0, 0.0, 0

    def move(self, at: int) -> None:
        seconds = (at - self.at) / _PER_SECOND
        self.length = max(0.0, self.length + (self.flow - self.rate) * seconds)
        self.at = at

    def change(self, kind: int, load: Load) -> None:
        if kind == _Kind.ALL_AT_ONCE:
            self.length += load.size
        elif kind == _Kind.WINDOW_BEGINS:
            self.flow += load.size / load.window
        else:
            self.flow -= load.size / load.window

    def wait(self, itself: int) -> float:
        return max(0.0, self.length - itself) / self.rate


def _events(load: Load, index: int, moments: Moments) -> Iterator[_Event]:
    if not load.window:
        return (_Event(at, _Kind.ALL_AT_ONCE, index) for at in moments.of(load))
    width = load.window * _PER_SECOND
    begins = (
        # A window that has begun already goes on with the same flow.
        _Event(max(0, at), _Kind.WINDOW_BEGINS, index)
        for at in moments.of(load)
    )
    ends = (_Event(at + width, _Kind.WINDOW_ENDS, index) for at in moments.of(load))
    return merge(begins, ends)


def moments_of(load: Load, horizon: Horizon) -> Iterator[int]:
    """Yield the moments whose windows reach into the horizon, in microseconds."""
    start, schedule = horizon.start, load.schedule
    until = min(horizon.end, load.last + MICROSECOND) if load.last else horizon.end
    began = start - load.window * SECOND
    first = began + MICROSECOND if load.window else start
    if isinstance(schedule, Interval):
        at = schedule.first_from(first)
        yield from _moments_of_interval(schedule, at, until, start)
        return
    for at in fire_times_between(schedule, first, until - MICROSECOND):
        yield (at - start) // MICROSECOND


def _moments_of_interval(
    schedule: Interval, first: datetime | None, until: datetime, start: datetime
) -> Iterable[int]:
    if first is None or first >= until:
        return ()
    last = until - MICROSECOND
    if schedule.end is not None:
        last = min(last, schedule.end + schedule.offset)
    if first > last:
        return ()
    step = schedule.every // MICROSECOND
    return range(
        (first - start) // MICROSECOND, (last - start) // MICROSECOND + 1, step
    )
