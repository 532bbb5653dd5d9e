"""Measures what it costs to divide deliveries between cells of one machine."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests.benchmarks.delivery import CPU, measure_one_burst
from tests.benchmarks.figures import FAULTS, Figures
from tests.benchmarks.harness import (
    BenchmarkHarness,
    benchmark_harness,
    time_after_storing,
)

# Tasks of a burst.
TASKS = 8000
# Of several cells: the mean of these, and the worst of those.
COSTS = (CPU, "  of it postgres", "  of it worker")
WORST = ("late p99 ms", "delivered in s")
# No burst refuses anything.
BURST_FAULTS = FAULTS[:3]


def measure_cells(cells: int = 4, *, rounds: int) -> Iterator[Figures]:
    """8,000 tasks due at the same moment in one cell, in turn with as many divided between {cells} cells, and with as many in each of them."""
    with ExitStack() as stack:
        made = [stack.enter_context(benchmark_harness()) for _ in range(cells)]
        # Loads code and fills caches before anything is compared.
        _measure_together(made, TASKS // cells)
        for _ in range(rounds):
            one = _measure_together(made[:1], TASKS)
            divided = _measure_together(made, TASKS // cells)
            each = _measure_together(made, TASKS)
            yield {
                **_name_figures("one", one),
                **_name_figures("divided", divided),
                **_name_figures("each", each),
                "divided : one, CPU per delivery": divided[CPU] / one[CPU],
                "each : one, CPU per delivery": each[CPU] / one[CPU],
                **{
                    name: one[name] + divided[name] + each[name]
                    for name in BURST_FAULTS
                },
            }


def _name_figures(cells: str, figures: Figures) -> Figures:
    return {f"{cells}: {name.strip()}": figures[name] for name in (*COSTS, *WORST)}


def _measure_together(cells: Sequence[BenchmarkHarness], tasks: int) -> Figures:
    """The figures of a burst of so many tasks in each of some cells."""
    at = time_after_storing(tasks * len(cells))
    for cell in cells:
        cell.store_tasks(tasks, first=at)
    with ThreadPoolExecutor(len(cells)) as pool:
        found = list(pool.map(lambda cell: measure_one_burst(cell, tasks, at), cells))
    costs = {
        name: statistics.mean(figures[name] for figures in found) for name in COSTS
    }
    worst = {name: max(figures[name] for figures in found) for name in WORST}
    faults = {name: sum(figures[name] for figures in found) for name in BURST_FAULTS}
    return {**costs, **worst, **faults}
