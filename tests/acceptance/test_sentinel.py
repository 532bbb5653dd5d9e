"""Sentinels watch two Redis servers; the master dies, and no part is restarted by hand."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from scheduler_service.local.redis_server import find_redis_program
from scheduler_service.process.supervisor import spawn
from tests.acceptance.harness import Harness, eventually, free_port
from tests.acceptance.tasks import (
    count_requests_by_run,
    create_task_at,
    in_seconds,
    is_all_done,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.timeout(300)

MASTER = "bell"
PASSWORD, SENTINEL_PASSWORD = "of-redis", "of-sentinels"
SENTINEL_CONFIG = f"""
port {{port}}
bind 127.0.0.1
requirepass {SENTINEL_PASSWORD}
sentinel monitor {MASTER} 127.0.0.1 {{master}} 1
sentinel auth-pass {MASTER} {PASSWORD}
sentinel down-after-milliseconds {MASTER} 1000
sentinel failover-timeout {MASTER} 5000
"""


class SentinelServers:
    """A master, a replica and a Sentinel: enough for a failover."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = [free_port(), free_port()]
        self.sentinel_port = free_port()
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        # No Sentinel listens at the first address.
        return (
            f"sentinel://:{PASSWORD}@127.0.0.1:{free_port()}/3;"
            f"sentinel://127.0.0.1:{self.sentinel_port}"
        )

    def start(self) -> None:
        master, replica = self.ports
        self._redis(master)
        self._redis(replica, "--replicaof", "127.0.0.1", str(master))
        file = self.home / "sentinel.conf"
        file.write_text(SENTINEL_CONFIG.format(port=self.sentinel_port, master=master))
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
        client = redis.Redis(port=self.sentinel_port, password=SENTINEL_PASSWORD)
        try:
            with client:
                [found] = client.sentinel_slaves(MASTER)
                return bool(
                    found["flags"] == "slave" and found["port"] == self.ports[1]
                )
        except (redis.RedisError, ValueError):
            return False

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelServers]:
    made = SentinelServers(tmp_path_factory.mktemp("r"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_deliveries_go_on_when_the_master_is_killed(
    harness: Harness, servers: SentinelServers, target: Receiver
) -> None:
    settings = {
        "REDIS_URL": servers.url,
        "REDIS_SENTINEL_MASTER": MASTER,
        "REDIS_SENTINEL_PASSWORD": SENTINEL_PASSWORD,
    }
    harness.environment |= settings
    web = harness.start_part("web", PORT=str(port := free_port()))
    parts = [web, harness.start_part("worker"), harness.start_part("beat")]
    harness.url, before = f"http://127.0.0.1:{port}", harness.url
    eventually(harness.is_ready)
    for second in range(30):
        create_task_at(harness, f"{target.url}/x", in_seconds(2 + second))
    target.wait_for(2)

    servers.processes[0].kill()
    eventually(
        lambda: harness.api.get(f"{harness.url}/readyz").json()["broker"] != "ok"
    )
    eventually(harness.is_ready)
    swift = create_task_at(harness, f"{target.url}/swift", in_seconds(2))
    target.wait_for(31, timeout=90)
    eventually(lambda: is_all_done(harness))

    harness.url = before
    assert [part.poll() for part in parts] == [None] * 3
    assert set(count_requests_by_run(target.requests).values()) == {1}
    [(attempts,)] = harness.query(
        "SELECT count(*) FROM tasks_api_run WHERE task_id = %s", swift
    )
    assert attempts == 1
    new = redis.Redis(port=servers.ports[1], password=PASSWORD, db=3)
    with new:
        assert new.info("replication")["role"] == "master"
        assert new.exists("_kombu.binding.deliver")
    for part in parts:
        harness.stop_process(part, signal.SIGTERM)
