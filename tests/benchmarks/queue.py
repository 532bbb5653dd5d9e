"""How fast the pull queue is through HTTP, with a thousand jobs waiting and with a million."""

from __future__ import annotations

import http.client
import itertools
import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import quote

import psycopg

from tests.benchmarks.measure import percentile
from tests.benchmarks.stand import Bench, bench

SIZES = {"1k": 1000, "100k": 100_000, "1M": 1_000_000}
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

Call = tuple[str, str, object]


class Answer(NamedTuple):
    status: int
    body: bytes
    seconds: float


class Client:
    """One connection, kept alive."""

    def __init__(self, stand: Bench) -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", stand.port, timeout=120
        )
        self._headers = {"Authorization": str(stand.api.headers["Authorization"])}

    def __call__(self, call: Call) -> Answer:
        method, path, body = call
        text = None if body is None else json.dumps(body)
        began = time.perf_counter()
        self._connection.request(method, path, text, self._headers)
        answer = self._connection.getresponse()
        read = answer.read()
        return Answer(answer.status, read, time.perf_counter() - began)


class Queue:
    """The queue of a stand, and who talks to it."""

    def __init__(self, stand: Bench) -> None:
        self._stand = stand
        self._clients = [Client(stand) for _ in range(CLIENTS)]
        self._numbers = itertools.count()
        self.figures: dict[str, float] = {}
        self.refused = 0

    def fill(self, size: int) -> None:
        with psycopg.connect(self._stand.postgres.url, autocommit=True) as connection:
            connection.execute("TRUNCATE tasks_api_message")
            connection.execute(_FILL, [QUEUE, size])
            # Writing it all out would otherwise fall into what is measured.
            connection.execute("CHECKPOINT")

    def sweep(self, count: int) -> None:
        with psycopg.connect(self._stand.postgres.url, autocommit=True) as connection:
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
        answers = _shared(clients, calls)
        duration = time.perf_counter() - began
        waits = sorted(answer.seconds for answer in answers)
        self.refused += sum(answer.status not in (200, 202) for answer in answers)
        self.figures[f"{name} p50 ms"] = percentile(waits, 0.5) * 1000
        self.figures[f"{name} p99 ms"] = percentile(waits, 0.99) * 1000
        self.figures[f"{name} jobs per s"] = len(calls) * jobs / duration
        bodies = [answer.body for answer in answers if answer.body]
        return [job["id"] for body in bodies for job in json.loads(body)]


def _shared(clients: Sequence[Client], calls: Sequence[Call]) -> list[Answer]:
    def work(client: Client, share: Iterable[Call]) -> list[Answer]:
        return [client(call) for call in share]

    shares = [calls[place :: len(clients)] for place in range(len(clients))]
    with ThreadPoolExecutor(len(clients)) as pool:
        return [answer for part in pool.map(work, clients, shares) for answer in part]


def measure() -> dict[str, float]:
    """Jobs enqueued, fetched and completed, with 1,000 to 1,000,000 waiting."""
    found: dict[str, float] = {}
    refused = doubled = 0
    with bench() as stand:
        for size, count in SIZES.items():
            queue = Queue(stand)
            queue.fill(count)
            doubled += _measure(queue, count)
            refused += queue.refused
            found |= {f"{size}: {key}": each for key, each in queue.figures.items()}
    names = [key.removeprefix("1k: ") for key in found if key.startswith("1k: ")]
    ratios = {
        f"1M : 1k, {name}": found[f"1M: {name}"] / found[f"1k: {name}"]
        for name in names
        if "p50" in name
    }
    return {**found, **ratios, "refused": refused, "doubled": doubled}


def _measure(queue: Queue, size: int) -> int:
    """Measure each operation, leaving as many jobs as before; how many came twice."""
    fetch = f"/next?queue={QUEUE}&num_jobs="
    enqueue: list[Call] = [("POST", "/enqueue", job) for job in queue.jobs(CALLS)]
    queue.measure("enqueue", enqueue)
    taken = queue.measure("next", [("GET", f"{fetch}1", None)] * CALLS)
    paths = [f"/complete?queue={QUEUE}&job_id={quote(job_id)}" for job_id in taken]
    queue.measure("complete", [("DELETE", path, None) for path in paths])
    queue.measure("batch of 1000", _batches(queue, 10, 1000), jobs=1000)
    hundreds: list[Call] = [("GET", f"{fetch}100", None)] * 100
    taken += queue.measure("next 100", hundreds, jobs=100)
    queue.measure("batch of 10000", _batches(queue, 3, 10_000), jobs=10_000)
    queue.sweep(int(size * SWEPT))
    taken += queue.measure("next, swept", [("GET", f"{fetch}1", None)] * 200)
    return len(taken) - len(set(taken))


def _batches(queue: Queue, count: int, size: int) -> list[Call]:
    return [("POST", "/enqueue/batch", queue.jobs(size)) for _ in range(count)]
