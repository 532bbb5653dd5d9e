"""A PostgreSQL that may begin as the standby of another one."""

from __future__ import annotations

import os
import threading
from typing import Any

import psycopg

from scheduler_service.local.postgres import Postgres


class Replica(Postgres):
    """A server that begins as a standby, if it is given a primary."""

    primary: Postgres | None = None

    def copy(self, primary: Postgres) -> threading.Thread:
        """Begin to copy a primary, which takes a while; `start` goes on from there."""
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

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            answer = connection.execute(statement)
            return answer.fetchall() if answer.description else []
