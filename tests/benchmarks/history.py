"""Measures what history costs: what a run writes, bursts beside it, and to forget a day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from tests.benchmarks import seed_data
from tests.benchmarks.delivery import measure_one_burst
from tests.benchmarks.feature_overhead import WARM_UP_TASKS, compare_bursts
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import (
    BenchmarkHarness,
    benchmark_harness,
    time_after_storing,
)
from tests.benchmarks.retention import SyntheticHistory, measure_lateness

BURST = 10_000

_WAL_POSITION = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
# Without live runs, which leave their place to the next ones.
_RUNS_SIZE = """
    SELECT sum(pg_total_relation_size(relid))::bigint FROM (
        SELECT relid FROM pg_partition_tree('tasks_api_run') WHERE isleaf
        UNION ALL
        SELECT relid FROM pg_partition_tree('tasks_api_attempt') WHERE isleaf) AS leaf
    WHERE relid <> 'tasks_api_run_live'::regclass
"""


def measure_history(stored: int = 400_000, *, rounds: int) -> Iterator[Figures]:
    """10,000 one-time tasks due at the same moment where the tenant has a day of {stored} runs that are over, in turn with as many where it has none; then that day is forgotten while others are delivered."""
    with benchmark_harness() as empty, benchmark_harness() as full:
        past = SyntheticHistory(full, stored)
        past.store_tasks(tenants=0)
        past.add_day()
        seed_data.vacuum_and_checkpoint(full.postgres.url)
        for harness in (empty, full):
            _measure_burst(harness, WARM_UP_TASKS)
        for number in range(rounds):
            pair = {
                "none": partial(_measure_burst, empty),
                "stored": partial(_measure_burst, full),
            }
            yield compare_bursts(number, "", pair) | _measure_writes(empty)
        yield _measure_forgetting(full, past)


def _measure_burst(harness: BenchmarkHarness, tasks: int = BURST) -> Figures:
    at = time_after_storing(tasks)
    harness.store_tasks(tasks, first=at)
    return measure_one_burst(harness, tasks, at)


def _measure_writes(harness: BenchmarkHarness) -> Figures:
    """What a run of a one-time task writes, from when it is due until it is over."""
    at = time_after_storing(3 * BURST)
    harness.store_tasks(BURST, first=at)
    seed_data.vacuum_and_checkpoint(harness.postgres.url)
    wal, size = _read_number(harness, _WAL_POSITION), _read_number(harness, _RUNS_SIZE)
    measure_one_burst(harness, BURST, at)
    written = _read_number(harness, _WAL_POSITION) - wal
    grown = _read_number(harness, _RUNS_SIZE) - size
    return {
        "WAL bytes per one-time run": written / BURST,
        "table bytes per one-time run": grown / BURST,
    }


def _read_number(harness: BenchmarkHarness, statement: str) -> int:
    return int(harness.query(statement)[0][0])


def _measure_forgetting(harness: BenchmarkHarness, past: SyntheticHistory) -> Figures:
    found: dict[str, float] = {}

    def forget() -> None:
        output, _ = past.start_pruner("--days").communicate()
        found.update(json.loads(output))

    alone = measure_lateness(harness, "alone: ")
    beside = measure_lateness(harness, "forgetting: ", meanwhile=forget)
    return {
        **alone,
        **beside,
        "runs forgotten": found["runs"],
        "day forgotten in s": found["seconds"],
    }
