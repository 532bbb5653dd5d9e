"""Measures the burst of other job queues in turn with our own, on the same machine."""

from __future__ import annotations

import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

import psycopg
import redis

from scheduler_service.local.postgres import Postgres
from scheduler_service.local.redis_server import Redis
from scheduler_service.local.server import EmbeddedServer
from scheduler_service.redis.connections import redis_client_url
from tests.acceptance.harness import ROOT
from tests.benchmarks import resource_usage
from tests.benchmarks.delivery import DELIVERY_TIMEOUT, measure_one_burst
from tests.benchmarks.figures import TARGET, Figures, ScenarioUnavailable
from tests.benchmarks.harness import (
    BenchmarkHarness,
    benchmark_harness,
    sleep_until,
    time_after_storing,
)
from tests.benchmarks.report import AGAINST, OURS

SOURCE = Path(__file__).parent / "peers"
# npm installs the peers here; none of their code lies in the repository.
INSTALLED = ROOT / "var" / "peers"
# Seconds that a peer may take to store its jobs.
COMMAND_TIMEOUT = 60
# The figures that are compared, and their names in ratios.
COMPARED_FIGURES = {
    "delivered in s": "delivered in s",
    "late p99 ms": "late p99",
    "CPU µs per delivery": "CPU",
}


class _CountJobs(Protocol):
    """How many jobs a server still holds that are not over."""

    def __call__(self, url: str) -> int: ...


def _count_in_postgres(statement: str) -> _CountJobs:
    def count_jobs(url: str) -> int:
        with psycopg.connect(url) as connection:
            row = connection.execute(statement).fetchone()
        assert row is not None
        return int(row[0])

    return count_jobs


def _count_in_bullmq(url: str) -> int:
    with redis.Redis.from_url(redis_client_url(url)) as client:
        return int(
            client.zcard("bull:post:delayed")
            + client.llen("bull:post:wait")
            + client.llen("bull:post:active")
        )


class _Peer(NamedTuple):
    """A job queue that is compared with ours."""

    name: str
    script: str
    server: Callable[[Path], Postgres | Redis]
    count_jobs: _CountJobs
    options: tuple[str, ...] = ()

    @property
    def part(self) -> str:
        return "redis" if self.server is Redis else "postgres"


_COUNT_GRAPHILE = _count_in_postgres(
    "SELECT count(*) FROM graphile_worker._private_jobs"
)
_COUNT_PGBOSS = _count_in_postgres(
    "SELECT count(*) FROM pgboss.job"
    " WHERE name = 'post' AND state IN ('created', 'retry', 'active')"
)
PEERS = (
    _Peer("graphile-worker", "graphile.mjs", Postgres, _COUNT_GRAPHILE, ("batched",)),
    _Peer("graphile-worker (unbatched)", "graphile.mjs", Postgres, _COUNT_GRAPHILE),
    _Peer("pg-boss", "pgboss.mjs", Postgres, _COUNT_PGBOSS),
    _Peer("BullMQ", "bullmq.mjs", Redis, _count_in_bullmq),
)


