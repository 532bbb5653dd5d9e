"""Measures what policies and lanes cost: bursts with them, in turn with bursts without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial

from tests.benchmarks.delivery import measure_one_burst
from tests.benchmarks.figures import FAULTS, Figures
from tests.benchmarks.harness import (
    benchmark_harness,
    time_after_storing,
)

# All policies but spread, which would make a burst none: those of every task.
POLICIES: Mapping[str, object] = {
    "retry": {"max_attempts": 5, "min_delay": 10, "max_delay": 600},
    "expected_status": "200-299",
    "timeout_seconds": 60,
}
RECURRING_POLICIES: Mapping[str, object] = {
    **POLICIES,
    "overlap": "skip",
    "misfire": "all",
    "catchup_window": 3600,
    "pause_after_failures": 10,
}
# Everything else that a task may have of its own.
REQUEST_OPTIONS: Mapping[str, object] = {
    "headers": {"X-Api-Key": "secret of a receiver", "X-Team": "billing"},
    "tags": ["billing", "nightly"],
}
# So rarely that a round sees each task fire once.
HOURLY = timedelta(hours=1)
# Storing a task with secrets of its own takes so many times as long.
SEALING_FACTOR = 6
# Loads code and fills caches before anything is compared.
WARM_UP_TASKS = 1000
COMPARED_FIGURES = ("delivered in s", "late p99 ms", "CPU µs per delivery")

Burst = Callable[[], Figures]


def measure_policies(count: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{count} tasks due at the same moment that use every policy, and headers and tags besides, in turn with as many that use none; periodic ones, and one-time ones."""
    with benchmark_harness() as harness:

        def burst(tasks: int, every: timedelta | None, **fields: object) -> Figures:
            at = time_after_storing(SEALING_FACTOR * tasks)
            harness.store_tasks(tasks, first=at, every=every, fields=fields)
            return measure_one_burst(harness, tasks, at)

        kinds = (
            ("periodic: ", HOURLY, RECURRING_POLICIES),
            ("one-time: ", None, POLICIES),
        )
        for _, every, fields in kinds:
            burst(WARM_UP_TASKS, every)
            burst(WARM_UP_TASKS, every, **fields, **REQUEST_OPTIONS)
        for number in range(rounds):
            for kind, every, fields in kinds:
                plain = partial(burst, count, every)
                bursts = {
                    "plain": plain,
                    "policies": partial(plain, **fields),
                    "everything": partial(plain, **fields, **REQUEST_OPTIONS),
                }
                yield compare_bursts(number, kind, bursts)


# Lanes that are wide enough to admit a burst at once, in batches.
RATED_LANE, LIMITED_LANE = "rated", "limited"


def measure_lanes(count: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{count} tasks due at the same moment in a lane with a rate, in one that limits how many are under way at once, and in none; periodic ones, and one-time ones."""
    with benchmark_harness() as harness:
        harness.store_wide_lanes(rated=RATED_LANE, limited=LIMITED_LANE)

        def burst(tasks: int, every: timedelta | None, **fields: object) -> Figures:
            at = time_after_storing(2 * tasks)
            harness.store_tasks(tasks, first=at, every=every, fields=fields)
            return measure_one_burst(harness, tasks, at)

        kinds = (("periodic: ", HOURLY), ("one-time: ", None))
        ways: Mapping[str, Mapping[str, str]] = {
            "plain": {},
            "rated": {"lane": RATED_LANE},
            "limited": {"lane": LIMITED_LANE},
        }
        for _, every in kinds:
            for fields in ways.values():
                burst(WARM_UP_TASKS, every, **fields)
        for number in range(rounds):
            for kind, every in kinds:
                bursts = {
                    name: partial(burst, count, every, **fields)
                    for name, fields in ways.items()
                }
                yield compare_bursts(number, kind, bursts)


def compare_bursts(number: int, kind: str, bursts: Mapping[str, Burst]) -> Figures:
    """Run the bursts one after the other, in every other round in reverse order."""
    order = list(bursts) if number % 2 == 0 else list(bursts)[::-1]
    found = {name: bursts[name]() for name in order}
    without, *others = bursts
    shown = {
        f"{kind}{name}: {figure}": found[name][figure]
        for name in bursts
        for figure in found[name]
        if figure in COMPARED_FIGURES or figure.startswith("  of it")
    }
    ratios = {
        f"{kind}{with_it} : {without}, {figure}": found[with_it][figure]
        / found[without][figure]
        for with_it in others
        for figure in COMPARED_FIGURES
    }
    faults = {
        fault: sum(figures[fault] for figures in found.values())
        for fault in FAULTS
        if fault in found[without]
    }
    return {**shown, **ratios, **faults}
