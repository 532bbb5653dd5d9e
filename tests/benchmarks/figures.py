"""Numbers of a run, as pure functions: lateness, percentiles, medians."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Figures = dict[str, float]

# Promises, not speeds: one of these makes `make bench` fail.
FAULTS = ("lost", "doubled", "early", "refused")
# Who answers at the other end; it is no part of the service.
TARGET = "target"


class Impossible(RuntimeError):
    """Why a scenario cannot be measured on this machine."""


class Arrival(NamedTuple):
    """A request at the target. Moments are seconds since the epoch."""

    at: float
    run_id: str
    planned: float
    path: str


@dataclass(frozen=True)
class Arrivals:
    rows: Sequence[Arrival]

    def planned_in(self, start: float, end: float) -> Arrivals:
        return Arrivals([row for row in self.rows if start <= row.planned < end])

    def to(self, path: str) -> Arrivals:
        return Arrivals([row for row in self.rows if row.path == path])

    @property
    def different(self) -> int:
        return len({row.run_id for row in self.rows})

    @property
    def last(self) -> float:
        return max((row.at for row in self.rows), default=float("nan"))

    def lateness(self, whose: str = "") -> Figures:
        """In milliseconds, with a name before each figure if several are told apart."""
        late = sorted((row.at - row.planned) * 1000 for row in self.rows)
        parts = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        return {
            f"{whose}late {name} ms": percentile(late, part)
            for name, part in parts.items()
        }

    def faults(self, count: int) -> Figures:
        """What went wrong with so many runs; each should have come once, not early."""
        return {
            "lost": max(0, count - self.different),
            "doubled": len(self.rows) - self.different,
            "early": sum(row.at < row.planned for row in self.rows),
        }


class Span(NamedTuple):
    """What was used meanwhile, in seconds of CPU by process, and by everybody else."""

    seconds: float
    cpu: Mapping[str, float]
    others: float

    @property
    def own(self) -> dict[str, float]:
        """What the service used, without its target."""
        return {name: spent for name, spent in self.cpu.items() if name != TARGET}

    def per(self, count: int, what: str) -> Figures:
        """What one operation cost, in microseconds, and how far to trust it."""
        each = {name: spent / count * 1e6 for name, spent in self.own.items()}
        return {
            f"CPU µs per {what}": sum(each.values()),
            **{f"  of it {name}": cost for name, cost in each.items()},
            "target % busy": self.cpu[TARGET] / self.seconds * 100,
            **self.trust(),
        }

    def shares(self) -> Figures:
        """How busy each process was, in percent of a core."""
        shares = {
            f"{name} % of a core": spent / self.seconds * 100
            for name, spent in self.own.items()
        }
        return {**shares, **self.trust()}

    def trust(self) -> Figures:
        return {"other work, % of a core": self.others / self.seconds * 100}


def growth(before: Mapping[str, float], after: Mapping[str, float]) -> Figures:
    """How much more memory each process holds, in MB."""
    return {f"{name} grew MB": after[name] - held for name, held in before.items()}


def percentile(ordered: Sequence[float], part: float) -> float:
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def medians(rounds: Iterable[Figures]) -> Figures:
    """One value for each figure, over the rounds that have it."""
    found: dict[str, list[float]] = {}
    for figures in rounds:
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    return {name: _together(name, values) for name, values in found.items()}


def _together(name: str, values: list[float]) -> float:
    # A fault in one round is a fault, whatever the other rounds say.
    return sum(values) if name in FAULTS else statistics.median(values)
