"""Decide whether the coming fire times of tasks fit the rate of their lane.

docs/reference/admission.md has the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil, floor
from typing import NamedTuple

from tasks_api.domain.effort import TooMuch, apart
from tasks_api.domain.lines import (
    DAY,
    SECOND,
    Load,
    LoadChange,
    Moments,
    Wait,
    horizon_from,
    start_of_horizon,
    walk_line,
)
from tasks_api.domain.schedules import Interval, least_interval

# A run without a window may start so much later than its moment.
PATIENCE = timedelta(seconds=60)
# Lateness counts in whole seconds; the rest is for the rounding of sums.
_ONE_SECOND = 1 - 1e-6
_SAME = 1e-6
# The steps that the schedules of one lane may take to compute: some seconds. They do not
# count for the request, whose own schedules are few.
MAX_STEPS = 1_000_000
# The most spreads that are tried to find one that fits.
MAX_TRIALS = 24


class Capacity(NamedTuple):
    """So many runs of a lane may start in so much time."""

    limit: int
    per: timedelta

    @property
    def rate(self) -> float:
        """Return how many runs a second may start in the long run."""
        return self.limit / self.per.total_seconds()

    @property
    def patience(self) -> float:
        """Return the seconds that a run without a window may wait."""
        return max(PATIENCE, self.per).total_seconds()


@dataclass(frozen=True)
class Verdict:
    """Whether loads fit, and the latest start of a run after its moment, in seconds.

    If they do not fit, `at` is the moment of that run, and `smallest_spread` the window
    that would make the new loads fit; None if no window does.
    """

    fits: bool
    latest_start: float
    at: datetime | None = None
    allowed: float = 0
    # The runs of that moment, and the window over which they come.
    size: int = 0
    window: int = 0
    smallest_spread: int | None = None
    # The runs that come, as a part of those that may start, if they are too many for
    # the line ever to end.
    overload: float = 0

    @property
    def seconds_to_start(self) -> int:
        return ceil(self.latest_start - _SAME)


def judge(change: LoadChange, capacity: Capacity, *, now: datetime) -> Verdict:
    """Judge whether a lane can bear a change of its loads.

    The new loads fit if no run starts, because of the change, a second or more after
    the end of its window; a window lasts at least as long as the capacity's patience.
    And they may not bring more runs in the long run than may start.
    """
    start = start_of_horizon(change.new, now=now)
    if start is None:
        return Verdict(True, 0)
    with apart(MAX_STEPS, TooMuch):
        moments = Moments(horizon_from(start, [*change.kept, *change.new]))
        if (overload := _overload(change, capacity, moments)) > 0:
            return Verdict(False, 0, moments.horizon.last, overload=overload)
        verdict = _judge(change, capacity, moments)
        if verdict.fits:
            return verdict
        found = _find_spread(change, capacity, moments)
    return replace(verdict, smallest_spread=found)


def _judge(change: LoadChange, capacity: Capacity, moments: Moments) -> Verdict:
    latest, worst, by_most = 0.0, None, 0.0
    for wait in walk_line(change, moments, rate=capacity.rate):
        latest = max(latest, wait.load.window + wait.seconds)
        late = _lateness(wait, capacity)
        if late >= _ONE_SECOND and wait.seconds > wait.was + _SAME and late > by_most:
            worst, by_most = wait, late
    if worst is None:
        return Verdict(True, latest)
    return Verdict(
        False,
        worst.load.window + worst.seconds,
        worst.moment,
        max(worst.load.window, capacity.patience),
        worst.load.size,
        worst.load.window,
    )


def _overload(change: LoadChange, capacity: Capacity, moments: Moments) -> float:
    """Return the part of the capacity that a change asks for, if it is more than all."""
    horizon = moments.horizon
    most = capacity.rate * (horizon.end - horizon.last).total_seconds()
    new, gone = map(moments.count_runs, (change.new, change.gone))
    if new <= gone:
        return 0
    due = moments.count_runs(change.kept) + new
    return due / most if due > most + _SAME else 0


def _lateness(wait: Wait, capacity: Capacity) -> float:
    """Return the seconds from the end of a run's window to its start."""
    window = wait.load.window
    return window + wait.seconds - max(window, capacity.patience)


def _find_spread(
    change: LoadChange, capacity: Capacity, moments: Moments
) -> int | None:
    """Return a window that fits, while one that is a second shorter does not.

    Each new load has at least that window, or the longest one that it may have. None if
    no window is found that fits.
    """
    longest = max(map(longest_window, change.new))

    def fits(seconds: int) -> bool:
        wider = change._replace(new=_widened(change.new, seconds))
        return _judge(wider, capacity, moments).fits

    needed = max(_needed_window(each, capacity) for each in change.new)
    given = min(each.window for each in change.new)
    return _search(fits, max(given + 1, min(needed, longest)), longest)


def _needed_window(load: Load, capacity: Capacity) -> int:
    """Return the window that a load needs without all others; 0 if it needs no other."""
    seconds = load.size / capacity.rate
    if seconds - max(load.window, capacity.patience) < _ONE_SECOND:
        return 0
    return floor(seconds - _ONE_SECOND) + 1


def _search(fits: Callable[[int], bool], first: int, longest: int) -> int | None:
    """Return the first number that fits from `first` on, if larger ones fit as well."""
    unfit, tried, step = first - 1, first, 1
    for _ in range(MAX_TRIALS):
        if tried > longest:
            return None
        if fits(tried):
            break
        if tried == longest:
            return None
        unfit, step = tried, 2 * step
        tried = min(tried + step, longest)
    while tried - unfit > 1:
        middle = (unfit + tried) // 2
        unfit, tried = (unfit, middle) if fits(middle) else (middle, tried)
    return tried


def _widened(loads: Iterable[Load], seconds: int) -> list[Load]:
    return [
        each.with_window(max(each.window, min(seconds, longest_window(each))))
        for each in loads
    ]


def longest_window(load: Load) -> int:
    """Return the longest spread that a task with this schedule may have."""
    every = (
        load.schedule.every // SECOND
        if isinstance(load.schedule, Interval)
        else int(min(least_interval(load.schedule), 2 * DAY.total_seconds()))
    )
    return max(0, min(every - 1, DAY // SECOND))
