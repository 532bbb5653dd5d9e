"""Measures what one tenant notices of others: slow targets, a flood, changes while tasks fire."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import psycopg

from tests.benchmarks import seed_data
from tests.benchmarks.api_clients import (
    RATED_CLIENTS,
    ApiCall,
    call_at_rate,
    response_times,
)
from tests.benchmarks.delivery import (
    DELIVERY_TIMEOUT,
    SECONDS,
    memory_figures,
    round_figures,
    watch_rounds,
)
from tests.benchmarks.figures import Deliveries, Figures
from tests.benchmarks.harness import (
    SINK_ADDRESSES,
    BenchmarkHarness,
    benchmark_harness,
    sleep_until,
    time_after_storing,
)

# So many of the hundred targets answer late.
SLOW_TARGETS = SINK_ADDRESSES // 10
# So many tasks has the small tenant, so far apart.
SMALL_TENANT_TASKS, INTERVAL = 10, timedelta(seconds=0.5)
# So many tasks fire a second while others are changed, of which there are so many.
FIRE_RATE, IDLE_TASKS = 1000, 100_000

_EDIT_TASK = """
    WITH edited AS (
        UPDATE django_celery_beat_periodictask
        SET expires = '2100-01-01Z'::timestamptz + %s * interval '1 second',
            date_changed = now()
        WHERE id = %s
    )
    UPDATE django_celery_beat_periodictasks SET last_update = clock_timestamp()
