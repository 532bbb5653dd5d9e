"""Heat maps: numbers as cells with levels of colour, and the legend of the levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEVELS = 5


class Step(NamedTuple):
    """A level of the legend, and the numbers that have it."""

    level: int
    first: int
    last: int


class Scale(NamedTuple):
    """The highest number of each level."""

    bounds: Sequence[int]

    def level_of(self, count: int) -> int:
        """0 for none, and the highest level for the highest number."""
        if not count:
            return 0
        return next(level for level, last in enumerate(self.bounds, 1) if count <= last)

    @property
    def legend(self) -> list[Step]:
        firsts = [1, *(last + 1 for last in self.bounds)]
        steps = zip(firsts, self.bounds, strict=False)
        return [
            Step(level, first, last)
            for level, (first, last) in enumerate(steps, 1)
            if first <= last
        ]


def scale_of(counts: Sequence[int]) -> Scale:
    """A scale in even steps, or with smaller steps for low numbers if most are low."""
    highest, number = max(counts, default=0), sum(1 for count in counts if count)
    power = 1 if sum(counts) * LEVELS > highest * number else 2
    steps = range(1, LEVELS + 1)
    return Scale([-(-highest * step**power // LEVELS**power) for step in steps])


@dataclass(frozen=True)
class Cell:
    """A number of a heat map, what it counts, and the list of it. None: no number."""

    count: int | None
    title: str
    url: str
    level: int = 0
    # How many places it takes; of a day, an hour of the past takes four.
    span: int = 1

    @property
    def per_place(self) -> int:
        return -(-(self.count or 0) // self.span)
