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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from urllib.request import urlopen

import psutil
import requests

from scheduler_service.embedded import Postgres, Redis
from scheduler_service.supervisor import spawn
from tests.acceptance.stand import ROOT, Stand, eventually, free_port
from tests.benchmarks.measure import Arrivals, cpu_of

PACKAGES = ("Django", "celery", "django-celery-beat", "pycurl")


class Bench(Stand):
    """A stand on which the parts' CPU can be read."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, durable=True)
        self.environment |= {"WEB_CONCURRENCY": "2"}
        self.sink_port = free_port()
        self.target = f"http://127.0.0.1:{self.sink_port}/hook"
        self.parts: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self) -> None:
        self.start()
        self.parts = {"postgres": self.database, "redis": self.broker}
        self.sink = spawn(
            [sys.executable, "-m", "tests.benchmarks.sink", str(self.sink_port)],
            cwd=ROOT,
        )
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

    def is_ready(self, *, workers: int = 1, beats: int = 1) -> bool:
        # On a busy machine the first answer may take its time.
        with suppress(requests.ReadTimeout):
            return super().is_ready(workers=workers, beats=beats)
        return False

    def cpu(self) -> dict[str, float]:
        return cpu_of(self.parts)

    def cpu_since(self, before: dict[str, float]) -> dict[str, float]:
        return {name: used - before[name] for name, used in self.cpu().items()}

    def arrivals(self) -> Arrivals:
        """What the target has seen since it was last asked."""
        with urlopen(f"http://127.0.0.1:{self.sink_port}/take") as answer:
            return Arrivals(json.load(answer))

    def wait_for_runs(self, count: int, *, before: float, timeout: float) -> None:
        """Return when so many of the runs planned before a moment are over, or too late."""
        statement = """
            SELECT count(*) FROM tasks_api_run
            WHERE finished_at IS NOT NULL AND scheduled_for < to_timestamp(%s)
        """
        deadline = time.monotonic() + timeout
        while self.query(statement, before)[0][0] < count:
            if time.monotonic() > deadline:
                return
            # Seldom, so that counting is no load of its own.
            time.sleep(0.5)

    def recorded_at(self) -> float:
        """When the last verdict was written down."""
        statement = "SELECT extract(epoch FROM max(finished_at)) FROM tasks_api_run"
        return float(self.query(statement)[0][0] or "nan")


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
