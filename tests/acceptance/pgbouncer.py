"""Runs a real PgBouncer in front of a PostgreSQL, in a given pool mode."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from scheduler_service.local.postgres import Postgres
from scheduler_service.local.urls import PORT
from tests.acceptance.harness import eventually, free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None, reason="PgBouncer is not installed: `apt install pgbouncer`."
)
CONFIG = """
[databases]
* = host={host} port={port} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
admin_users = postgres
ignore_startup_parameters = options
pool_mode = {mode}
default_pool_size = {size}
"""


class PgBouncer:
    def __init__(self, home: Path, postgres: Postgres) -> None:
        self.home = home
        self.postgres = postgres
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/scheduler"
        self.config_file = home / "pgbouncer.ini"

    def configure(self, mode: str, size: int = 30) -> None:
        text = CONFIG.format(
            host=self.postgres.socket_dir,
            port=PORT,
            listen=self.port,
            mode=mode,
            size=size,
        )
        self.config_file.write_text(text)
        # It runs as the user of PostgreSQL, whose socket no other user may open.
        self.config_file.chmod(0o644)

    def start(self) -> None:
        assert PROGRAM is not None
        with (self.home / "pgbouncer.log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, str(self.config_file)],
                stdout=log,
                stderr=log,
                **self.postgres.user(),
            )

    def reconfigure(self, mode: str) -> None:
        self.configure(mode)
        self.process.send_signal(signal.SIGHUP)
        log = self.home / "pgbouncer.log"
        eventually(lambda: "re-reading config" in log.read_text())

    def reconnect(self) -> None:
        """Have it replace each of its sessions as soon as no transaction uses it."""
        url = self.url.removesuffix("scheduler") + "pgbouncer"
        with psycopg.connect(url, autocommit=True) as console:
            console.execute("RECONNECT", prepare=False)

    def is_up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def running_pgbouncer(
    home: Path, postgres: Postgres, mode: str, size: int = 30
) -> Iterator[PgBouncer]:
    home.chmod(0o711)
    bouncer = PgBouncer(home, postgres)
    bouncer.configure(mode, size)
    bouncer.start()
    try:
        eventually(bouncer.is_up)
        yield bouncer
    finally:
        bouncer.process.send_signal(signal.SIGTERM)
        bouncer.process.wait(timeout=30)
