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

# Tasks of a round, in one cell or in all together.
TASKS = 8000
# Of the cells that share the tasks: the mean of these, and the worst of those.
COSTS = (CPU, "  of it postgres", "  of it worker")
WORST = ("late p99 ms", "delivered in s")
# No burst refuses anything.
BURST_FAULTS = FAULTS[:3]


def measure_cells(cells: int = 4, *, rounds: int) -> Iterator[Figures]:
    """8,000 tasks due at the same moment in one cell, in turn with as many divided between {cells} cells."""
    with ExitStack() as stack:
        made = [stack.enter_context(benchmark_harness()) for _ in range(cells)]
        # Loads code and fills caches before anything is compared.
        _measure_together(made)
        for _ in range(rounds):
            alone = _measure_together(made[:1])
            together = _measure_together(made)
            yield {
                **_name_figures("one cell", alone),
                **_name_figures("all cells", together),
                "all : one, CPU per delivery": together[CPU] / alone[CPU],
                **{name: alone[name] + together[name] for name in BURST_FAULTS},
            }


def _name_figures(cells: str, figures: Figures) -> Figures:
    return {f"{cells}, {name.strip()}": figures[name] for name in (*COSTS, *WORST)}


def _measure_together(cells: Sequence[BenchmarkHarness]) -> Figures:
    """The figures of one burst, divided evenly between cells."""
    each = TASKS // len(cells)
    at = time_after_storing(TASKS)
    for cell in cells:
        cell.store_tasks(each, first=at)
    with ThreadPoolExecutor(len(cells)) as pool:
        found = list(pool.map(lambda cell: measure_one_burst(cell, each, at), cells))
    costs = {
        name: statistics.mean(figures[name] for figures in found) for name in COSTS
    }
    worst = {name: max(figures[name] for figures in found) for name in WORST}
    faults = {name: sum(figures[name] for figures in found) for name in BURST_FAULTS}
    return {**costs, **worst, **faults}
