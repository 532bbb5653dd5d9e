"""Choose places for tasks whose spread is left to the service: where the least is due."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import accumulate
from math import ceil, floor
from typing import NamedTuple

from tasks_api.domain.lines import Horizon, Load, moments_of

# The windows that are tried, in seconds: the first one that has room is taken.
WINDOWS = (60, 300, 900, 3600)
# So many moments of the schedule are looked at.
MAX_MOMENTS = 48
_PER_SECOND = 1_000_000


class Places(NamedTuple):
    """A window, and for each task the seconds by which it fires after its schedule."""

    window: int
    offsets: list[int]


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
    moments = list(moments_of(wanted.with_window(0), horizon))[:MAX_MOMENTS]
    busy: list[float] = []
    windows = [each for each in WINDOWS if width < each < longest] or [longest]
    for window in windows:
        busy = _busiest(others, moments, window // width, width, horizon)
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


def _busiest(
    loads: Sequence[Load],
    moments: Sequence[int],
    places: int,
    width: int,
    horizon: Horizon,
) -> list[float]:
    """Return the fire times in each place after a moment, those of the worst moment."""
    counts = [[0.0] * (places + 1) for _ in moments]
    unit = width * _PER_SECOND
    for load in loads:
        span = max(1, ceil(load.window / width))
        for at in moments_of(load, horizon):
            begin, end = at, at + span * unit
            # A window may reach past several of the moments.
            for index in range(max(0, bisect_right(moments, begin) - 1), len(moments)):
                first = (begin - moments[index]) // unit
                last = (end - moments[index]) // unit
                if last <= 0:
                    break
                if first < places:
                    counts[index][max(0, first)] += load.size / span
                    counts[index][min(places, last)] -= load.size / span
    summed = [list(accumulate(each))[:places] for each in counts]
    return [max(column) for column in zip(*summed, strict=True)] or [0.0] * places
