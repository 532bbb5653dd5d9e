"""A Redis, a replica and three Sentinels, with what only a test knows about them."""

from __future__ import annotations

from pathlib import Path

import redis

from deploy.ha.programs import HOST, Programs
from deploy.ha.sentinels import SENTINEL_COUNT, SentinelServers
from tests.acceptance.harness import free_port

DATABASE = 3


class Sentinels(SentinelServers):
    def __init__(self, home: Path) -> None:
        self.programs = Programs(home)
        super().__init__(
            self.programs,
            [free_port() for _ in range(2 + SENTINEL_COUNT)],
            master="bell",
            password="of-redis",
            sentinel_password="of-sentinels",
        )
        # No Sentinel listens at the first address.
        self._deaf_port = free_port()

    @property
    def url(self) -> str:
        given = f":{self.password}@{HOST}:{self._deaf_port}/{DATABASE}"
        rest = [f"{HOST}:{port}" for port in self.sentinel_ports.values()]
        return ";".join(f"sentinel://{each}" for each in [given, *rest])

    def connect_to(self, name: str) -> redis.Redis:
        return redis.Redis(port=self.ports[name], password=self.password, db=DATABASE)
