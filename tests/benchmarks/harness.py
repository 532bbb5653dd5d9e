"""Runs the service on durable servers of its own, with a target that costs little."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from urllib.request import urlopen

import psutil
import psycopg
import requests

from scheduler_service.local.postgres import Postgres
from scheduler_service.local.redis_server import Redis
from scheduler_service.process.supervisor import spawn
from tasks_api.domain.ids import id_range
from tests.acceptance.harness import ROOT, Harness, eventually, free_port
from tests.benchmarks import resource_usage, seed_data
from tests.benchmarks.api_clients import ApiClient
from tests.benchmarks.figures import TARGET, Deliveries, ResourceUsage, SinkDelivery
from tests.benchmarks.resource_usage import UsageReading

MEASURED_PACKAGES = ("Django", "celery", "django-celery-beat", "granian", "pycurl")
# The sink listens on so many addresses of the loopback network.
SINK_ADDRESSES = 100
# So many tasks are surely stored within a second.
STORED_PER_SECOND = 10_000

_OPEN_RUNS = """
    SELECT count(*) FROM tasks_api_run_live
    WHERE wake_at IS NOT NULL AND scheduled_for < to_timestamp(%s)
"""
_LAST_RECORD = """
    SELECT extract(epoch FROM max(finished_at)) FROM tasks_api_run
    WHERE scheduled_for >= to_timestamp(%s) AND id >= %s
"""

_STORE_LANES = """
    INSERT INTO tasks_api_lane (tenant_id, name, created_at, rate_limit, burst, concurrency)
    SELECT id, %(rated)s, now(), 100000, 50000, NULL::int FROM accounts_tenant
    UNION ALL
    SELECT id, %(limited)s, now(), NULL, 1, 100000 FROM accounts_tenant