def measure_peers(count: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{count} jobs due at the same moment: ours, then each job queue's, in turn, on the same kind of servers and to the same target."""
    programs = _install_peers()
    with benchmark_harness() as harness, ExitStack() as stack:
        running = [
            stack.enter_context(_run_peer(peer, harness, programs)) for peer in PEERS
        ]
        for _ in range(rounds):
            yield _measure_round(harness, running, count)


def _measure_round(
    harness: BenchmarkHarness, running: list[_RunningPeer], count: int
) -> Figures:
    at = time_after_storing(count)
    harness.store_tasks(count, first=at)
    ours = measure_one_burst(harness, count, at)
    found: Figures = {f"{OURS}: {name}": value for name, value in ours.items()}
    found |= {fault: ours[fault] for fault in ("lost", "doubled", "early")}
    for each in running:
        theirs = each.burst(count)
        found |= {f"{each.peer.name}: {name}": v for name, v in theirs.items()}
        found |= {
            f"{AGAINST}{each.peer.name}, {label}": ours[figure] / theirs[figure]
            for figure, label in COMPARED_FIGURES.items()
        }
    return found


class _RunningPeer:
    """A peer with a server of its own, waiting for its turn."""

    def __init__(
        self,
        peer: _Peer,
        harness: BenchmarkHarness,
        process: subprocess.Popen[bytes],
        server: subprocess.Popen[bytes],
        url: str,
    ) -> None:
        self.peer = peer
        self._harness = harness
        self._process = process
        self._parts = {"node": process, peer.part: server, TARGET: harness.sink}
        self._url = url

    def burst(self, count: int) -> Figures:
        """Store jobs, begin to look for them, wait for all of them, and stop looking."""
        at = time_after_storing(count)
        due = at.timestamp()
        self._command(f"start {count} {at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f%z}")
        sleep_until(due - 2)
        before = resource_usage.read_usage(self._parts)
        self._harness.wait_for_requests(
            count,
            until=lambda: not self.peer.count_jobs(self._url),
            timeout=DELIVERY_TIMEOUT,
        )
        used = resource_usage.usage_between(
            before, resource_usage.read_usage(self._parts)
        )
        self._command("stop")
        arrived = self._harness.take_deliveries()
        duration = arrived.last_arrival - due
        return {
            "delivered in s": duration,
            "delivered per s": arrived.distinct_runs / duration,
            **arrived.lateness(),
            **used.cost_per(count, "delivery"),
            **arrived.count_faults(count),
        }

    def _command(self, command: str) -> None:
        """Send a command, and wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], COMMAND_TIMEOUT)
        answer = self._process.stdout.readline() if ready else b"nothing"
        assert answer == b"ok\n", f"{self.peer.name} answered {answer!r} to {command}"


@contextmanager
def _run_peer(
    peer: _Peer, harness: BenchmarkHarness, programs: Path
) -> Iterator[_RunningPeer]:
    with TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        home = Path(name)
        home.chmod(0o711)
        server = peer.server(home)
        process = stack.enter_context(_run_server(server))
        where = server.url if isinstance(server, Postgres) else str(server.socket)
        # Its standard input ends with us, and it ends with that.
        node = subprocess.Popen(
            ["node", programs / peer.script, where, harness.target_url, *peer.options],
            cwd=programs,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        stack.callback(_kill, node)
        yield _RunningPeer(peer, harness, node, process, server.url)


@contextmanager
def _run_server(server: EmbeddedServer) -> Iterator[subprocess.Popen[bytes]]:
    process = server.start()
    try:
        server.wait_until_ready(process)
        yield process
    finally:
        process.send_signal(server.stop_signal)
        process.wait(timeout=60)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _install_peers() -> Path:
    """Install the peers from the lock file, once until it changes."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        raise ScenarioUnavailable(f"it needs {' and '.join(missing)} on the PATH")
    INSTALLED.mkdir(parents=True, exist_ok=True)
    lock, done = "package-lock.json", INSTALLED / "node_modules" / ".package-lock.json"
    is_same = (
        done.exists()
        and (INSTALLED / lock).exists()
        and (INSTALLED / lock).read_bytes() == (SOURCE / lock).read_bytes()
    )
    for path in SOURCE.iterdir():
        if path.is_file():
            shutil.copy(path, INSTALLED)
    if not is_same:
        _run_npm()
    return INSTALLED


def _run_npm() -> None:
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel", "error"]
    try:
        subprocess.run(command, cwd=INSTALLED, check=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        # Otherwise the next run would take a half installation for a whole one.
        shutil.rmtree(INSTALLED / "node_modules", ignore_errors=True)
        raise ScenarioUnavailable(
            f"npm could not install the peers: {error}"
        ) from error