"""
_SOME_PERIODIC_TASKS = "SELECT periodic_task_id FROM tasks_api_task LIMIT 100"


def measure_slow(rate: int = 200, *, rounds: int) -> Iterator[Figures]:
    """{rate} fires a second over 100 targets, alone and then with 10 targets that take 20 s."""
    with benchmark_harness() as harness:
        quick = harness.target_urls(SINK_ADDRESSES - SLOW_TARGETS)
        late = harness.target_urls(
            SLOW_TARGETS, "/slow", after=SINK_ADDRESSES - SLOW_TARGETS
        )
        same = harness.target_urls(SLOW_TARGETS, after=SINK_ADDRESSES - SLOW_TARGETS)
        alone = list(_measure_targets(harness, rate, quick, same, rounds))
        beside = list(_measure_targets(harness, rate, quick, late, rounds))
        for (before, _), (others, slow) in zip(alone, beside, strict=True):
            p99, others_p99 = before["late p99 ms"], others["late p99 ms"]
            yield {
                "alone: late p99 ms": p99,
                "others: late p99 ms": others_p99,
                "others : alone, late p99": others_p99 / p99,
                **{k: v for k, v in others.items() if k != "late p99 ms"},
                **slow.lateness("slow ones: "),
            }


def _measure_targets(
    harness: BenchmarkHarness, rate: int, quick: list[str], rest: list[str], rounds: int
) -> Iterator[tuple[Figures, Deliveries]]:
    """The figures of the quick targets in each round, and the deliveries to the slow ones."""
    total = rate * SECONDS * rounds
    urls = [*quick, *rest]
    first = time_after_storing(total)
    harness.store_tasks(
        total, first=first, urls=urls, spread=timedelta(seconds=SECONDS * rounds)
    )
    measured, _ = watch_rounds(harness, first, rounds=rounds)
    to_quick = [url for url in urls if url.endswith("/hook")]
    counted = total * len(to_quick) // len(urls)
    harness.wait_for_runs(counted, timeout=DELIVERY_TIMEOUT)
    arrived = harness.take_deliveries()
    for start, end, used in measured:
        planned = arrived.scheduled_between(start, end)
        yield (
            round_figures(
                planned.for_path("/hook"), used, counted // rounds, sent=rate * SECONDS
            ),
            planned.for_path("/slow"),
        )


def measure_flood(count: int = 100_000, *, rounds: int) -> Iterator[Figures]:
    """One tenant has {count} tasks due at once, another one ten, half a second apart."""
    with benchmark_harness() as harness:
        small, token = "/small", harness.issue_other_tenant_token()
        for _ in range(rounds):
            at = time_after_storing(count)
            harness.store_tasks(count, first=at, urls=harness.target_urls(10))
            harness.store_tasks(
                SMALL_TENANT_TASKS,
                first=at,
                urls=harness.target_urls(1, small, after=10),
                spread=SMALL_TENANT_TASKS * INTERVAL,
                token=token,
            )
            yield _measure_flood(harness, count, at, small)


def _measure_flood(
    harness: BenchmarkHarness, count: int, at: datetime, small: str
) -> Figures:
    due = at.timestamp()
    sleep_until(due - 2)
    before = harness.read_usage()
    harness.wait_for_runs(
        count + SMALL_TENANT_TASKS, before=due + 60, timeout=DELIVERY_TIMEOUT
    )
    used = harness.usage_since(before)
    arrived = harness.take_deliveries()
    return {
        **arrived.for_path(small).lateness("small tenant: "),
        "flood delivered in s": arrived.for_path("/hook").last_arrival - due,
        **used.cost_per(count, "delivery"),
        **arrived.count_faults(count + SMALL_TENANT_TASKS),
    }


def measure_edits(
    rate: int = 50, stored: int = IDLE_TASKS, *, rounds: int
) -> Iterator[Figures]:
    """{rate} changes a second through the API while 1,000/s fire, with {stored} others stored."""
    with benchmark_harness() as harness:
        harness.store_idle_tasks(stored)
        yield from _measure_while_firing(
            harness, rate, _make_api_change(harness), rounds
        )


def measure_admin(
    rate: int = 5, stored: int = IDLE_TASKS, *, rounds: int
) -> Iterator[Figures]:
    """{rate} edits a second as the admin makes them, while 1,000/s fire, with {stored} others stored."""
    with benchmark_harness() as harness:
        harness.store_idle_tasks(stored)
        yield from _measure_while_firing(
            harness, rate, _make_admin_edit(harness), rounds
        )


def _measure_while_firing(
    harness: BenchmarkHarness, rate: int, change: Callable[[int], float], rounds: int
) -> Iterator[Figures]:
    total = FIRE_RATE * SECONDS
    first, every = time_after_storing(total), timedelta(seconds=SECONDS)
    harness.store_tasks(total, first=first, spread=every, every=every)
    sleep_until(first.timestamp() - 1)
    began = time.monotonic()
    with call_at_rate(change, rate) as durations:
        measured, memory = watch_rounds(harness, first, rounds=rounds)
    changes = {"changes per s": len(durations) / (time.monotonic() - began)}
    harness.wait_for_runs(
        total * rounds, before=measured[-1].end, timeout=DELIVERY_TIMEOUT
    )
    arrived = harness.take_deliveries()
    for start, end, used in measured:
        yield round_figures(arrived.scheduled_between(start, end), used, total)
    yield {
        **changes,
        **response_times(durations, "change"),
        **memory_figures(harness, memory),
    }


def _make_api_change(harness: BenchmarkHarness) -> Callable[[int], float]:
    """Each client creates a task, pauses it, resumes it and deletes it; then another."""
    clients = [harness.open_client() for _ in range(RATED_CLIENTS)]
    ids = [""] * RATED_CLIENTS
    task = seed_data.one_time_task(seed_data.FAR_FUTURE, harness.target_url)

    def change(number: int) -> float:
        step, place = divmod(number, RATED_CLIENTS)
        path = f"/tasks/{ids[place]}"
        call = (
            ApiCall("POST", "/tasks/", task),
            ApiCall("POST", f"{path}/pause/"),
            ApiCall("POST", f"{path}/resume/"),
            ApiCall("DELETE", path),
        )[step % 4]
        answer = clients[place](call)
        assert answer.status in (200, 201), answer
        if answer.status == 201:
            ids[place] = json.loads(answer.body)["id"]
        return answer.seconds

    return change


def _make_admin_edit(harness: BenchmarkHarness) -> Callable[[int], float]:
    """Writes what django-celery-beat does when a form is saved: the row, and the one of all changes."""
    ids = [periodic_id for (periodic_id,) in harness.query(_SOME_PERIODIC_TASKS)]

    def change(number: int) -> float:
        began = time.perf_counter()
        with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
            connection.execute(_EDIT_TASK, [number, ids[number % len(ids)]])
        return time.perf_counter() - began

    return change
