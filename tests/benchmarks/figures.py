"""The figures of a scenario, computed by pure functions: lateness, percentiles, medians."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Figures = dict[str, float]

# Promises, not speeds: one of these makes `make bench` fail.
FAULTS = ("lost", "doubled", "early", "refused")
# The name of the target among the measured processes; it is no part of the service.
TARGET = "target"


class ScenarioUnavailable(RuntimeError):
    """Says why a scenario cannot be measured on this machine."""


class SinkDelivery(NamedTuple):
    """A request at the target. Moments are seconds since the epoch."""

    arrived_at: float
    run_id: str
    scheduled_for: float
    path: str

    @property
    def lateness(self) -> float:
        return self.arrived_at - self.scheduled_for


@dataclass(frozen=True)
class Deliveries:
    rows: Sequence[SinkDelivery]

    def scheduled_between(self, start: float, end: float) -> Deliveries:
        return Deliveries(
            [row for row in self.rows if start <= row.scheduled_for < end]
        )

    def for_path(self, path: str) -> Deliveries:
        return Deliveries([row for row in self.rows if row.path == path])

    @property
    def distinct_runs(self) -> int:
        return len({row.run_id for row in self.rows})

    @property
    def last_arrival(self) -> float:
        return max((row.arrived_at for row in self.rows), default=float("nan"))

    def lateness(self, prefix: str = "") -> Figures:
        """In milliseconds; a prefix tells several groups of deliveries apart."""
        late = sorted(row.lateness * 1000 for row in self.rows)
        fractions = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        return {
            f"{prefix}late {name} ms": percentile(late, fraction)
            for name, fraction in fractions.items()
        }

    def count_faults(self, expected: int) -> Figures:
        """Each expected run should have arrived once and not early."""
        return {
            "lost": max(0, expected - self.distinct_runs),
            "doubled": len(self.rows) - self.distinct_runs,
            "early": sum(row.lateness < 0 for row in self.rows),
        }


class ResourceUsage(NamedTuple):
    """Seconds of CPU by process, and of everything else on the machine, in a period."""

    seconds: float
    cpu: Mapping[str, float]
    other_cpu: float

    @property
    def service_cpu(self) -> dict[str, float]:
        return {name: spent for name, spent in self.cpu.items() if name != TARGET}

    def cost_per(self, count: int, operation: str) -> Figures:
        """The CPU of one operation in microseconds, and how far to trust it."""
        costs = {name: spent / count * 1e6 for name, spent in self.service_cpu.items()}
        return {
            f"CPU µs per {operation}": sum(costs.values()),
            **{f"  of it {name}": cost for name, cost in costs.items()},
            "target % busy": self.cpu[TARGET] / self.seconds * 100,
            **self.other_load(),
        }

    def cpu_shares(self) -> Figures:
        """How busy each process was, in percent of a core."""
        shares = {
            f"{name} % of a core": spent / self.seconds * 100
            for name, spent in self.service_cpu.items()
        }
        return {**shares, **self.other_load()}

    def other_load(self) -> Figures:
        return {"other work, % of a core": self.other_cpu / self.seconds * 100}


def memory_growth(before: Mapping[str, float], after: Mapping[str, float]) -> Figures:
    """How much more memory each process holds, in MB."""
    return {f"{name} grew MB": after[name] - size for name, size in before.items()}


def percentile(ordered: Sequence[float], fraction: float) -> float:
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))]


def medians(rounds: Iterable[Figures]) -> Figures:
    """One value for each figure, over the rounds that have it."""
    values: dict[str, list[float]] = {}
    for figures in rounds:
        for name, value in figures.items():
            values.setdefault(name, []).append(value)
    return {name: _combine(name, found) for name, found in values.items()}


def _combine(name: str, values: list[float]) -> float:
    # A fault in one round is a fault, whatever the other rounds say.
    return sum(values) if name in FAULTS else statistics.median(values)
