"""Measures the pull queue through HTTP, with a thousand jobs waiting and with a million."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from urllib.parse import quote

import psycopg

from tests.benchmarks.api_clients import ApiCall, call_in_parallel, response_times
from tests.benchmarks.figures import Figures
from tests.benchmarks.harness import BenchmarkHarness, benchmark_harness

# The length that a longer queue is compared with.
SHORT_QUEUE = 1000
QUEUE = "bench"
CLIENTS = 4
CALLS = 1000
# This share of the jobs lies dead at the old end of the queue for the last figure.
DEAD_SHARE = 0.1

# There is no ANALYZE afterwards, so the planner has no statistics of these rows.
_INSERT_JOBS = """
    INSERT INTO tasks_api_message (tenant_id, queue, name, timeout_seconds, max_retries,
        retry_count, payload, run_at, created_at)
    SELECT tenant.id, %s, 'stored ' || n, 3600, 0, 0, '{"hello": "world"}',
        now() - interval '1 day' + n * interval '1 millisecond', now()
    FROM (SELECT id FROM accounts_tenant LIMIT 1) tenant, generate_series(1, %s) n
"""
_DELETE_OLDEST = """
    DELETE FROM tasks_api_message WHERE id IN (
        SELECT id FROM tasks_api_message WHERE leased_until IS NULL
        ORDER BY run_at LIMIT %s
    )
"""


class MeasuredQueue:
    """A queue with its clients, and the figures of what they did."""

    def __init__(self, harness: BenchmarkHarness) -> None:
        self._harness = harness
        self._clients = [harness.open_client() for _ in range(CLIENTS)]
        self._numbers = itertools.count()
        self.figures: Figures = {}
        self.refused = self.doubled = 0

    def fill(self, size: int) -> None:
        with psycopg.connect(self._harness.postgres.url, autocommit=True) as connection:
            connection.execute("TRUNCATE tasks_api_message")
            connection.execute(_INSERT_JOBS, [QUEUE, size])
            # Writing it all out would otherwise fall into what is measured.
            connection.execute("CHECKPOINT")

    def delete_oldest(self, count: int) -> None:
        with psycopg.connect(self._harness.postgres.url, autocommit=True) as connection:
            connection.execute(_DELETE_OLDEST, [count])

    def new_jobs(self, count: int) -> list[dict[str, object]]:
        return [
            {"id": f"new {next(self._numbers)}", "queue": QUEUE, "timeout": 3600}
            for _ in range(count)
        ]

    def measure(
        self, name: str, calls: Sequence[ApiCall], *, jobs: int = 1
    ) -> list[str]:
        """Make calls, by all clients if each is for one job; returns the ids that were fetched."""
        clients = self._clients if jobs == 1 else self._clients[:1]
        began = time.perf_counter()
        answers = call_in_parallel(clients, calls)
        duration = time.perf_counter() - began
        self.refused += sum(answer.status not in (200, 202) for answer in answers)
        self.figures |= response_times((answer.seconds for answer in answers), name)
        self.figures[f"{name} jobs per s"] = len(calls) * jobs / duration
        bodies = [answer.body for answer in answers if answer.body]
        return [job["id"] for body in bodies for job in json.loads(body)]


def measure_queue(stored: int = 1_000_000, *, rounds: int) -> Iterator[Figures]:
    """Jobs enqueued, fetched and completed with {stored} waiting, against 1,000 waiting."""
    with benchmark_harness() as harness:
        for _ in range(rounds):
            short, long = (
                _measure_length(harness, SHORT_QUEUE),
                _measure_length(harness, stored),
            )
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


def _measure_length(harness: BenchmarkHarness, size: int) -> MeasuredQueue:
    measured = MeasuredQueue(harness)
    measured.fill(size)
    measured.doubled = _measure_operations(measured, size)
    return measured


def _measure_operations(queue: MeasuredQueue, size: int) -> int:
    """Measure each operation, and leave as many jobs; returns how many came twice."""
    fetch = f"/next?queue={QUEUE}&num_jobs="
    enqueue: list[ApiCall] = [
        ApiCall("POST", "/enqueue", job) for job in queue.new_jobs(CALLS)
    ]
    queue.measure("enqueue", enqueue)
    fetched = queue.measure("next", [ApiCall("GET", f"{fetch}1")] * CALLS)
    paths = [f"/complete?queue={QUEUE}&job_id={quote(job_id)}" for job_id in fetched]
    queue.measure("complete", [ApiCall("DELETE", path) for path in paths])
    queue.measure("batch of 1000", _batches(queue, 10, 1000), jobs=1000)
    hundreds: list[ApiCall] = [ApiCall("GET", f"{fetch}100")] * 100
    fetched += queue.measure("next 100", hundreds, jobs=100)
    queue.measure("batch of 10000", _batches(queue, 3, 10_000), jobs=10_000)
    queue.delete_oldest(int(size * DEAD_SHARE))
    fetched += queue.measure("next, swept", [ApiCall("GET", f"{fetch}1")] * 200)
    return len(fetched) - len(set(fetched))


def _batches(queue: MeasuredQueue, count: int, size: int) -> list[ApiCall]:
    return [
        ApiCall("POST", "/enqueue/batch", queue.new_jobs(size)) for _ in range(count)
    ]
