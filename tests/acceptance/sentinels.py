"""A Redis, a replica and three Sentinels, by the files of deploy/ha/sentinel."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import redis

from scheduler_service.local.redis_server import find_redis_program
from scheduler_service.process.supervisor import spawn
from tests.acceptance.harness import ROOT, eventually, free_port

FILES = ROOT / "deploy" / "ha" / "sentinel"
MASTER = "bell"
DATABASE = 3
PASSWORD, SENTINEL_PASSWORD = "of-redis", "of-sentinels"


def fill_in(template: Path, file: Path, values: Mapping[str, object]) -> Path:
    file.write_text(Template(template.read_text()).substitute(values))
    return file


class SentinelServers:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = [free_port(), free_port()]
        self.sentinel_ports = [free_port() for _ in range(3)]
        self.servers: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        # No Sentinel listens at the first address.
        given = f":{PASSWORD}@127.0.0.1:{free_port()}/{DATABASE}"
        rest = [f"127.0.0.1:{port}" for port in self.sentinel_ports]
        return ";".join(f"sentinel://{each}" for each in [given, *rest])

    @property
    def settings(self) -> dict[str, str]:
        return {
            "REDIS_URL": self.url,
            "REDIS_SENTINEL_MASTER": MASTER,
            "REDIS_SENTINEL_PASSWORD": SENTINEL_PASSWORD,
        }

    def start(self) -> None:
        first, second = self.ports
        self.start_redis(first)
        self.start_redis(second, "--replicaof", "127.0.0.1", str(first))
        for port in self.sentinel_ports:
            self._start_sentinel(port)
        eventually(lambda: all(map(self._knows_all, self.sentinel_ports)))

    def start_redis(self, port: int, *options: str) -> None:
        values = {"REDIS_BIND": "127.0.0.1", "REDIS_PORT": port}
        values |= {"REDIS_DIR": self.home, "REDIS_PASSWORD": PASSWORD}
        file = fill_in(FILES / "redis.conf", self.home / f"{port}.conf", values)
        self._spawn(port, str(file), *options)

    def _start_sentinel(self, port: int) -> None:
        values = {
            "SENTINEL_BIND": "127.0.0.1",
            "SENTINEL_PORT": port,
            "SENTINEL_DIR": self.home,
            "SENTINEL_PASSWORD": SENTINEL_PASSWORD,
            "SENTINEL_MASTER": MASTER,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": self.ports[0],
            "REDIS_PASSWORD": PASSWORD,
        }
        file = fill_in(FILES / "sentinel.conf", self.home / f"{port}.conf", values)
        self._spawn(port, str(file), "--sentinel")

    def _spawn(self, port: int, *arguments: str) -> None:
        with (self.home / "redis.out").open("ab") as log:
            command = [find_redis_program(), *arguments]
            self.servers[port] = spawn(command, stdout=log, stderr=log)

    def _knows_all(self, port: int) -> bool:
        """Whether this Sentinel knows the replica and the two other Sentinels."""
        client = redis.Redis(port=port, password=SENTINEL_PASSWORD)
        try:
            with client:
                [replica] = client.sentinel_slaves(MASTER)
                others: Any = client.sentinel_sentinels(MASTER)
                return replica["flags"] == "slave" and len(others) == 2
        except (redis.RedisError, ValueError):
            return False

    def find_master(self) -> int:
        """The port of the master, as the first Sentinel knows it."""
        client = redis.Redis(port=self.sentinel_ports[0], password=SENTINEL_PASSWORD)
        with client:
            address: Any = client.sentinel_get_master_addr_by_name(MASTER)
        return int(address[1])

    def connect_to(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, password=PASSWORD, db=DATABASE)

    def kill(self, port: int) -> None:
        self.servers[port].kill()
        self.servers[port].wait()

    def stop(self) -> None:
        for port in self.servers:
            self.kill(port)
