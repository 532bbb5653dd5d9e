"""A worker that lacks files, its broker or the database loses no runs."""

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

from scheduler_service.process.supervisor import spawn
from scheduler_service.redis.connections import redis_client_url
from tests.acceptance.harness import ROOT, Harness, eventually
from tests.acceptance.tasks import (
    SECOND,
    count_requests_by_run,
    create_task_at,
    create_tasks_at,
    in_seconds,
    is_all_done,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(240)

WORKER_COMMAND = "exec celery --quiet -A scheduler_service worker -n worker-$$@%h"


@contextmanager
def special_worker(
    harness: Harness, before: str = "", stderr: int | None = None, **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with settings of its own; its log is `special.log`."""
    with (harness.home / "special.log").open("wb") as log:
        process = spawn(
            ["/bin/sh", "-c", before + WORKER_COMMAND],
            cwd=ROOT,
            env=harness.environment | settings,
            stdout=log,
            stderr=log if stderr is None else stderr,
        )
    try:
        yield process
    finally:
        harness.stop_process(process, signal.SIGKILL)


@contextmanager
def running_part(harness: Harness, name: str) -> Iterator[None]:
    process = harness.start_part(name)
    try:
        yield
    finally:
        harness.stop_process(process, signal.SIGTERM)


def read_special_log(harness: Harness) -> str:
    return (harness.home / "special.log").read_text()


def takes_messages(harness: Harness) -> bool:
    """Whether the special worker has its broker.

    Its heartbeat does not say so: it comes earlier, and that of a worker before it counts
    for a while after it was killed.
    """
    return "this worker takes messages" in read_special_log(harness)


class DatabaseProxy:
    """A proxy between a worker and PostgreSQL that can fall silent."""

    def __init__(self, url: str) -> None:
        self._target = {k: str(v) for k, v in conninfo_to_dict(url).items()}
        self._is_flowing = threading.Event()
        self._is_flowing.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        port = self._server.getsockname()[1]
        parts = self._target | {"host": "127.0.0.1", "port": port}
        self.url = "postgresql://{user}@{host}:{port}/{dbname}".format(**parts)
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        self._is_flowing.clear()

    def restore(self) -> None:
        self._is_flowing.set()

    def close(self) -> None:
        self.restore()
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    server = self._connect()
                except OSError:
                    client.close()
                    raise
                for one, other in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._pass, args=(one, other), daemon=True
                    ).start()

    def _connect(self) -> socket.socket:
        host, port = self._target["host"], int(self._target.get("port", 5432))
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(f"{host}/.s.PGSQL.{port}")
        except OSError:
            made.close()
            raise
        return made

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                self._is_flowing.wait()
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)
        one.close()


def test_a_worker_that_may_open_few_files_delivers_all_the_same(
    harness: Harness, target: Receiver
) -> None:
    target.answer("/slow", delay=0.5)
    with special_worker(harness, "ulimit -n 220; "), running_part(harness, "beat"):
        eventually(harness.is_ready)
        create_tasks_at(harness, [(f"{target.url}/slow", in_seconds(6))] * 60)
        eventually(lambda: is_all_done(harness))

    states = harness.query("SELECT DISTINCT state FROM tasks_api_run")
    assert states == [("succeeded",)]
    assert set(count_requests_by_run(target.requests).values()) == {1}
    assert len(target.requests) == 60
    assert "counts as 20: this process may open 220 files" in read_special_log(harness)


@contextmanager
def no_spare_files(process: subprocess.Popen[bytes]) -> Iterator[None]:
    had = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, had[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, had)


def test_a_worker_that_loses_its_broker_while_it_lacks_files_lives_on(
    harness: Harness, target: Receiver
) -> None:
    with special_worker(harness) as process, running_part(harness, "beat"):
        eventually(lambda: takes_messages(harness))

        with no_spare_files(process):
            with redis.Redis.from_url(redis_client_url(harness.redis.url)) as client:
                client.client_kill_filter(_type="normal", skipme=True)
            eventually(
                lambda: read_special_log(harness).count("cannot be reached") >= 3
            )
        create_task_at(harness, f"{target.url}/x", in_seconds(1))
        target.wait_for(1, timeout=60)

        assert process.poll() is None


def test_a_worker_that_is_cut_off_from_the_database_leaves_messages_to_others(
    harness: Harness, target: Receiver
) -> None:
    proxy = DatabaseProxy(harness.postgres.url)
    with (
        special_worker(harness, DATABASE_URL=proxy.url),
        running_part(harness, "worker"),
        running_part(harness, "beat"),
    ):
        eventually(lambda: harness.is_ready(workers=2))
        eventually(lambda: takes_messages(harness))

        proxy.silence()
        eventually(lambda: "takes no messages" in read_special_log(harness))
        start = in_seconds(6)
        due = [start + number * 0.1 * SECOND for number in range(40)]
        create_tasks_at(harness, [(f"{target.url}/x", at) for at in due])
        target.wait_for(40, timeout=60)

        proxy.restore()
        eventually(
            lambda: read_special_log(harness).count("this worker takes messages") >= 2
        )
        for _ in range(20):
            create_task_at(harness, f"{target.url}/x", in_seconds(1))
        requests = target.wait_for(60, timeout=60)
    proxy.close()

    arrived = sorted(each.at for each in requests)[:40]
    late = [got - at.timestamp() for got, at in zip(arrived, due, strict=True)]
    assert set(count_requests_by_run(requests).values()) == {1}
    # Sooner than the beat rings again for a run whose message was lost.
    assert max(late) < 4


def test_an_unread_log_blocks_no_worker(harness: Harness, target: Receiver) -> None:
    target.answer("/bad", status=500)
    end, beginning = os.pipe()
    fcntl.fcntl(beginning, fcntl.F_SETPIPE_SZ, 4096)
    with (
        special_worker(harness, stderr=beginning) as process,
        running_part(harness, "beat"),
    ):
        eventually(harness.is_ready)
        due = [in_seconds(6 + number % 4) for number in range(200)]
        create_tasks_at(harness, [(f"{target.url}/bad", at) for at in due])
        target.wait_for(200, timeout=60)
        eventually(lambda: is_all_done(harness))
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        seconds = time.monotonic() - began
    os.close(beginning)
    with open(end, "rb") as pipe:
        held = len(pipe.read())

    assert set(count_requests_by_run(target.requests).values()) == {1}
    assert harness.query("SELECT max(lost_count) FROM tasks_api_run") == [(0,)]
    assert held > 3500
    assert seconds < 30