"""


class BenchmarkHarness(Harness):
    """Also reads the CPU and memory of the parts, and what arrives at the target."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, durable=True)
        self.environment |= {"WEB_CONCURRENCY": "2"}
        self.sink_port = free_port()
        self.target_url = self.target_urls(1)[0]
        self.parts: dict[str, subprocess.Popen[bytes]] = {}

    def target_urls(
        self, count: int, path: str = "/hook", *, after: int = 0
    ) -> list[str]:
        """URLs of different hosts, all of which are the sink's."""
        numbers = range(after + 1, after + count + 1)
        return [f"http://127.0.0.{n}:{self.sink_port}{path}" for n in numbers]

    def start_all(self) -> None:
        self.start()
        self.token = str(self.api.headers["Authorization"]).removeprefix("Bearer ")
        self.parts = {"postgres": self.postgres_process, "redis": self.redis_process}
        self.sink = start_sink(self.sink_port)
        for name in ("web", "worker", "beat"):
            self.parts[name] = self.start_part(name)
        eventually(self.is_ready, timeout=90)

    def stop_all(self) -> None:
        """Kill each process with its children: each leads a session of its own."""
        for process in self._started():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if hasattr(self, "postgres_process"):
            self.stop_process(self.postgres_process, self.postgres.stop_signal)

    def _started(self) -> list[subprocess.Popen[bytes]]:
        others = (getattr(self, name, None) for name in ("sink", "redis_process"))
        parts = reversed(list(self._processes))
        return [*parts, *(process for process in others if process)]

    def read_usage(self) -> UsageReading:
        return resource_usage.read_usage({**self.parts, TARGET: self.sink})

    def usage_since(self, before: UsageReading) -> ResourceUsage:
        return resource_usage.usage_between(before, self.read_usage())

    def read_memory(self) -> dict[str, float]:
        return resource_usage.read_memory(self.parts)

    def issue_other_tenant_token(self) -> str:
        """The token of a user of the tenant Beta."""
        return self.manage("issue_token", "--tenant", "Beta", "--user", "bob")

    def open_client(self, token: str = "") -> ApiClient:
        return ApiClient(self.port, token or self.token)

    def store_tasks(
        self,
        count: int,
        *,
        first: datetime,
        urls: Sequence[str] = (),
        spread: timedelta = timedelta(),
        every: timedelta | None = None,
        cron: str = "",
        token: str = "",
        columns: Mapping[str, str] | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        """Store one-time or periodic tasks, their first fire times spread evenly.

        They may have more `fields`, as the API takes them, and other `columns`, by SQL.
        """
        urls = urls or [self.target_url]
        if every is not None:
            task = seed_data.periodic_task(every, urls[0])
        elif cron:
            task = seed_data.cron_task(cron, urls[0])
        else:
            task = seed_data.one_time_task(seed_data.FAR_FUTURE, urls[0])
        original = self._create_original({**task, **(fields or {})}, token)
        seed_data.store_copies(
            self.postgres.url,
            original,
            count,
            first=first,
            urls=urls,
            spread=spread,
            columns=columns,
        )

    def _create_original(self, task: Mapping[str, object], token: str) -> str:
        answer = requests.post(
            f"{self.url}/tasks/",
            json=task,
            headers={"Authorization": f"Bearer {token or self.token}"},
            timeout=30,
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def store_wide_lanes(self, *, rated: str, limited: str) -> None:
        """Store a lane with a rate, and one with places, that no burst reaches."""
        names = {"rated": rated, "limited": limited}
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(_STORE_LANES, names)

    def store_idle_tasks(self, count: int, token: str = "") -> None:
        """Store tasks that are not due for years."""
        if count:
            self.store_tasks(count, first=seed_data.FAR_FUTURE, token=token)

    def take_deliveries(self) -> Deliveries:
        """The requests that reached the target since the last call."""
        rows = json.loads(self._ask_sink("take"))
        return Deliveries([SinkDelivery(*row) for row in rows])

    def wait_for_runs(self, count: int, *, timeout: float, before: float = 0.0) -> None:
        """Return when so many quick requests have arrived, or after the timeout.

        With `before`, all runs that were scheduled before that moment are over then.
        """
        self.wait_for_requests(
            count,
            until=lambda: not self.query(_OPEN_RUNS, before)[0][0],
            timeout=timeout,
        )

    def wait_for_requests(
        self, count: int, *, until: Callable[[], bool], timeout: float
    ) -> None:
        """Return when enough quick requests arrived and `until` holds, or too late."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            # Seldom, so that polling is no load of its own.
            time.sleep(0.1)
            if int(self._ask_sink("count")) >= count and until():
                return

    def _ask_sink(self, command: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{self.sink_port}/{command}") as answer:
            return bytes(answer.read())

    def last_recorded_at(self, since: float) -> float:
        """When the last result of the runs scheduled since a moment was stored."""
        first_id, _ = id_range(datetime.fromtimestamp(since, UTC), None)
        return float(self.query(_LAST_RECORD, since, first_id)[0][0] or "nan")


def time_after_storing(count: int) -> datetime:
    """A moment so far ahead that so many tasks can be stored before it."""
    return datetime.now(UTC) + timedelta(seconds=8 + count / STORED_PER_SECOND)


def sleep_until(moment: float) -> None:
    ahead = moment - time.time()
    assert ahead > 0, f"Storing the tasks took {-ahead:.0f} s too long."
    time.sleep(ahead)


@contextmanager
def benchmark_harness() -> Iterator[BenchmarkHarness]:
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        harness = BenchmarkHarness(Path(home))
        try:
            harness.start_all()
            yield harness
        except Exception:
            sys.stderr.write(harness.read_logs()[-5000:])
            raise
        finally:
            harness.stop_all()


def start_sink(port: int) -> subprocess.Popen[bytes]:
    sink = spawn(
        [sys.executable, "-m", "tests.benchmarks.sink", str(port), str(SINK_ADDRESSES)],
        cwd=ROOT,
    )

    def is_up() -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"http://127.0.0.1:{port}/count", timeout=5).ok
        return False

    eventually(is_up)
    return sink


def describe_machine() -> dict[str, str]:
    """What the figures depend on besides the code."""
    home = Path(tempfile.gettempdir())
    postgres, redis = Postgres(home), Redis(home)
    redis_version = _output_of([redis.program, "--version"]).partition("v=")[2]
    return {
        "cores": str(psutil.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "Python": platform.python_version(),
        "PostgreSQL": _output_of([postgres.programs / "postgres", "-V"]).split()[-1],
        "Redis": redis_version.partition(" ")[0],
        **{name: version(name) for name in MEASURED_PACKAGES},
    }


def _output_of(command: list[str | Path]) -> str:
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout
