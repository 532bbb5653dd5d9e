"""What the figures should reach on two cores with everything on them."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import NamedTuple

from tests.benchmarks.figures import FAULTS, Figures

_COMPARE = {"=": operator.eq, "<": operator.lt, "≤": operator.le, "≥": operator.ge}


class Goal(NamedTuple):
    sign: str
    limit: float
    # What would be better still.
    ambition: float | None = None

    def __str__(self) -> str:
        text = f"{self.sign} {self.limit:,g}"
        return text if self.ambition is None else f"{text} ({self.ambition:g})"

    def is_reached(self, value: float) -> bool:
        return not math.isnan(value) and bool(_COMPARE[self.sign](value, self.limit))


NONE = Goal("=", 0)
_CPU = {"CPU µs per delivery": Goal("≤", 200, ambition=150)}
# A Python process never holds exactly what it held before.
_FLAT = {"worker grew MB": Goal("<", 10)}

GOALS: dict[str, dict[str, Goal]] = {
    "burst-10k": {"delivered in s": Goal("≤", 1.4), **_CPU},
    "burst-100k": {"delivered in s": Goal("≤", 12), **_CPU, **_FLAT},
    "policies-10k": {
        f"{kind}: policies : plain, CPU µs per delivery": Goal("≤", 1.15)
        for kind in ("periodic", "one-time")
    },
    "history-400k": {"stored : none, CPU µs per delivery": Goal("≤", 1.15)},
    "steady-1000-1k": {**_FLAT},
    "steady-1000-1m": {
        "late p99 ms": Goal("<", 100),
        # No slower, but for what differs between two runs of the same.
        "1m : 1k, late p99": Goal("≤", 1.2),
        "1m : 1k, CPU per delivery": Goal("≤", 1.2),
        **_FLAT,
    },
    "repeat-10k": {"late p99 ms": Goal("<", 100), **_FLAT},
    "idle-1m": {
        "beat % of a core": Goal("<", 1),
        # A byte for each task would be 1 MB.
        **{
            f"{part} grew MB": Goal("<", 10)
            for part in ("web", "worker", "beat", "redis", "postgres")
        },
    },
    "create-0": {"create, per s": Goal("≥", 500)},
    "bulk-0": {"bulk, tasks per s": Goal("≥", 10_000)},
    "slow-200": {"others : alone, late p99": Goal("≤", 1.2)},
    "flood-100k": {"small tenant: late p99 ms": Goal("<", 2000)},
    "edits-50-100k": {"late p99 ms": Goal("<", 500)},
    # As soon done and as cheap as each of them where it is at its best.
    "peers-10k": {
        f"ours : {peer}, {figure}": Goal("≤", 1)
        for figure in ("delivered in s", "CPU")
        for peer in ("graphile-worker", "pg-boss", "BullMQ")
    },
    "queue-1m": {"long : short, next p50 ms": Goal("<", 1.5)},
}


def goal_for(scenario: str, figure: str) -> Goal | None:
    if figure in FAULTS:
        return NONE
    return GOALS.get(scenario, {}).get(figure)


def compared(results: Mapping[str, Figures]) -> dict[str, Figures]:
    """The same, with ratios where a million tasks were stored instead of a thousand."""
    found = {name: dict(figures) for name, figures in results.items()}
    for name, figures in found.items():
        few = found.get(f"{name.removesuffix('-1m')}-1k", {})
        for figure, label in _COMPARED.items():
            if name.endswith("-1m") and figure in few:
                figures[f"1m : 1k, {label}"] = figures[figure] / few[figure]
    return found


_COMPARED = {"late p99 ms": "late p99", "CPU µs per delivery": "CPU per delivery"}
