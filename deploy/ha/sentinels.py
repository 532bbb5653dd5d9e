"""A Redis with a replica, and three Sentinels, by the files of this directory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import redis

from deploy.ha.programs import HERE, HOST, Programs, fill_in, look_for, wait_until
from scheduler_service.local.redis_server import find_redis_program

FILES = HERE / "sentinel"
SENTINEL_COUNT = 3


class SentinelServers:
    """The first two ports are those of Redis, the others those of the Sentinels."""

    def __init__(
        self,
        programs: Programs,
        ports: Sequence[int],
        *,
        master: str,
        password: str,
        sentinel_password: str,
    ) -> None:
        self.home = programs.home / "broker"
        self.ports = dict(zip(("redis1", "redis2"), ports, strict=False))
        names = (f"sentinel{number}" for number in range(1, SENTINEL_COUNT + 1))
        self.sentinel_ports = dict(zip(names, ports[2:], strict=False))
        self.master = master
        self.password, self.sentinel_password = password, sentinel_password
        self._programs = programs

    @property
    def url(self) -> str:
        first, *rest = (f"{HOST}:{port}" for port in self.sentinel_ports.values())
        addresses = [f":{self.password}@{first}/0", *rest]
        return ";".join(f"sentinel://{each}" for each in addresses)

    @property
    def settings(self) -> dict[str, str]:
        return {
            "REDIS_URL": self.url,
            "REDIS_SENTINEL_MASTER": self.master,
            "REDIS_SENTINEL_PASSWORD": self.sentinel_password,
        }

    def start(self) -> None:
        # Redis keeps nothing, and Sentinels find out who the master is.
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(mode=0o700)
        self.start_node("redis1")
        self.start_node("redis2", "--replicaof", HOST, str(self.ports["redis1"]))
        for name in self.sentinel_ports:
            self.start_node(name)
        wait_until(
            lambda: all(map(self._knows_all, self.sentinel_ports)), "the Sentinels"
        )

    def start_node(self, name: str, *options: str) -> None:
        """Sentinels make a replica of a Redis that comes back."""
        command = (
            self._redis_command(name)
            if name in self.ports
            else self._sentinel_command(name)
        )
        self._programs.start(name, [*command, *options])

    def _redis_command(self, name: str) -> list[str]:
        values = {
            "REDIS_BIND": HOST,
            "REDIS_PORT": self.ports[name],
            "REDIS_DIR": self.home,
            "REDIS_PASSWORD": self.password,
        }
        file = fill_in(FILES / "redis.conf", self.home / f"{name}.conf", values)
        return [find_redis_program(), str(file)]

    def _sentinel_command(self, name: str) -> list[str]:
        file = self.home / f"{name}.conf"
        if not file.exists():
            values = {
                "SENTINEL_BIND": HOST,
                "SENTINEL_PORT": self.sentinel_ports[name],
                "SENTINEL_DIR": self.home,
                "SENTINEL_PASSWORD": self.sentinel_password,
                "SENTINEL_MASTER": self.master,
                "REDIS_HOST": HOST,
                "REDIS_PORT": self.ports["redis1"],
                "REDIS_PASSWORD": self.password,
            }
            fill_in(FILES / "sentinel.conf", file, values)
        # Debian's program, or a Redis in this mode.
        if sentinel := look_for("redis-sentinel"):
            return [sentinel, str(file)]
        return [find_redis_program(), str(file), "--sentinel"]

    def _knows_all(self, name: str) -> bool:
        """Whether a Sentinel knows the replica and the two others."""
        try:
            with self._sentinel(name) as client:
                [replica] = client.sentinel_slaves(self.master)
                others: Any = client.sentinel_sentinels(self.master)
        except (redis.RedisError, ValueError):
            return False
        return replica["flags"] == "slave" and len(others) == SENTINEL_COUNT - 1

    def find_master(self) -> str:
        """The name of the master, as the first Sentinel knows it."""
        with self._sentinel("sentinel1") as client:
            address: Any = client.sentinel_get_master_addr_by_name(self.master)
        names = {port: name for name, port in self.ports.items()}
        return names[int(address[1])]

    def _sentinel(self, name: str) -> redis.Redis:
        port = self.sentinel_ports[name]
        return redis.Redis(HOST, port, password=self.sentinel_password)

    def describe(self) -> dict[str, Any]:
        ports = self.ports | self.sentinel_ports
        running = self._programs.running
        return {
            name: {"pid": running[name].pid, "port": port}
            for name, port in ports.items()
        }

    def stop(self) -> None:
        running = self._programs.running
        names = (*self.sentinel_ports, *self.ports)
        self._programs.kill(*(name for name in names if name in running))
