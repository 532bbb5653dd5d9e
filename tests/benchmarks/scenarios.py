"""The scenarios by name: `burst`, or `burst-100k` for one of another size."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.benchmarks import (
    api,
    cells,
    cpu_profiles,
    delivery,
    feature_overhead,
    history,
    job_queues,
    many_beats,
    many_tenants,
    moves,
    noisy_neighbours,
    overview,
    pages,
    pull_queue,
    retention,
    sink_capacity,
)
from tests.benchmarks.figures import Figures

_UNITS = {"": 1, "k": 1000, "m": 1_000_000}

Measure = Callable[..., Iterator[Figures]]

MEASURES: dict[str, Measure] = {
    "sink": sink_capacity.measure_sink,
    "burst": delivery.measure_burst,
    "crons": delivery.measure_crons,
    "steady": delivery.measure_steady,
    "repeat": delivery.measure_repeat,
    "idle": delivery.measure_idle,
    "create": api.measure_create,
    "bulk": api.measure_bulk,
    "reads": api.measure_reads,
    "overview": overview.measure_overview,
    "pages": pages.measure_pages,
    "slow": noisy_neighbours.measure_slow,
    "flood": noisy_neighbours.measure_flood,
    "edits": noisy_neighbours.measure_edits,
    "admin": noisy_neighbours.measure_admin,
    "move": moves.measure_move,
    "queue": pull_queue.measure_queue,
    "retention": retention.measure_retention,
    "policies": feature_overhead.measure_policies,
    "lanes": feature_overhead.measure_lanes,
    "history": history.measure_history,
    "cells": cells.measure_cells,
    "tenants": many_tenants.measure_tenants,
    "beats": many_beats.measure_beats,
    "profile": cpu_profiles.measure_profile,
    "peers": job_queues.measure_peers,
}

# What `make bench` measures when no scenario is named.
DEFAULT_SCENARIOS = (
    "sink",
    "burst-10k",
    "burst-100k",
    "crons-10k",
    "policies-10k",
    "lanes-5k",
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
    "beats-20",
)
# What `make bench s=all` measures.
ALL_SCENARIOS = (
    *DEFAULT_SCENARIOS,
    "steady-200-1k",
    "steady-200-100k",
    "steady-200-1m",
    "steady-1000-100k",
    "steady-1000-5m",
    "history-10m",
    "tenants-1m",
    "idle-100k",
    "create-1m",
    "bulk-1m",
    "slow-1000",
    "admin-5-100k",
    "retention-1m",
    "move-100k-1m",
    "overview-1m-10m",
    "pages-60k-200k",
    "cells-4",
    "profile-10k",
    "peers-10k",
)


class Scenario(NamedTuple):
    """A way to measure, and the sizes to do it with."""

    kind: str
    sizes: dict[str, int]

    @property
    def name(self) -> str:
        """The name with every size in it, so that one scenario has one name."""
        sizes = (
            str(size) if key == "rate" else short_size(size)
            for key, size in self.sizes.items()
        )
        return "-".join((self.kind, *sizes))

    @property
    def about(self) -> str:
        text = inspect.getdoc(MEASURES[self.kind]) or ""
        return text.format(**{key: f"{size:,}" for key, size in self.sizes.items()})

    def rounds(self, count: int) -> Iterator[Figures]:
        return MEASURES[self.kind](**self.sizes, rounds=count)


def parse_scenario(name: str) -> Scenario:
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
    given = dict(zip(known, map(_parse_size, sizes), strict=False))
    return Scenario(kind, known | given)


def _parse_size(text: str) -> int:
    found = re.fullmatch(r"(\d+)([km]?)", text)
    if found is None:
        raise ValueError(f"{text} is no size: write 500, 10k or 1m")
    return int(found[1]) * _UNITS[found[2]]


def short_size(number: int) -> str:
    """A size as it stands in names: 10k, 1m."""
    for unit, factor in (("m", 1_000_000), ("k", 1000)):
        if number and number % factor == 0:
            return f"{number // factor}{unit}"
    return str(number)
