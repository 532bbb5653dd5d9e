"""How soon tasks are delivered, and at what cost: burst, steady, repeat, idle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from tests.benchmarks.figures import TARGET, Arrivals, Figures, Span, growth
from tests.benchmarks.harness import Bench, bench, sleep_until, soon

# How long a round lasts whose tasks come one after the other.
SECONDS = 10
# How much longer to wait for what is late before it counts as lost.
PATIENCE = 120


def burst(count: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{count} one-time tasks due at the same moment."""
    with bench() as harness:
        memory = harness.memory()
        for number in range(rounds):
            at = soon(count)
            harness.store(count, first=at)
            yield burst_of(harness, count, at)
            if number == 0:
                memory = harness.memory()
        yield settled(harness, memory)


def burst_of(harness: Bench, count: int, at: datetime) -> Figures:
    due = at.timestamp()
    # Before the beat looks ahead, and after the work of storing them.
    sleep_until(due - 2)
    before = harness.reading()
    harness.wait_for_runs(count, before=due + 1, timeout=PATIENCE)
    used = harness.since(before)
    arrived = harness.arrivals()
    duration = arrived.last - due
    return {
        "delivered in s": duration,
        "delivered per s": arrived.different / duration,
        "recorded in s": harness.recorded_at(due) - due,
        **arrived.lateness(),
        **used.per(count, "delivery"),
        # Only while requests came, or waiting for the moment would hide it.
        "target % busy": used.cpu[TARGET] / duration * 100,
        **arrived.faults(count),
    }


def steady(rate: int = 1000, stored: int = 1000, *, rounds: int) -> Iterator[Figures]:
    """{rate} one-time tasks due every second, one after the other, with {stored} others stored."""
    with bench() as harness:
        harness.store_others(stored)
        count = rate * SECONDS * rounds
        first = soon(count)
        span = timedelta(seconds=SECONDS * rounds)
        harness.store(count, first=first, spread=span)
        yield from fires(harness, first, rate * SECONDS, rounds=rounds)


def repeat(tasks: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{tasks} periodic tasks that fire every 10 seconds, evenly spread."""
    with bench() as harness:
        first, every = soon(tasks), timedelta(seconds=SECONDS)
        harness.store(tasks, first=first, spread=every, every=every)
        yield from fires(harness, first, tasks, rounds=rounds)


def idle(stored: int = 1_000_000, *, rounds: int) -> Iterator[Figures]:
    """{stored} tasks stored and nothing due; memory is compared with an empty service."""
    with bench() as harness:
        memory = harness.memory()
        harness.store_others(stored)
        time.sleep(5)
        for _ in range(rounds):
            before = harness.reading()
            time.sleep(SECONDS)
            yield harness.since(before).shares()
        yield settled(harness, memory)


class Round(NamedTuple):
    start: float
    end: float
    used: Span


def fires(
    harness: Bench, first: datetime, each: int, *, rounds: int
) -> Iterator[Figures]:
    """The figures of so many fires a round at a steady rate, and the memory."""
    seen, memory = watch(harness, first, rounds=rounds)
    end = seen[-1].end
    harness.wait_for_runs(each * rounds, before=end, timeout=PATIENCE)
    arrived = harness.arrivals()
    for start, end, used in seen:
        yield of_round(arrived.planned_in(start, end), used, each)
    yield settled(harness, memory)


def watch(
    harness: Bench, first: datetime, *, rounds: int
) -> tuple[list[Round], dict[str, float]]:
    """What was used in each round, and the memory after the first one."""
    seen: list[Round] = []
    memory: dict[str, float] = {}
    start = first.timestamp()
    sleep_until(start)
    for _ in range(rounds):
        before = harness.reading()
        sleep_until(start + SECONDS)
        seen.append(Round(start, start + SECONDS, harness.since(before)))
        memory = memory or harness.memory()
        start += SECONDS
    return seen, memory


def of_round(
    arrived: Arrivals, used: Span, count: int, *, sent: int | None = None
) -> Figures:
    """What came of so many runs, if others were sent too: of so many in all."""
    return {
        "fires per s": arrived.different / used.seconds,
        **arrived.lateness(),
        **used.per(sent or count, "delivery"),
        **arrived.faults(count),
    }


def settled(harness: Bench, before: dict[str, float]) -> Figures:
    """The memory of each process at the end, and what it grew by since `before`."""
    after = harness.memory()
    held = {f"{name} memory MB": size for name, size in after.items()}
    return {**held, **growth(before, after)}
