"""What is measured: each scenario runs on a fresh stand and returns its figures."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tests.benchmarks import fill, queue
from tests.benchmarks.measure import Arrivals, percentile
from tests.benchmarks.stand import Bench, bench

Figures = dict[str, float]

# Promises, not speeds: one of these makes `make bench` fail.
FAULTS = ("lost", "doubled", "early", "refused")
STORED = 100_000


class Scenario(NamedTuple):
    measure: Callable[[], Figures]
    rounds: int


def burst() -> Figures:
    """10,000 one-offs due at the same moment."""
    count = 10_000
    with bench() as stand:
        at = datetime.now(UTC) + timedelta(seconds=15)
        fill.one_offs(stand.postgres.url, count, at=at, url=stand.target)
        _check(stand)
        due = at.timestamp()
        # Late enough for the work of storing them to be over.
        time.sleep(max(0.0, due - 2 - time.time()))
        before = stand.cpu()
        stand.wait_for_runs(count, before=due + 1, timeout=90)
        used = stand.cpu_since(before)
        arrived, recorded_at = stand.arrivals(), stand.recorded_at()
    duration = arrived.last - due
    return {
        "delivered in s": duration,
        "delivered per s": arrived.different / duration,
        "recorded in s": recorded_at - due,
        **_lateness(arrived),
        **_cpu_each(used, count),
        **_faults(arrived, count),
    }


def steady() -> Figures:
    """200 fires a second for 30 s, with 100,000 other tasks stored."""
    tasks, rounds, every = 2000, 3, timedelta(seconds=10)
    with bench() as stand:
        _store_others(stand)
        first = datetime.now(UTC) + timedelta(seconds=15)
        fill.repeating(
            stand.postgres.url, tasks, every=every, first=first, url=stand.target
        )
        _check(stand)
        end = (first + rounds * every).timestamp()
        time.sleep(max(0.0, first.timestamp() - time.time()))
        before = stand.cpu()
        time.sleep(max(0.0, end - time.time()))
        used = stand.cpu_since(before)
        stand.wait_for_runs(tasks * rounds, before=end, timeout=60)
        arrived = stand.arrivals().planned_before(end)
    count = tasks * rounds
    return {
        "fires": len(arrived.rows),
        **_lateness(arrived),
        **_cpu_each(used, count),
        **_faults(arrived, count),
    }


def idle() -> Figures:
    """100,000 tasks stored and nothing due, for 15 s."""
    seconds = 15
    with bench() as stand:
        _store_others(stand)
        time.sleep(5)
        before = stand.cpu()
        time.sleep(seconds)
        used = stand.cpu_since(before)
    return {f"{name} % of a core": used[name] / seconds * 100 for name in used}


def create() -> Figures:
    """One-offs stored through the API, one a request, by eight clients at once."""
    count = 2000
    with bench() as stand:
        before = stand.cpu()
        started = time.monotonic()
        waits, refused = _create_by(8, count // 8, stand)
        duration = time.monotonic() - started
        used = stand.cpu_since(before)
    return {
        "creates per s": len(waits) / duration,
        "answer p50 ms": percentile(waits, 0.5) * 1000,
        "answer p99 ms": percentile(waits, 0.99) * 1000,
        "web CPU µs each": used["web"] / count * 1e6,
        "postgres CPU µs each": used["postgres"] / count * 1e6,
        "refused": refused,
    }


def _create_by(clients: int, each: int, stand: Bench) -> tuple[list[float], int]:
    """How long each create took, shortest first, and how many were refused."""
    waits: list[float] = []
    refused: list[int] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=60)
        for _ in range(each):
            began = time.monotonic()
            status = _post(connection, stand)
            waits.append(time.monotonic() - began)
            if status != 201:
                refused.append(status)
        connection.close()

    _together(threading.Thread(target=work) for _ in range(clients))
    return sorted(waits), clients * each - len(waits) + len(refused)


def _post(connection: http.client.HTTPConnection, stand: Bench) -> int:
    task = {
        "task_type": "one_time",
        "run_datetime": "2099-01-01T00:00:00Z",
        "url": stand.target,
        "post_data": {"hello": "world"},
    }
    headers = {"Authorization": str(stand.api.headers["Authorization"])}
    connection.request("POST", "/tasks/", json.dumps(task), headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _together(threads: Iterable[threading.Thread]) -> None:
    started = list(threads)
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def _store_others(stand: Bench) -> None:
    later = datetime.now(UTC) + timedelta(days=300)
    fill.one_offs(stand.postgres.url, STORED, at=later, url=stand.target)


def _check(stand: Bench) -> None:
    """That the tasks were stored as the service stores them."""
    ask = "from tasks_api import periodic; print(periodic.drifted(limit=1))"
    assert stand.manage("shell", "--no-imports", "--command", ask) == "[]"


def _lateness(arrived: Arrivals) -> Figures:
    late = arrived.lateness
    parts = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {f"late {k} ms": percentile(late, part) * 1000 for k, part in parts.items()}


def _cpu_each(used: dict[str, float], count: int) -> Figures:
    each = {f"  of it {name}": spent / count * 1e6 for name, spent in used.items()}
    return {"CPU µs per delivery": sum(used.values()) / count * 1e6, **each}


def _faults(arrived: Arrivals, count: int) -> Figures:
    different = arrived.different
    return {
        "lost": max(0, count - different),
        "doubled": len(arrived.rows) - min(count, different),
        "early": arrived.early,
    }


SCENARIOS = {
    "burst": Scenario(burst, rounds=3),
    "steady": Scenario(steady, rounds=1),
    "idle": Scenario(idle, rounds=1),
    "create": Scenario(create, rounds=3),
    "queue": Scenario(queue.measure, rounds=1),
}
