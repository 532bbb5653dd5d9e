"""What policies and history cost: bursts with them, in turn with one without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial

from tests.benchmarks import seed_data
from tests.benchmarks.delivery import burst_of
from tests.benchmarks.figures import FAULTS, Figures
from tests.benchmarks.harness import Bench, bench, soon
from tests.benchmarks.retention import History

# The policies that a task of one kind may have; but spread, which would make a burst none.
ALWAYS: Mapping[str, object] = {
    "retry": {"max_attempts": 5, "min_delay": 10, "max_delay": 600},
    "expected_status": "200-299",
    "timeout_seconds": 60,
}
RECURRING: Mapping[str, object] = {
    **ALWAYS,
    "overlap": "skip",
    "misfire": "all",
    "catchup_window": 3600,
    "pause_after_failures": 10,
}
# And what else it may have of its own.
OWN: Mapping[str, object] = {
    "headers": {"X-Api-Key": "secret of a receiver", "X-Team": "billing"},
    "tags": ["billing", "nightly"],
}
# So rarely that a round sees each task fire once.
HOURLY = timedelta(hours=1)
# A task with secrets of its own takes so many times as long to store.
SEALING = 6
# Loads code and fills caches before anything is compared.
WARM_UP = 1000
SHOWN = ("delivered in s", "late p99 ms", "CPU µs per delivery")

Burst = Callable[[], Figures]


def policies(count: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{count} tasks due at the same moment that use every policy, and headers and tags besides, in turn with as many that use none; periodic ones, and one-time ones."""
    with bench() as harness:

        def burst(tasks: int, every: timedelta | None, **more: object) -> Figures:
            at = soon(SEALING * tasks)
            harness.store(tasks, first=at, every=every, more=more)
            return burst_of(harness, tasks, at)

        kinds = (("periodic: ", HOURLY, RECURRING), ("one-time: ", None, ALWAYS))
        for _, every, more in kinds:
            burst(WARM_UP, every)
            burst(WARM_UP, every, **more, **OWN)
        for number in range(rounds):
            for kind, every, more in kinds:
                plain = partial(burst, count, every)
                bursts = {
                    "plain": plain,
                    "policies": partial(plain, **more),
                    "everything": partial(plain, **more, **OWN),
                }
                yield _compared(number, kind, bursts)


def history(stored: int = 400_000, *, rounds: int) -> Iterator[Figures]:
    """10,000 tasks due at the same moment where the tenant has {stored} runs that are over, in turn with as many where it has none."""
    with bench() as empty, bench() as full:
        past = History(full, stored)
        past.begin(tenants=0)
        past.arrive()
        seed_data.settle(full.postgres.url)

        def burst(harness: Bench, tasks: int = 10_000) -> Figures:
            at = soon(tasks)
            harness.store(tasks, first=at)
            return burst_of(harness, tasks, at)

        for harness in (empty, full):
            burst(harness, WARM_UP)
        for number in range(rounds):
            pair = {"none": partial(burst, empty), "stored": partial(burst, full)}
            yield _compared(number, "", pair)


def _compared(number: int, kind: str, bursts: Mapping[str, Burst]) -> Figures:
    """The bursts one after the other, every other round the second one first."""
    order = list(bursts) if number % 2 == 0 else list(reversed(bursts))
    found = {name: bursts[name]() for name in order}
    without, *others = bursts
    shown = {
        f"{kind}{name}: {figure}": found[name][figure]
        for name in bursts
        for figure in found[name]
        if figure in SHOWN or figure.startswith("  of it")
    }
    ratios = {
        f"{kind}{with_it} : {without}, {figure}": found[with_it][figure]
        / found[without][figure]
        for with_it in others
        for figure in SHOWN
    }
    faults = {
        fault: sum(figures[fault] for figures in found.values())
        for fault in FAULTS
        if fault in found[without]
    }
    return {**shown, **ratios, **faults}
