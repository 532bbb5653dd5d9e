"""The burst of other people's job queues in turn with our own, on one machine in one hour."""

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
from tests.acceptance.stand import ROOT
from tests.benchmarks import measure
from tests.benchmarks.delivery import PATIENCE, burst_of
from tests.benchmarks.figures import TARGET, Figures, Impossible
from tests.benchmarks.report import AGAINST, OURS
from tests.benchmarks.stand import Bench, bench, sleep_until, soon

SOURCE = Path(__file__).parent / "peers"
# Where npm puts the peers; nothing of theirs lies in the repository.
INSTALLED = ROOT / "var" / "peers"
# A peer stores its jobs itself, at no less than so many a second.
STORED_WITHIN = 60
# What is set beside each other.
COMPARED = {
    "delivered in s": "delivered in s",
    "late p99 ms": "late p99",
    "CPU µs per delivery": "CPU",
}


class _Left(Protocol):
    """How many jobs a server still holds that are not over."""

    def __call__(self, url: str) -> int: ...


def _left_in_postgres(statement: str) -> _Left:
    def left(url: str) -> int:
        with psycopg.connect(url) as connection:
            row = connection.execute(statement).fetchone()
        assert row is not None
        return int(row[0])

    return left


def _left_in_bullmq(url: str) -> int:
    with redis.Redis.from_url(redis_client_url(url)) as client:
        return int(
            client.zcard("bull:post:delayed")
            + client.llen("bull:post:wait")
            + client.llen("bull:post:active")
        )


class _Peer(NamedTuple):
    """A job queue as it is measured."""

    name: str
    script: str
    server: Callable[[Path], Postgres | Redis]
    left: _Left
    options: tuple[str, ...] = ()

    @property
    def part(self) -> str:
        return "redis" if self.server is Redis else "postgres"


_GRAPHILE_LEFT = _left_in_postgres("SELECT count(*) FROM graphile_worker._private_jobs")
_PGBOSS_LEFT = _left_in_postgres(
    "SELECT count(*) FROM pgboss.job"
    " WHERE name = 'post' AND state IN ('created', 'retry', 'active')"
)
PEERS = (
    _Peer("graphile-worker", "graphile.mjs", Postgres, _GRAPHILE_LEFT, ("batched",)),
    _Peer("graphile-worker (unbatched)", "graphile.mjs", Postgres, _GRAPHILE_LEFT),
    _Peer("pg-boss", "pgboss.mjs", Postgres, _PGBOSS_LEFT),
    _Peer("BullMQ", "bullmq.mjs", Redis, _left_in_bullmq),
)


def peers(count: int = 10_000, *, rounds: int) -> Iterator[Figures]:
    """{count} jobs due at the same moment: ours, then each job queue's, in turn, on the same kind of servers and to the same target."""
    programs = _install()
    with bench() as stand, ExitStack() as stack:
        running = [
            stack.enter_context(_running(peer, stand, programs)) for peer in PEERS
        ]
        for _ in range(rounds):
            yield _round(stand, running, count)


def _round(stand: Bench, running: list[_Running], count: int) -> Figures:
    at = soon(count)
    stand.store(count, first=at)
    ours = burst_of(stand, count, at)
    found: Figures = {f"{OURS}: {name}": value for name, value in ours.items()}
    found |= {fault: ours[fault] for fault in ("lost", "doubled", "early")}
    for each in running:
        theirs = each.burst(count)
        found |= {f"{each.peer.name}: {name}": v for name, v in theirs.items()}
        found |= {
            f"{AGAINST}{each.peer.name}, {label}": ours[figure] / theirs[figure]
            for figure, label in COMPARED.items()
        }
    return found


class _Running:
    """A peer with a server of its own, waiting for its turn."""

    def __init__(
        self,
        peer: _Peer,
        stand: Bench,
        process: subprocess.Popen[bytes],
        server: subprocess.Popen[bytes],
        url: str,
    ) -> None:
        self.peer = peer
        self._stand = stand
        self._process = process
        self._parts = {"node": process, peer.part: server, TARGET: stand.sink}
        self._url = url

    def burst(self, count: int) -> Figures:
        """Store jobs, begin to look for them, wait for all of them, and stop looking."""
        at = soon(count)
        due = at.timestamp()
        self._say(f"start {count} {at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f%z}")
        sleep_until(due - 2)
        before = measure.read(self._parts)
        self._stand.wait_for_requests(
            count, until=lambda: not self.peer.left(self._url), timeout=PATIENCE
        )
        used = measure.between(before, measure.read(self._parts))
        self._say("stop")
        arrived = self._stand.arrivals()
        duration = arrived.last - due
        return {
            "delivered in s": duration,
            "delivered per s": arrived.different / duration,
            **arrived.lateness(),
            **used.per(count, "delivery"),
            **arrived.faults(count),
        }

    def _say(self, command: str) -> None:
        """Give a command, and wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], STORED_WITHIN)
        said = self._process.stdout.readline() if ready else b"nothing"
        assert said == b"ok\n", f"{self.peer.name} said {said!r} to {command}"


@contextmanager
def _running(peer: _Peer, stand: Bench, programs: Path) -> Iterator[_Running]:
    with TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        home = Path(name)
        home.chmod(0o711)
        server = peer.server(home)
        process = stack.enter_context(_serving(server))
        where = server.url if isinstance(server, Postgres) else str(server.socket)
        # Its standard input ends with us, and it ends with that.
        node = subprocess.Popen(
            ["node", programs / peer.script, where, stand.target, *peer.options],
            cwd=programs,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        stack.callback(_end, node)
        yield _Running(peer, stand, node, process, server.url)


@contextmanager
def _serving(server: EmbeddedServer) -> Iterator[subprocess.Popen[bytes]]:
    process = server.start()
    try:
        server.wait_until_ready(process)
        yield process
    finally:
        process.send_signal(server.stop_signal)
        process.wait(timeout=60)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _install() -> Path:
    """The peers as npm installs them, from the lock file; once, until that changes."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        raise Impossible(f"it needs {' and '.join(missing)} on the PATH")
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
        _call_npm()
    return INSTALLED


def _call_npm() -> None:
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel", "error"]
    try:
        subprocess.run(command, cwd=INSTALLED, check=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        # What is half there would pass for whole the next time.
        shutil.rmtree(INSTALLED / "node_modules", ignore_errors=True)
        raise Impossible(f"npm could not install the peers: {error}") from error
