"""What one tenant notices of others: slow targets, a flood, changes while tasks fire."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import psycopg

from tests.benchmarks import seed_data
from tests.benchmarks.api_clients import PACED_CLIENTS, Call, paced, waits
from tests.benchmarks.delivery import (
    PATIENCE,
    SECONDS,
    of_round,
    settled,
    watch,
)
from tests.benchmarks.figures import Arrivals, Figures
from tests.benchmarks.harness import ADDRESSES, Bench, bench, sleep_until, soon

# Of a hundred targets, how many answer late.
SLOW = ADDRESSES // 10
# How many tasks the small tenant has, and how far apart.
SMALL, APART = 10, timedelta(seconds=0.5)
# How fast tasks fire while others are changed, and how many others there are.
FIRED, OTHERS = 1000, 100_000


def slow(rate: int = 200, *, rounds: int) -> Iterator[Figures]:
    """{rate} fires a second over 100 targets, alone and then with 10 targets that take 20 s."""
    with bench() as harness:
        quick = harness.targets(ADDRESSES - SLOW)
        late = harness.targets(SLOW, "/slow", after=ADDRESSES - SLOW)
        same = harness.targets(SLOW, after=ADDRESSES - SLOW)
        alone = list(_over(harness, rate, quick, same, rounds))
        beside = list(_over(harness, rate, quick, late, rounds))
        for (before, _), (others, held_up) in zip(alone, beside, strict=True):
            p99, others_p99 = before["late p99 ms"], others["late p99 ms"]
            yield {
                "alone: late p99 ms": p99,
                "others: late p99 ms": others_p99,
                "others : alone, late p99": others_p99 / p99,
                **{k: v for k, v in others.items() if k != "late p99 ms"},
                **held_up.lateness("slow ones: "),
            }


def _over(
    harness: Bench, rate: int, quick: list[str], rest: list[str], rounds: int
) -> Iterator[tuple[Figures, Arrivals]]:
    """The quick targets' figures of each round, and what came to the slow ones."""
    total = rate * SECONDS * rounds
    urls = [*quick, *rest]
    first = soon(total)
    harness.store(
        total, first=first, urls=urls, spread=timedelta(seconds=SECONDS * rounds)
    )
    seen, _ = watch(harness, first, rounds=rounds)
    to_quick = [url for url in urls if url.endswith("/hook")]
    counted = total * len(to_quick) // len(urls)
    harness.wait_for_runs(counted, timeout=PATIENCE)
    arrived = harness.arrivals()
    for start, end, used in seen:
        planned = arrived.planned_in(start, end)
        yield (
            of_round(planned.to("/hook"), used, counted // rounds, sent=rate * SECONDS),
            planned.to("/slow"),
        )


def flood(count: int = 100_000, *, rounds: int) -> Iterator[Figures]:
    """One tenant has {count} tasks due at once, another one ten, half a second apart."""
    with bench() as harness:
        small, token = "/small", harness.another_tenant()
        for _ in range(rounds):
            at = soon(count)
            harness.store(count, first=at, urls=harness.targets(10))
            harness.store(
                SMALL,
                first=at,
                urls=harness.targets(1, small, after=10),
                spread=SMALL * APART,
                token=token,
            )
            yield _flooded(harness, count, at, small)


def _flooded(harness: Bench, count: int, at: datetime, small: str) -> Figures:
    due = at.timestamp()
    sleep_until(due - 2)
    before = harness.reading()
    harness.wait_for_runs(count + SMALL, before=due + 60, timeout=PATIENCE)
    used = harness.since(before)
    arrived = harness.arrivals()
    return {
        **arrived.to(small).lateness("small tenant: "),
        "flood delivered in s": arrived.to("/hook").last - due,
        **used.per(count, "delivery"),
        **arrived.faults(count + SMALL),
    }


def edits(rate: int = 50, stored: int = OTHERS, *, rounds: int) -> Iterator[Figures]:
    """{rate} changes a second through the API while 1,000/s fire, with {stored} others stored."""
    with bench() as harness:
        harness.store_others(stored)
        yield from _while_firing(harness, rate, _api_change(harness), rounds)


def admin(rate: int = 5, stored: int = OTHERS, *, rounds: int) -> Iterator[Figures]:
    """{rate} edits a second as the admin makes them, while 1,000/s fire, with {stored} others stored."""
    with bench() as harness:
        harness.store_others(stored)
        yield from _while_firing(harness, rate, _admin_edit(harness), rounds)


def _while_firing(
    harness: Bench, rate: int, change: Callable[[int], float], rounds: int
) -> Iterator[Figures]:
    total = FIRED * SECONDS
    first, every = soon(total), timedelta(seconds=SECONDS)
    harness.store(total, first=first, spread=every, every=every)
    sleep_until(first.timestamp() - 1)
    began = time.monotonic()
    with paced(change, rate) as took:
        seen, memory = watch(harness, first, rounds=rounds)
    changes = {"changes per s": len(took) / (time.monotonic() - began)}
    harness.wait_for_runs(total * rounds, before=seen[-1].end, timeout=PATIENCE)
    arrived = harness.arrivals()
    for start, end, used in seen:
        yield of_round(arrived.planned_in(start, end), used, total)
    yield {
        **changes,
        **waits(took, "change"),
        **settled(harness, memory),
    }


def _api_change(harness: Bench) -> Callable[[int], float]:
    """A client creates a task, pauses it, resumes it and deletes it; then another."""
    clients = [harness.client() for _ in range(PACED_CLIENTS)]
    ids = [""] * PACED_CLIENTS
    task = seed_data.one_off(seed_data.LATER, harness.target)

    def change(number: int) -> float:
        step, place = divmod(number, PACED_CLIENTS)
        path = f"/tasks/{ids[place]}"
        call = (
            Call("POST", "/tasks/", task),
            Call("POST", f"{path}/pause/"),
            Call("POST", f"{path}/resume/"),
            Call("DELETE", path),
        )[step % 4]
        answer = clients[place](call)
        assert answer.status in (200, 201), answer
        if answer.status == 201:
            ids[place] = json.loads(answer.body)["id"]
        return answer.seconds

    return change


def _admin_edit(harness: Bench) -> Callable[[int], float]:
    """What django-celery-beat does when a form is saved: the row, and a row for all."""
    statement = """
        WITH edited AS (
            UPDATE django_celery_beat_periodictask
            SET expires = '2100-01-01Z'::timestamptz + %s * interval '1 second',
                date_changed = now()
            WHERE id = %s
        )
        UPDATE django_celery_beat_periodictasks SET last_update = clock_timestamp()
    """
    some = "SELECT periodic_task_id FROM tasks_api_task LIMIT 100"
    ids = [periodic_id for (periodic_id,) in harness.query(some)]

    def change(number: int) -> float:
        began = time.perf_counter()
        with psycopg.connect(harness.postgres.url, autocommit=True) as connection:
            connection.execute(statement, [number, ids[number % len(ids)]])
        return time.perf_counter() - began

    return change
