"""Choose places for tasks whose spread is left to the service: where the least is due."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heapreplace, merge
from itertools import accumulate, islice
from math import ceil, floor
from typing import NamedTuple

from tasks_api.domain.lines import Horizon, Load, moments_of

# The windows that are tried, in seconds: the first one that has room is taken.
WINDOWS = (60, 300, 900, 3600)
# The most moments of the schedule that are looked at: the minutes of a week.
MAX_MOMENTS = 10_080
# The most moments of other tasks that are looked at, the first ones.
MAX_OTHERS = 250_000
_PER_SECOND = 1_000_000


class Places(NamedTuple):
    """A window, and for each task the seconds by which it fires after its schedule."""

    window: int
    offsets: list[int]


class _Busy(NamedTuple):
    """So many runs are due from a moment on, evenly over so many microseconds."""

    at: int
    length: int
    size: int


def choose_places(
    wanted: Load, others: Sequence[Load], *, rate: float, longest: int, horizon: Horizon
) -> Places:
    """Choose a place for each of the tasks that share a schedule.

    A window has room if no place in it gets more than `rate` a second. If none has,
    the largest one is taken. Each task gets the emptiest place, the first of those that
    are alike.
    """
    width = max(1, ceil(1 / rate))
    room = max(1, floor(rate * width))
    unit = width * _PER_SECOND
    moments = list(islice(moments_of(wanted.with_window(0), horizon), MAX_MOMENTS))
    times = merge(*(_busy_times(load, unit, horizon) for load in others))
    known = list(islice(times, MAX_OTHERS))
    windows = [each for each in WINDOWS if width < each < longest] or [longest]
    for window in windows:
        busy = _busiest(known, moments, window // width, unit)
        free = sum(max(0, floor(room - each + 1e-6)) for each in busy)
        if free >= wanted.size or window == windows[-1]:
            return Places(window, _emptiest(busy, wanted.size, width))
    raise AssertionError("the last window is always taken")


def _emptiest(busy: Sequence[float], size: int, width: int) -> list[int]:
    places = [(each, number) for number, each in enumerate(busy)] or [(0.0, 0)]
    heapify(places)
    chosen = []
    for _ in range(size):
        each, number = places[0]
        heapreplace(places, (each + 1, number))
        chosen.append(number * width)
    return chosen


def _busy_times(load: Load, unit: int, horizon: Horizon) -> Iterator[_Busy]:
    """Yield when the runs of other tasks are due; each takes a place, or several."""
    places = max(1, ceil(load.window * _PER_SECOND / unit))
    for at in moments_of(load, horizon):
        yield _Busy(at, places * unit, load.size)


def _busiest(
    others: Sequence[_Busy], moments: Sequence[int], places: int, unit: int
) -> list[float]:
    """Return the runs in each place after a moment, those of the worst moment."""
    changes: defaultdict[int, defaultdict[int, float]]
    changes = defaultdict(lambda: defaultdict(float))
    for at, length, size in others:
        in_each = size * unit / length
        # A window may reach past several of the moments.
        for index in range(max(0, bisect_right(moments, at) - 1), len(moments)):
            first = (at - moments[index]) // unit
            last = (at + length - moments[index]) // unit
            if last <= 0:
                break
            if first < places:
                changes[index][max(0, first)] += in_each
                changes[index][min(places, last)] -= in_each
    busiest = [0.0] * places
    # Most moments have the same tasks beside them as the one before.
    for alike in {tuple(sorted(each.items())) for each in changes.values()}:
        busiest = list(map(max, busiest, _levels(dict(alike), places)))
    return busiest


def _levels(changes: Mapping[int, float], places: int) -> Iterator[float]:
    return accumulate(changes.get(place, 0.0) for place in range(places))
