"""A cell of a round: a whole service with one process of each part."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psycopg
import requests

from scheduler_service.local.postgres import Postgres
from tests.chaos.cluster import Cluster

CELL_PARTS = ("web", "worker-1", "beat-1")
CELL_SERVERS = ("redis", "postgres")

_HEARTBEAT = "SELECT 1 FROM tasks_api_heartbeat WHERE name LIKE %s OR name LIKE %s"


class Cell(Cluster):
    """A cluster that begins with a copy of a migrated database, without tenants."""

    def __init__(self, home: Path, name: str, settings: Mapping[str, str]) -> None:
        home.mkdir()
        super().__init__(home)
        self.name = name
        self.api = requests.Session()
        self.environment |= settings
        self.environment |= {
            "SCHEDULER_CELL": name,
            "TRUSTED_PROXIES": "1",
            "WEB_CONCURRENCY": "1",
        }

    @property
    def address(self) -> str:
        """Where the door reaches its web."""
        return f"127.0.0.1:{self.port}"

    def start_servers(self, migrated: Postgres) -> None:
        # With its owner, who is not us.
        copy = ["cp", "-a", str(migrated.home), str(self.postgres.home)]
        subprocess.run(copy, check=True)
        self.start_postgres()
        self.start_redis()
        self.parts = {"postgres": self.postgres_process, "redis": self.redis_process}

    def start_parts(self) -> None:
        for name in CELL_PARTS:
            self.launch(name)

    def _part_settings(self, name: str) -> dict[str, str]:
        """None: its parts reach their servers without proxies, and their clocks are right."""
        return {}

    def is_whole(self) -> bool:
        with suppress(requests.RequestException, ValueError, KeyError):
            return self.is_ready()
        return False

    def is_at_work(self, name: str) -> bool:
        """Whether a process that was started has reached its servers."""
        try:
            if name == "web":
                return requests.get(f"{self.url}/readyz", timeout=2).ok
            pid = self.parts[name].pid
            return bool(self.query(_HEARTBEAT, f"worker-{pid}@%", f"beat@%:{pid}"))
        except (requests.RequestException, psycopg.OperationalError):
            return False

    def report_failure(self, failure: str) -> None:
        super().report_failure(f"{self.name}: {failure}")
