"""The service as real processes on durable servers of its own, with a target that is cheap."""

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
import requests

from scheduler_service.local.postgres import Postgres
from scheduler_service.local.redis_server import Redis
from scheduler_service.process.supervisor import spawn
from tests.acceptance.stand import ROOT, Stand, eventually, free_port
from tests.benchmarks import fill, measure
from tests.benchmarks.figures import TARGET, Arrival, Arrivals, Span
from tests.benchmarks.load import Client

PACKAGES = ("Django", "celery", "django-celery-beat", "granian", "pycurl")
# The sink listens on so many addresses of the loopback network.
ADDRESSES = 100
# How many tasks are surely stored within a second.
FILLED = 10_000


class Bench(Stand):
    """A stand on which the parts' CPU and memory can be read."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, durable=True)
        self.environment |= {"WEB_CONCURRENCY": "2"}
        self.sink_port = free_port()
        self.target = self.targets(1)[0]
        self.parts: dict[str, subprocess.Popen[bytes]] = {}

    def targets(self, count: int, path: str = "/hook", *, after: int = 0) -> list[str]:
        """URLs of different hosts, all of them the sink's."""
        numbers = range(after + 1, after + count + 1)
        return [f"http://127.0.0.{n}:{self.sink_port}{path}" for n in numbers]

    def begin(self) -> None:
        self.start()
        self.token = str(self.api.headers["Authorization"]).removeprefix("Bearer ")
        self.parts = {"postgres": self.database, "redis": self.broker}
        self.sink = start_sink(self.sink_port)
        for name in ("web", "worker", "beat"):
            self.parts[name] = self.run(name)
        eventually(self.is_ready, timeout=90)

    def finish(self) -> None:
        """End every part with all that it started; each is a session of its own."""
        for process in self._started():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if hasattr(self, "database"):
            self.end(self.database, self.postgres.stop_signal)

    def _started(self) -> list[subprocess.Popen[bytes]]:
        others = (getattr(self, name, None) for name in ("sink", "broker"))
        return [*reversed(self._running), *(each for each in others if each)]

    # Who uses what.

    def reading(self) -> measure.Reading:
        return measure.read({**self.parts, TARGET: self.sink})

    def since(self, before: measure.Reading) -> Span:
        return measure.between(before, self.reading())

    def memory(self) -> dict[str, float]:
        return measure.memory(self.parts)

    # What is stored.

    def another_tenant(self) -> str:
        """The token of a user of the tenant Beta."""
        return self.manage("issue_token", "--tenant", "Beta", "--user", "bob")

    def client(self, token: str = "") -> Client:
        return Client(self.port, token or self.token)

    def store(
        self,
        count: int,
        *,
        first: datetime,
        urls: Sequence[str] = (),
        spread: timedelta = timedelta(),
        every: timedelta | None = None,
        token: str = "",
        differences: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Store tasks whose first fire times are spread evenly; one-offs, or repeating.

        They may have `more` fields, as the API takes them.
        """
        urls = urls or [self.target]
        task = (
            fill.one_off(fill.LATER, urls[0])
            if every is None
            else fill.repeating(every, urls[0])
        )
        answer = requests.post(
            f"{self.url}/tasks/",
            json=task | dict(more or {}),
            headers={"Authorization": f"Bearer {token or self.token}"},
            timeout=30,
        )
        assert answer.status_code == 201, answer.text
        fill.copies(
            self.postgres.url,
            answer.json()["id"],
            count,
            first=first,
            urls=urls,
            spread=spread,
            differences=differences,
        )

    def store_others(self, count: int, token: str = "") -> None:
        """Tasks that have nothing to do for years."""
        if count:
            self.store(count, first=fill.LATER, token=token)

    # What arrives.

    def arrivals(self) -> Arrivals:
        """What the target has seen since it was last asked."""
        return Arrivals([Arrival(*row) for row in json.loads(self._ask_sink("take"))])

    def wait_for_runs(self, count: int, *, timeout: float, before: float = 0.0) -> None:
        """Return when so many quick requests have come, or it is too late.

        All runs planned before a moment are over then, if one is given.
        """
        waiting = """
            SELECT count(*) FROM tasks_api_run
            WHERE wake_at IS NOT NULL AND scheduled_for < to_timestamp(%s)
        """
        self.wait_for_requests(
            count,
            until=lambda: not self.query(waiting, before)[0][0],
            timeout=timeout,
        )

    def wait_for_requests(
        self, count: int, *, until: Callable[[], bool], timeout: float
    ) -> None:
        """Return when so many quick requests have come and it is so, or it is too late."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            # Seldom, so that asking is no load of its own.
            time.sleep(0.1)
            if int(self._ask_sink("count")) >= count and until():
                return

    def _ask_sink(self, what: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{self.sink_port}/{what}") as answer:
            return bytes(answer.read())

    def recorded_at(self, since: float) -> float:
        """When the last verdict on runs planned since a moment was written down."""
        statement = """
            SELECT extract(epoch FROM max(finished_at)) FROM tasks_api_run
            WHERE scheduled_for >= to_timestamp(%s)
        """
        return float(self.query(statement, since)[0][0] or "nan")


def soon(count: int) -> datetime:
    """A moment so far ahead that so many tasks can be stored before."""
    return datetime.now(UTC) + timedelta(seconds=8 + count / FILLED)


def sleep_until(moment: float) -> None:
    ahead = moment - time.time()
    assert ahead > 0, f"Storing the tasks took {-ahead:.0f} s too long."
    time.sleep(ahead)


@contextmanager
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        stand = Bench(Path(home))
        try:
            stand.begin()
            yield stand
        except Exception:
            print(stand.logs()[-5000:], file=sys.stderr)
            raise
        finally:
            stand.finish()


def start_sink(port: int) -> subprocess.Popen[bytes]:
    sink = spawn(
        [sys.executable, "-m", "tests.benchmarks.sink", str(port), str(ADDRESSES)],
        cwd=ROOT,
    )

    def answers() -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"http://127.0.0.1:{port}/count", timeout=5).ok
        return False

    eventually(answers)
    return sink


def machine() -> dict[str, str]:
    """What the figures depend on, beside the code."""
    home = Path(tempfile.gettempdir())
    redis_version = _said([Redis(home).program, "--version"]).partition("v=")[2]
    return {
        "cores": str(psutil.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "Python": platform.python_version(),
        "PostgreSQL": _said([Postgres(home).programs / "postgres", "-V"]).split()[-1],
        "Redis": redis_version.partition(" ")[0],
        **{name: version(name) for name in PACKAGES},
    }


def _said(command: list[str | Path]) -> str:
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout
