"""The scenarios by name: `burst`, or `burst-100k` for one of another size."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.benchmarks import (
    api,
    cpu_profiles,
    delivery,
    feature_overhead,
    job_queues,
    noisy_neighbours,
    pull_queue,
    retention,
    sink_capacity,
)
from tests.benchmarks.figures import Figures

_UNITS = {"": 1, "k": 1000, "m": 1_000_000}

MEASURES: dict[str, Callable[..., Iterator[Figures]]] = {
    measure.__name__: measure
    for measure in (
        sink_capacity.sink,
        delivery.burst,
        delivery.steady,
        delivery.repeat,
        delivery.idle,
        api.create,
        api.bulk,
        api.reads,
        noisy_neighbours.slow,
        noisy_neighbours.flood,
        noisy_neighbours.edits,
        noisy_neighbours.admin,
        pull_queue.queue,
        retention.retention,
        feature_overhead.policies,
        feature_overhead.history,
        cpu_profiles.profile,
        job_queues.peers,
    )
}

# What `make bench` measures when no scenario is named.
USUAL = (
    "sink",
    "burst-10k",
    "burst-100k",
    "policies-10k",
    "history-400k",
    "steady-1000-1k",
    "steady-1000-1m",
    "repeat-10k",
    "idle-1m",
    "create-0",
    "bulk-0",
    "reads-1m",
    "slow-200",
    "flood-100k",
    "edits-50-100k",
    "queue-1m",
)
# What `make bench s=all` measures.
ALL = (
    *USUAL,
    "steady-200-1k",
    "steady-200-100k",
    "steady-200-1m",
    "steady-1000-100k",
    "idle-100k",
    "create-1m",
    "bulk-1m",
    "slow-1000",
    "admin-5-100k",
    "retention-1m",
    "profile-10k",
    "peers-10k",
)


class Scenario(NamedTuple):
    """A way to measure, and the sizes to do it with."""

    kind: str
    sizes: dict[str, int]

    @property
    def name(self) -> str:
        """With every size in it, so that one name is one thing."""
        written = (
            str(size) if key == "rate" else short(size)
            for key, size in self.sizes.items()
        )
        return "-".join((self.kind, *written))

    @property
    def about(self) -> str:
        text = inspect.getdoc(MEASURES[self.kind]) or ""
        return text.format(**{key: f"{size:,}" for key, size in self.sizes.items()})

    def rounds(self, count: int) -> Iterator[Figures]:
        return MEASURES[self.kind](**self.sizes, rounds=count)


def named(name: str) -> Scenario:
    """The scenario of a name such as `steady-200-1m`. Raises ValueError."""
    kind, *sizes = name.lower().split("-")
    if kind not in MEASURES:
        raise ValueError(f"no scenario is called {kind}")
    known = {
        key: parameter.default
        for key, parameter in inspect.signature(MEASURES[kind]).parameters.items()
        if key != "rounds"
    }
    if len(sizes) > len(known):
        raise ValueError(f"{kind} has no more sizes than {len(known)}: {name}")
    given = dict(zip(known, map(_number, sizes), strict=False))
    return Scenario(kind, known | given)


def _number(text: str) -> int:
    found = re.fullmatch(r"(\d+)([km]?)", text)
    if found is None:
        raise ValueError(f"{text} is no size: write 500, 10k or 1m")
    return int(found[1]) * _UNITS[found[2]]


def short(number: int) -> str:
    """A size as names have it: 10k, 1m."""
    for unit, factor in (("m", 1_000_000), ("k", 1000)):
        if number and number % factor == 0:
            return f"{number // factor}{unit}"
    return str(number)
