"""Measures how soon tasks are delivered, and at what cost: burst, crons, steady, repeat, idle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tests.benchmarks.figures import (
    TARGET,
    Deliveries,
    Figures,
    ResourceUsage,
    memory_growth,
)
from tests.benchmarks.harness import (
    BenchmarkHarness,
    benchmark_harness,
    sleep_until,
    time_after_storing,
)

MINUTE = timedelta(minutes=1)
CPU = "CPU µs per delivery"
# The length of a round whose tasks are due one after the other.
SECONDS = 10
# So many seconds late a run counts as lost.
DELIVERY_TIMEOUT = 120


def measure_burst(count: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{count} one-time tasks due at the same moment."""
    with benchmark_harness() as harness:
        memory = harness.read_memory()
        for number in range(rounds):
            at = time_after_storing(count)
            harness.store_tasks(count, first=at)
            yield measure_one_burst(harness, count, at)
            if number == 0:
                memory = harness.read_memory()
        yield memory_figures(harness, memory)


def measure_one_burst(harness: BenchmarkHarness, count: int, at: datetime) -> Figures:
    due = at.timestamp()
    # Before the beat looks ahead, and after the tasks were stored.
    sleep_until(due - 2)
    before = harness.read_usage()
    harness.wait_for_runs(count, before=due + 1, timeout=DELIVERY_TIMEOUT)
    used = harness.usage_since(before)
    arrived = harness.take_deliveries()
    duration = arrived.last_arrival - due
    return {
        "delivered in s": duration,
        "delivered per s": arrived.distinct_runs / duration,
        "recorded in s": harness.last_recorded_at(due) - due,
        **arrived.lateness(),
        **used.cost_per(count, "delivery"),
        # Only while requests arrive: the time before would hide it.
        "target % busy": used.cpu[TARGET] / duration * 100,
        **arrived.count_faults(count),
    }


def measure_crons(count: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{count} crons due in the same minute, and as many intervals, from their second fire on."""
    with benchmark_harness() as harness:
        intervals = _measure_minutes(harness, count, rounds, every=MINUTE)
        crons = _measure_minutes(harness, count, rounds, cron="* * * * *")
        for of_intervals, of_crons in zip(intervals, crons, strict=True):
            yield {
                **{f"crons, {name}": of_crons[name] for name in of_crons},
                "crons : intervals, CPU": of_crons[CPU] / of_intervals[CPU],
                "crons : intervals, delivered in s": of_crons["delivered in s"]
                / of_intervals["delivered in s"],
            }


def _measure_minutes(
    harness: BenchmarkHarness, count: int, rounds: int, **schedule: Any
) -> list[Figures]:
    """The figures of full minutes at which all tasks of a schedule are due."""
    ready = time_after_storing(count) + MINUTE
    first = ready.replace(second=0, microsecond=0)
    harness.store_tasks(count, first=first, **schedule)
    found = [
        measure_one_burst(harness, count, first + number * MINUTE)
        for number in range(rounds + 1)
    ]
    harness.delete_all_tasks()
    return found[1:]


def measure_steady(
    rate: int = 1000, stored: int = 1000, *, rounds: int
) -> Iterator[Figures]:
    """{rate} one-time tasks due every second, one after the other, with {stored} others stored."""
    with benchmark_harness() as harness:
        harness.store_idle_tasks(stored)
        count = rate * SECONDS * rounds
        first = time_after_storing(count)
        span = timedelta(seconds=SECONDS * rounds)
        harness.store_tasks(count, first=first, spread=span)
        yield from measure_fires(harness, first, rate * SECONDS, rounds=rounds)


def measure_repeat(tasks: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{tasks} periodic tasks that fire every 10 seconds, evenly spread."""
    with benchmark_harness() as harness:
        first, every = time_after_storing(tasks), timedelta(seconds=SECONDS)
        harness.store_tasks(tasks, first=first, spread=every, every=every)
        yield from measure_fires(harness, first, tasks, rounds=rounds)


def measure_idle(stored: int = 1_000_000, *, rounds: int) -> Iterator[Figures]:
    """{stored} tasks stored and nothing due; memory is compared with an empty service."""
    with benchmark_harness() as harness:
        memory = harness.read_memory()
        harness.store_idle_tasks(stored)
        time.sleep(5)
        for _ in range(rounds):
            before = harness.read_usage()
            time.sleep(SECONDS)
            yield harness.usage_since(before).cpu_shares()
        yield memory_figures(harness, memory)


class MeasuredRound(NamedTuple):
    start: float
    end: float
    used: ResourceUsage


def measure_fires(
    harness: BenchmarkHarness, first: datetime, each: int, *, rounds: int
) -> Iterator[Figures]:
    """The figures of each round at a steady rate, then the memory."""
    measured, memory = watch_rounds(harness, first, rounds=rounds)
    end = measured[-1].end
    harness.wait_for_runs(each * rounds, before=end, timeout=DELIVERY_TIMEOUT)
    arrived = harness.take_deliveries()
    for start, end, used in measured:
        yield round_figures(arrived.scheduled_between(start, end), used, each)
    yield memory_figures(harness, memory)


def watch_rounds(
    harness: BenchmarkHarness, first: datetime, *, rounds: int
) -> tuple[list[MeasuredRound], dict[str, float]]:
    """The usage of each round, and the memory after the first one."""
    measured: list[MeasuredRound] = []
    memory: dict[str, float] = {}
    start = first.timestamp()
    sleep_until(start)
    for _ in range(rounds):
        before = harness.read_usage()
        sleep_until(start + SECONDS)
        measured.append(
            MeasuredRound(start, start + SECONDS, harness.usage_since(before))
        )
        memory = memory or harness.read_memory()
        start += SECONDS
    return measured, memory


def round_figures(
    arrived: Deliveries, used: ResourceUsage, count: int, *, sent: int | None = None
) -> Figures:
    """The figures of `count` runs, where `sent` were sent in all."""
    return {
        "fires per s": arrived.distinct_runs / used.seconds,
        **arrived.lateness(),
        **used.cost_per(sent or count, "delivery"),
        **arrived.count_faults(count),
    }


def memory_figures(harness: BenchmarkHarness, before: dict[str, float]) -> Figures:
    """The memory of each process, and its growth since `before`."""
    after = harness.read_memory()
    held = {f"{name} memory MB": size for name, size in after.items()}
    return {**held, **memory_growth(before, after)}
