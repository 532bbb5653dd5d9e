"""A PostgreSQL that may start as the standby of another one."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from scheduler_service.local.postgres import Postgres
from tests.acceptance.harness import free_port


class Replica(Postgres):
    """A server that starts as a standby, if it is given a primary."""

    primary: Postgres | None = None

    def start_copying(self, primary: Postgres) -> threading.Thread:
        """Start to copy a primary, which takes a while; then call `start`."""
        self.primary = primary
        self.home.parent.mkdir(mode=0o711, exist_ok=True)
        self.home.mkdir(mode=0o700, exist_ok=True)
        os.chown(self.home, self.user().get("user", -1), -1)
        copying = threading.Thread(target=self._create_data, daemon=True)
        copying.start()
        return copying

    def _create_data(self) -> None:
        if self.primary is None:
            super()._create_data()
            return
        self._run(
            "pg_basebackup",
            f"--pgdata={self.data}",
            f"--dbname={self.primary.url}",
            "--write-recovery-conf",
            "--checkpoint=fast",
        )

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement that runs outside of a transaction."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


class TcpPostgres(Replica):
    """A server with a host and a port, as an operator's have."""

    SETTINGS: ClassVar[dict[str, str]] = Postgres.SETTINGS | {
        "listen_addresses": "127.0.0.1"
    }

    def __init__(self, home: Path) -> None:
        super().__init__(home, durable=False)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"postgresql://postgres@{self.address}/scheduler"

    def command(self) -> list[str]:
        return [*super().command(), "-p", str(self.port)]
