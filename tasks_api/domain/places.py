"""Choose places for tasks whose spread is left to the service: where the least is due."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from heapq import heapify, heapreplace, merge
from itertools import islice, pairwise
from math import ceil, floor
from typing import NamedTuple

from tasks_api.domain import effort
from tasks_api.domain.lines import Horizon, Load, moments_of
from tasks_api.domain.schedules import MICROSECOND

# The windows that are tried, in seconds: the first one that has room is taken.
WINDOWS = (60, 300, 900, 3600)
# The most moments of a schedule that are looked at: the minutes of a week.
MAX_MOMENTS = 10_080
# The most moments of the neighbours that are looked at, the first ones.
MAX_NEIGHBOURING_MOMENTS = 100_000
# So many moments are looked at, or sorted, in the time of one step of `effort`.
LOOKS_IN_STEP, SORTED_IN_STEP = 5, 250
_PER_SECOND = 1_000_000


class Places(NamedTuple):
    """A window, and for each task the seconds by which it fires after its schedule."""

    window: int
    offsets: list[int]


class _Due(NamedTuple):
    """So many runs are due from a moment on, evenly over so many microseconds."""

    at: int
    length: int
    size: int


class _Placed(NamedTuple):
    """The moments of a schedule, and the number of the place of each of its tasks."""

    moments: Sequence[int]
    numbers: Sequence[int]


class Neighbours:
    """The tasks beside which others get places, so that at most `rate` a second are due.

    A place is one second, or as many as the rate needs for one run.
    """

    def __init__(self, loads: Sequence[Load], *, rate: float, horizon: Horizon) -> None:
        self._horizon = horizon
        self._width = max(1, ceil(1 / rate))
        self._room = max(1, floor(rate * self._width))
        self._unit = self._width * _PER_SECOND
        # By the number of bits of the length, in order of time: so those that are due
        # at a moment are found without a look at all that began before.
        self._due: defaultdict[int, list[_Due]] = defaultdict(list)
        self._newest = _Placed([], [])
        all_due = merge(*(self._due_of(load) for load in loads))
        first_due = list(islice(all_due, MAX_NEIGHBOURING_MOMENTS))
        effort.spend(len(first_due) // LOOKS_IN_STEP)
        for due in first_due:
            self._due[due.length.bit_length()].append(due)

    def place(self, wanted: Load, *, longest: int) -> Places:
        """Choose a place for each of the tasks that share a schedule.

        A window has room if no place in it gets more than the rate. If none has, the
        largest one is taken. Each task gets the emptiest place, the first of those that
        are alike. The tasks are neighbours of those that are placed after them.
        """
        self._take_in_newest()
        # With those whose windows began before the horizon.
        reaching = list(
            islice(moments_of(wanted.with_window(longest), self._horizon), MAX_MOMENTS)
        )
        moments = reaching[bisect_left(reaching, 0) :]
        windows = [each for each in WINDOWS if self._width < each < longest]
        for window in windows or [longest]:
            busiest = self._find_busiest(moments, window // self._width)
            free = sum(max(0, floor(self._room - each + 1e-6)) for each in busiest)
            if free >= wanted.size:
                break
        numbers = _emptiest(busiest, wanted.size)
        self._newest = _Placed(reaching, numbers)
        return Places(window, [number * self._width for number in numbers])

    def _due_of(self, load: Load) -> Iterator[_Due]:
        places = max(1, ceil(load.window / self._width))
        for at in moments_of(load, self._horizon):
            yield _Due(at, places * self._unit, load.size)

    def _take_in_newest(self) -> None:
        moments, numbers = self._newest
        sizes = Counter(numbers)
        effort.spend(len(moments) * len(sizes) // LOOKS_IN_STEP)
        end = (self._horizon.end - self._horizon.start) // MICROSECOND
        due = self._due[self._unit.bit_length()]
        for number, size in sizes.items():
            offset = number * self._unit
            known = moments[: bisect_left(moments, end - offset)]
            due += (_Due(at + offset, self._unit, size) for at in known)
        effort.spend(len(due) // SORTED_IN_STEP)
        due.sort()

    def _find_busiest(self, moments: Sequence[int], places: int) -> list[float]:
        """Return the runs in each place after a moment, those of the worst moment."""
        busiest = [0.0] * places
        # Most moments have the same neighbours as the one before.
        for changes in {self._changes_after(moment, places) for moment in moments}:
            level = 0.0
            for (place, change), (end, _) in pairwise(changes):
                level += change
                if level > 0:
                    effort.spend((end - place) // LOOKS_IN_STEP)
                    for number in range(place, end):
                        busiest[number] = max(busiest[number], level)
        return busiest

    def _changes_after(self, moment: int, places: int) -> tuple[tuple[int, float], ...]:
        """Return by how much more or less is due from a place on than in the one before."""
        changes: defaultdict[int, float] = defaultdict(float)
        end = moment + places * self._unit
        for bits, all_due in self._due.items():
            first = bisect_left(all_due, (moment - (1 << bits),))
            found = all_due[first : bisect_left(all_due, (end,))]
            effort.spend(1 + len(found) // LOOKS_IN_STEP)
            for at, length, size in found:
                last = (at + length - moment) // self._unit
                if last > 0:
                    in_each = size * self._unit / length
                    changes[max(0, (at - moment) // self._unit)] += in_each
                    changes[min(places, last)] -= in_each
        return tuple(sorted(changes.items()))


def _emptiest(busy: Sequence[float], size: int) -> list[int]:
    """Return the numbers of the places that so many tasks get."""
    places = [(each, number) for number, each in enumerate(busy)] or [(0.0, 0)]
    heapify(places)
    chosen = []
    for _ in range(size):
        each, number = places[0]
        heapreplace(places, (each + 1, number))
        chosen.append(number)
    return chosen
