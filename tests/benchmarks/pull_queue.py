"""How fast the pull queue is through HTTP, with a thousand jobs waiting and with a million."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from urllib.parse import quote

import psycopg

from tests.benchmarks.api_clients import Call, shared, waits
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import Bench, bench

# The queue that a longer one is compared with.
SHORT = 1000
QUEUE = "bench"
CLIENTS = 4
CALLS = 1000
# How many jobs lie dead at the old end of the queue for the last figure.
SWEPT = 0.1

# As a client with a driver of its own would store them; nobody counts them afterwards,
# so the planner knows nothing of them.
_FILL = """
    INSERT INTO tasks_api_message (tenant_id, queue, name, timeout_seconds, max_retries,
        retry_count, payload, run_at, created_at)
    SELECT tenant.id, %s, 'stored ' || n, 3600, 0, 0, '{"hello": "world"}',
        now() - interval '1 day' + n * interval '1 millisecond', now()
    FROM (SELECT id FROM accounts_tenant LIMIT 1) tenant, generate_series(1, %s) n
"""
_SWEEP = """
    DELETE FROM tasks_api_message WHERE id IN (
        SELECT id FROM tasks_api_message WHERE leased_until IS NULL
        ORDER BY run_at LIMIT %s
    )
"""


class Queue:
    """The queue of a harness, and who talks to it."""

    def __init__(self, harness: Bench) -> None:
        self._harness = harness
        self._clients = [harness.client() for _ in range(CLIENTS)]
        self._numbers = itertools.count()
        self.figures: Figures = {}
        self.refused = self.doubled = 0

    def fill(self, size: int) -> None:
        with psycopg.connect(self._harness.postgres.url, autocommit=True) as connection:
            connection.execute("TRUNCATE tasks_api_message")
            connection.execute(_FILL, [QUEUE, size])
            # Writing it all out would otherwise fall into what is measured.
            connection.execute("CHECKPOINT")

    def sweep(self, count: int) -> None:
        with psycopg.connect(self._harness.postgres.url, autocommit=True) as connection:
            connection.execute(_SWEEP, [count])

    def jobs(self, count: int) -> list[dict[str, object]]:
        return [
            {"id": f"new {next(self._numbers)}", "queue": QUEUE, "timeout": 3600}
            for _ in range(count)
        ]

    def measure(self, name: str, calls: Sequence[Call], *, jobs: int = 1) -> list[str]:
        """Make calls, shared among all clients if each is for one job; the ids taken."""
        clients = self._clients if jobs == 1 else self._clients[:1]
        began = time.perf_counter()
        answers = shared(clients, calls)
        duration = time.perf_counter() - began
        self.refused += sum(answer.status not in (200, 202) for answer in answers)
        self.figures |= waits((answer.seconds for answer in answers), name)
        self.figures[f"{name} jobs per s"] = len(calls) * jobs / duration
        bodies = [answer.body for answer in answers if answer.body]
        return [job["id"] for body in bodies for job in json.loads(body)]


def queue(stored: int = 1_000_000, *, rounds: int) -> Iterator[Figures]:
    """Jobs enqueued, fetched and completed with {stored} waiting, against 1,000 waiting."""
    with bench() as harness:
        for _ in range(rounds):
            short, long = _round(harness, SHORT), _round(harness, stored)
            ratios = {
                f"long : short, {name}": each / short.figures[name]
                for name, each in long.figures.items()
                if "p50" in name
            }
            yield {
                **{f"short: {name}": each for name, each in short.figures.items()},
                **{f"long: {name}": each for name, each in long.figures.items()},
                **ratios,
                "refused": short.refused + long.refused,
                "doubled": short.doubled + long.doubled,
            }


def _round(harness: Bench, size: int) -> Queue:
    measured = Queue(harness)
    measured.fill(size)
    measured.doubled = _measure(measured, size)
    return measured


def _measure(queue: Queue, size: int) -> int:
    """Measure each operation, leaving as many jobs as before; how many came twice."""
    fetch = f"/next?queue={QUEUE}&num_jobs="
    enqueue: list[Call] = [Call("POST", "/enqueue", job) for job in queue.jobs(CALLS)]
    queue.measure("enqueue", enqueue)
    taken = queue.measure("next", [Call("GET", f"{fetch}1")] * CALLS)
    paths = [f"/complete?queue={QUEUE}&job_id={quote(job_id)}" for job_id in taken]
    queue.measure("complete", [Call("DELETE", path) for path in paths])
    queue.measure("batch of 1000", _batches(queue, 10, 1000), jobs=1000)
    hundreds: list[Call] = [Call("GET", f"{fetch}100")] * 100
    taken += queue.measure("next 100", hundreds, jobs=100)
    queue.measure("batch of 10000", _batches(queue, 3, 10_000), jobs=10_000)
    queue.sweep(int(size * SWEPT))
    taken += queue.measure("next, swept", [Call("GET", f"{fetch}1")] * 200)
    return len(taken) - len(set(taken))


def _batches(queue: Queue, count: int, size: int) -> list[Call]:
    return [Call("POST", "/enqueue/batch", queue.jobs(size)) for _ in range(count)]
