"""A worker that lacks something loses nothing, and keeps nobody else from it."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from scheduler_service.embedded import redis_client_url
from scheduler_service.supervisor import spawn
from tests.acceptance.stand import ROOT, Stand, eventually
from tests.acceptance.test_processes import SECOND, all_done, ids_of, one_time, soon
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

WORKER = "exec celery --quiet -A scheduler_service worker -n worker-$$@%h"


@contextmanager
def worker(
    stand: Stand, before: str = "", stderr: int | None = None, **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of its own making; its log goes to `special.log`."""
    with (stand.home / "special.log").open("wb") as log:
        process = spawn(
            ["/bin/sh", "-c", before + WORKER],
            cwd=ROOT,
            env=stand.environment | settings,
            stdout=log,
            stderr=log if stderr is None else stderr,
        )
    try:
        yield process
    finally:
        stand.end(process, signal.SIGKILL)


@contextmanager
def part(stand: Stand, name: str) -> Iterator[None]:
    process = stand.run(name)
    try:
        yield
    finally:
        stand.end(process, signal.SIGTERM)


def log_of(stand: Stand) -> str:
    return (stand.home / "special.log").read_text()


class Proxy:
    """Stands between a worker and PostgreSQL, and can fall silent like a broken line."""

    def __init__(self, url: str) -> None:
        self._target = {k: str(v) for k, v in conninfo_to_dict(url).items()}
        self._flows = threading.Event()
        self._flows.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        port = self._server.getsockname()[1]
        parts = self._target | {"host": "127.0.0.1", "port": port}
        self.url = "postgresql://{user}@{host}:{port}/{dbname}".format(**parts)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._flows.clear()

    def mend(self) -> None:
        self._flows.set()

    def close(self) -> None:
        self.mend()
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = self._connect()
                for one, other in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._pass, args=(one, other), daemon=True
                    ).start()

    def _connect(self) -> socket.socket:
        host, port = self._target["host"], int(self._target.get("port", 5432))
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        made = socket.socket(socket.AF_UNIX)
        made.connect(f"{host}/.s.PGSQL.{port}")
        return made

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                self._flows.wait()
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)
        one.close()


def test_a_worker_that_may_open_few_files_delivers_all_the_same(
    stand: Stand, target: Receiver
) -> None:
    target.answer("/slow", delay=0.5)
    with worker(stand, "ulimit -n 220; "), part(stand, "beat"):
        eventually(stand.is_ready)
        # Late enough for the last of them to be created in time, on a busy machine too.
        at = soon(6)
        for _ in range(60):
            one_time(stand, target.url + "/slow", at)
        eventually(lambda: all_done(stand))

    states = stand.query("SELECT DISTINCT state FROM tasks_api_run")
    assert states == [("succeeded",)]
    assert set(ids_of(target.requests).values()) == {1}
    assert len(target.requests) == 60
    assert "counts as 20: this process may open 220 files" in log_of(stand)


@contextmanager
def no_more_files(process: subprocess.Popen[bytes]) -> Iterator[None]:
    had = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, had[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, had)


def test_a_worker_that_loses_its_broker_while_it_lacks_files_lives_on(
    stand: Stand, target: Receiver
) -> None:
    with worker(stand) as process, part(stand, "beat"):
        eventually(stand.is_ready)

        with no_more_files(process):
            with redis.Redis.from_url(redis_client_url(stand.redis.url)) as client:
                client.client_kill_filter(_type="normal", skipme=True)
            eventually(lambda: log_of(stand).count("cannot be reached") >= 3)
        one_time(stand, f"{target.url}/x", soon(1))
        target.wait_for(1, timeout=60)

        assert process.poll() is None


def test_a_worker_that_is_cut_off_from_the_database_leaves_messages_to_others(
    stand: Stand, target: Receiver
) -> None:
    proxy = Proxy(stand.postgres.url)
    with (
        worker(stand, DATABASE_URL=proxy.url),
        part(stand, "worker"),
        part(stand, "beat"),
    ):
        eventually(lambda: stand.is_ready(workers=2))
        eventually(lambda: "this worker takes messages" in log_of(stand))

        proxy.cut()
        eventually(lambda: "takes no messages" in log_of(stand))
        start = soon(2)
        due = [start + number * 0.1 * SECOND for number in range(40)]
        for at in due:
            one_time(stand, f"{target.url}/x", at)
        target.wait_for(40, timeout=60)

        proxy.mend()
        eventually(lambda: log_of(stand).count("this worker takes messages") == 2)
        for _ in range(20):
            one_time(stand, f"{target.url}/x", soon(1))
        requests = target.wait_for(60, timeout=60)
    proxy.close()

    arrived = sorted(each.at for each in requests)[:40]
    late = [got - at.timestamp() for got, at in zip(arrived, due, strict=True)]
    assert set(ids_of(requests).values()) == {1}
    # Sooner than a run is rung for again whose message somebody has swallowed.
    assert max(late) < 4


def test_a_log_that_nobody_reads_holds_up_no_worker(
    stand: Stand, target: Receiver
) -> None:
    target.answer("/bad", status=500)
    end, beginning = os.pipe()
    fcntl.fcntl(beginning, fcntl.F_SETPIPE_SZ, 4096)
    with worker(stand, stderr=beginning) as process, part(stand, "beat"):
        eventually(stand.is_ready)
        for number in range(200):
            one_time(stand, f"{target.url}/bad", soon(1 + number % 4))
        target.wait_for(200, timeout=60)
        eventually(lambda: all_done(stand))
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        seconds = time.monotonic() - began
    os.close(beginning)
    with open(end, "rb") as pipe:
        held = len(pipe.read())

    assert set(ids_of(target.requests).values()) == {1}
    assert stand.query("SELECT max(lost_count) FROM tasks_api_run") == [(0,)]
    assert held > 3500
    assert seconds < 30
