"""Sentinels watch two Redis servers; the master dies, and nobody is started again by hand."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from scheduler_service.local.redis_server import find_redis_program
from scheduler_service.process.supervisor import spawn
from tests.acceptance.stand import Stand, eventually, free_port
from tests.acceptance.test_processes import all_done, ids_of, one_time, soon
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(300)

MASTER = "bell"
PASSWORD, SENTINELS_PASSWORD = "of-redis", "of-sentinels"
SENTINEL = f"""
port {{port}}
bind 127.0.0.1
requirepass {SENTINELS_PASSWORD}
sentinel monitor {MASTER} 127.0.0.1 {{master}} 1
sentinel auth-pass {MASTER} {PASSWORD}
sentinel down-after-milliseconds {MASTER} 1000
sentinel failover-timeout {MASTER} 5000
"""


class Servers:
    """A master, a replica and a Sentinel, which is all that a failover needs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = [free_port(), free_port()]
        self.sentinel_port = free_port()
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        # Nobody listens at the first.
        return (
            f"sentinel://:{PASSWORD}@127.0.0.1:{free_port()}/3;"
            f"sentinel://127.0.0.1:{self.sentinel_port}"
        )

    def start(self) -> None:
        master, replica = self.ports
        self._redis(master)
        self._redis(replica, "--replicaof", "127.0.0.1", str(master))
        file = self.home / "sentinel.conf"
        file.write_text(SENTINEL.format(port=self.sentinel_port, master=master))
        self._spawn(str(file), "--sentinel")
        eventually(self._knows_the_replica)

    def _redis(self, port: int, *options: str) -> None:
        given = {"port": str(port), "bind": "127.0.0.1", "save": ""}
        given |= {"requirepass": PASSWORD, "masterauth": PASSWORD}
        given |= {"dir": str(self.home), "repl-diskless-sync-delay": "0"}
        each = [part for name, value in given.items() for part in (f"--{name}", value)]
        self._spawn(*each, *options)

    def _spawn(self, *arguments: str) -> None:
        with (self.home / "redis.out").open("ab") as log:
            command = [find_redis_program(), *arguments]
            self.processes.append(spawn(command, stdout=log, stderr=log))

    def _knows_the_replica(self) -> bool:
        client = redis.Redis(port=self.sentinel_port, password=SENTINELS_PASSWORD)
        try:
            with client:
                [found] = client.sentinel_slaves(MASTER)
                return found["flags"] == "slave" and found["port"] == self.ports[1]
        except (redis.RedisError, ValueError):
            return False

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(tmp_path_factory.mktemp("r"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_deliveries_go_on_when_the_master_is_killed(
    stand: Stand, servers: Servers, target: Receiver
) -> None:
    settings = {
        "REDIS_URL": servers.url,
        "REDIS_SENTINEL_MASTER": MASTER,
        "REDIS_SENTINEL_PASSWORD": SENTINELS_PASSWORD,
    }
    stand.environment |= settings
    web = stand.run("web", PORT=str(port := free_port()))
    parts = [web, stand.run("worker"), stand.run("beat")]
    stand.url, before = f"http://127.0.0.1:{port}", stand.url
    eventually(stand.is_ready)
    for second in range(30):
        one_time(stand, f"{target.url}/x", soon(2 + second))
    target.wait_for(2)

    servers.processes[0].kill()
    eventually(lambda: stand.api.get(f"{stand.url}/readyz").json()["broker"] != "ok")
    eventually(stand.is_ready)
    swift = one_time(stand, f"{target.url}/swift", soon(2))
    target.wait_for(31, timeout=90)
    eventually(lambda: all_done(stand))

    stand.url = before
    assert [part.poll() for part in parts] == [None] * 3
    assert set(ids_of(target.requests).values()) == {1}
    [(attempts,)] = stand.query(
        "SELECT count(*) FROM tasks_api_run WHERE task_id = %s", swift
    )
    assert attempts == 1
    new = redis.Redis(port=servers.ports[1], password=PASSWORD, db=3)
    with new:
        assert new.info("replication")["role"] == "master"
        assert new.exists("_kombu.binding.deliver")
    for part in parts:
        stand.end(part, signal.SIGTERM)
