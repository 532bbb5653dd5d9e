"""Measure the service as real processes on this machine: `make bench`."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import psutil

from scheduler_service.supervisor import spawn
from tests.acceptance.stand import Stand, eventually, free_port
from tests.benchmarks.measure import Arrivals, cpu_of, percentile, table

Figures = dict[str, float]

# What the first version set out to reach on two cores, everything on them.
GOALS = {
    ("burst", "delivered in s"): "< 5",
    ("steady", "late p99 ms"): "< 300",
    ("idle", "beat % of a core"): "< 2",
}


class Bench(Stand):
    """A stand with durable servers and a target that is never the bottleneck."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, durable=True)
        self.environment |= {"WEB_CONCURRENCY": "2"}
        self.sink_port = free_port()
        self.target = f"http://127.0.0.1:{self.sink_port}/hook"

    def begin(self) -> None:
        self.start()
        os.environ.update(self.environment)
        self.sink = spawn(
            [sys.executable, "-m", "tests.benchmarks.sink", str(self.sink_port)]
        )
        self.parts = {name: self.run(name) for name in ("web", "worker", "beat")}
        self.parts |= {"postgres": self.database, "redis": self.broker}
        eventually(self.is_ready)

    def finish(self) -> None:
        self.sink.kill()
        self.stop()

    def arrivals(self) -> Arrivals:
        with urlopen(f"http://127.0.0.1:{self.sink_port}/take") as answer:
            return Arrivals(json.load(answer))

    def wait_until_done(self, runs: int, *, timeout: float) -> None:
        count = "SELECT count(*) FROM tasks_api_run WHERE finished_at IS NOT NULL"
        # Seldom, so that counting is no load of its own.
        eventually(lambda: self.query(count)[0][0] >= runs, timeout=timeout, every=0.5)


@contextmanager
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        started = Bench(Path(home))
        started.begin()
        try:
            yield started
        finally:
            started.finish()


def burst() -> Figures:
    """10,000 one-offs due in the same second."""
    count = 10_000
    with bench() as stand:
        from tests.benchmarks import fill

        at = datetime.now(UTC) + timedelta(seconds=10)
        fill.one_offs(stand.postgres.url, count, at=at, url=stand.target)
        before = cpu_of(stand.parts)
        stand.wait_until_done(count, timeout=90)
        used = {k: v - before[k] for k, v in cpu_of(stand.parts).items()}
        arrived = _checked(stand.arrivals(), count)
    figures = {
        "delivered in s": arrived.duration,
        "delivered per s": count / arrived.duration,
        **_lateness(arrived),
        "CPU µs per delivery": sum(used.values()) / count * 1e6,
    }
    return figures | {f"  of it {k}": v / count * 1e6 for k, v in used.items()}


def steady() -> Figures:
    """200 fires a second for 30 s, with 100,000 other tasks stored."""
    with bench() as stand:
        from tests.benchmarks import fill

        _store_others(stand)
        first = datetime.now(UTC) + timedelta(seconds=8)
        every = timedelta(seconds=10)
        fill.repeating(
            stand.postgres.url, 2000, every=every, first=first, url=stand.target
        )
        stand.wait_until_done(6000, timeout=90)
        arrived = stand.arrivals()
    _checked(arrived, len(arrived.rows))
    return {"fires": len(arrived.rows), **_lateness(arrived)}


def idle() -> Figures:
    """100,000 tasks stored and nothing due, for 15 s."""
    seconds = 15
    with bench() as stand:
        _store_others(stand)
        time.sleep(5)
        before = cpu_of(stand.parts)
        time.sleep(seconds)
        used = {k: v - before[k] for k, v in cpu_of(stand.parts).items()}
    return {
        f"{name} % of a core": value / seconds * 100 for name, value in used.items()
    }


def create() -> Figures:
    """One-offs stored through the API, one a request, by eight clients at once."""
    clients, each = 8, 250
    with bench() as stand:
        body = json.dumps(
            {
                "task_type": "one_time",
                "run_datetime": "2099-01-01T00:00:00Z",
                "url": stand.target,
                "post_data": {"hello": "world"},
            }
        )
        headers = {"Authorization": str(stand.api.headers["Authorization"])}
        refused: list[int] = []

        def work() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", stand.port)
            for _ in range(each):
                connection.request("POST", "/tasks/", body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 201:
                    refused.append(answer.status)

        threads = [threading.Thread(target=work) for _ in range(clients)]
        before = cpu_of(stand.parts)
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        duration = time.monotonic() - started
        used = {k: v - before[k] for k, v in cpu_of(stand.parts).items()}
    assert not refused, refused
    count = clients * each
    return {
        "creates per s": count / duration,
        "web CPU µs each": used["web"] / count * 1e6,
        "postgres CPU µs each": used["postgres"] / count * 1e6,
    }


def _store_others(stand: Bench) -> None:
    from tests.benchmarks import fill

    later = datetime.now(UTC) + timedelta(days=300)
    fill.one_offs(stand.postgres.url, 100_000, at=later, url=stand.target)


def _checked(arrived: Arrivals, count: int) -> Arrivals:
    assert len(arrived.rows) == count, f"{len(arrived.rows)} of {count} arrived"
    assert not arrived.doubles, f"{arrived.doubles} arrived twice"
    assert not arrived.early, f"{arrived.early} arrived early"
    return arrived


def _lateness(arrived: Arrivals) -> Figures:
    late = arrived.lateness
    parts = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {f"late {k} ms": percentile(late, part) * 1000 for k, part in parts.items()}


SCENARIOS: dict[str, tuple[Callable[[], Figures], int]] = {
    "burst": (burst, 3),
    "steady": (steady, 1),
    "idle": (idle, 1),
    "create": (create, 3),
}


def measure(name: str, rounds: int | None) -> Figures:
    scenario, usual = SCENARIOS[name]
    found = []
    for number in range(rounds or usual):
        print(f"{name}, round {number + 1}: {scenario.__doc__}", flush=True)
        found.append(scenario())
    return {key: statistics.median(f[key] for f in found) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="scenario", default=[])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path, default=Path("var/bench.json"))
    options = parser.parse_args()
    names = options.scenarios or list(SCENARIOS)
    if unknown := set(names) - SCENARIOS.keys():
        parser.error(f"no such scenario: {', '.join(unknown)}")
    results = {name: measure(name, options.rounds) for name in names}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    rows = [("scenario", "figure", "median", "goal")]
    for name, figures in results.items():
        for key, value in figures.items():
            rows.append((name, key, f"{value:,.1f}", GOALS.get((name, key), "")))
    memory = psutil.virtual_memory().total / 2**30
    print(f"\n{psutil.cpu_count()} cores, {memory:.0f} GiB\n\n{table(rows)}")


if __name__ == "__main__":
    main()
