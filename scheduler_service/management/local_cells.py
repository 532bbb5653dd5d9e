"""The parts of several cells on one machine, and the text that `cells` prints about them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.utils import get_random_secret_key

from scheduler_service.local.postgres import Postgres
from scheduler_service.local.state_files import load_or_create_secret
from scheduler_service.local.urls import postgres_url
from scheduler_service.management.demo import private_targets
from scheduler_service.process.supervisor import Program, spawn

MANAGE = (sys.executable, str(settings.BASE_DIR / "manage.py"))
# Each cell has servers of its own, whatever the environment says.
SHARED_SERVERS = ("DATABASE_URL", "REDIS_URL", "REDIS_SENTINEL_MASTER")

WELCOME = """
The cells are ready. Each has a PostgreSQL, a Redis, web, a worker and a beat of its own.

  Door     {door}
{cells}
  Cells    {door_of_pages}/admin/cells/  (user admin, password: {password})

Paste this into another terminal. The door sends it to the cell of the token's tenant, as the
answer's header X-Scheduler-Cell says, and the request shows up below as an "echo" line:

curl -sSi {door}/tasks/ -H 'Authorization: Bearer {token}' -d '{{"task_type": "one_time", "run_datetime": "'$(date -u -d '+5 seconds' +%FT%TZ)'", "url": "http://127.0.0.1:{echo}/once", "post_data": {{"hello": "world"}}}}'

All other commands about cells take the directory's URL:

export DIRECTORY_URL='{directory}'
{manage} list_cells

Ctrl-C stops everything.
"""


class LocalCell(NamedTuple):
    name: str
    port: int
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        return postgres_url(Path(self.environment["SCHEDULER_STATE_DIR"]))

    @property
    def host(self) -> str:
        """Names below localhost lead to this machine, in every browser."""
        return f"{self.name}.localhost"


class LocalCells:
    """Cells, their directory and their door under one directory of this machine."""

    def __init__(self, home: Path, count: int, port: int) -> None:
        self.home = home
        self.port = port
        self.directory = Postgres(home / "directory")
        self.haproxy = find_haproxy()
        secret_key = load_or_create_secret(home / "secret_key", get_random_secret_key)
        self.environment = _own_environment() | {
            "DIRECTORY_URL": self.directory.url,
            "SECRET_KEY": secret_key,
            "DOOR_NAME": "door",
            "DOOR_DIR": str(home / "door"),
            "DOOR_SOCKET": str(home / "door" / "haproxy.sock"),
            "DOOR_BIND": f"127.0.0.1:{port}",
            "PYTHONUNBUFFERED": "1",
        }
        self.cells = [self._cell(number) for number in range(1, count + 1)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _cell(self, number: int) -> LocalCell:
        name, port = f"cell-{number}", self.port + number
        return LocalCell(
            name,
            port,
            self.environment
            | {
                "SCHEDULER_CELL": name,
                "SCHEDULER_STATE_DIR": str(self.home / name),
                "SCHEDULER_PUBLIC_URL": self.url,
                "SCHEDULER_ALLOW_PRIVATE_TARGETS": private_targets(),
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "TRUSTED_PROXIES": "1",
                "WEB_CONCURRENCY": "1",
            },
        )

    def cell_programs(self) -> list[Program]:
        return [
            _program(cell.name, [*MANAGE, "run", "--as-cell"], cell.environment)
            for cell in self.cells
        ]

    def directory_program(self) -> Program:
        stop = self.directory.stop_signal
        return Program("directory", self.directory.start, stop_signal=stop)

    def door_programs(self) -> list[Program]:
        files = [
            settings.BASE_DIR / "deploy" / "door" / "haproxy.cfg",
            self.home / "door" / "cells.cfg",
        ]
        command = [self.haproxy, *(part for file in files for part in ("-f", file))]
        follow = [*MANAGE, "follow_directory"]
        return [
            _program("door", command, self.environment),
            _program("follower", follow, self.environment),
        ]

    def echo_program(self, port: int) -> Program:
        environment = self.environment | {"ECHO_PORT": str(port)}
        return _program("echo", [*MANAGE, "echo"], environment)

    def manage(self, *arguments: str, cell: LocalCell | None = None) -> str:
        """What a command of ours prints. Raises CommandError."""
        done = subprocess.run(  # noqa: S603 (our own command)
            [*MANAGE, *arguments],
            env=self.environment if cell is None else cell.environment,
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise CommandError(done.stderr.strip() or f"{arguments[0]} failed.")
        return done.stdout.strip()

    def welcome_text(self, tokens: Sequence[str], echo_port: int) -> str:
        first, token = self.cells[0], tokens[0]
        return WELCOME.format(
            door=self.url,
            door_of_pages=f"http://{first.host}:{self.port}",
            cells="\n".join(map(self._describe, self.cells, tokens)),
            password=(self.home / first.name / "admin_password").read_text().strip(),
            token=token,
            echo=echo_port,
            directory=self.directory.url,
            manage=" ".join(MANAGE),
        )

    def _describe(self, cell: LocalCell, token: str) -> str:
        pages = f"http://{cell.host}:{self.port}/login/"
        return f"  {cell.name:<8} {cell.url}  pages {pages}  token {token}"


def find_haproxy() -> str:
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    found = shutil.which("haproxy", path=path)
    if found is None:
        raise CommandError(
            "haproxy is not installed, and the door of the cells is one: install it, such "
            "as by `apt install haproxy`."
        )
    return found


def _own_environment() -> dict[str, str]:
    bin_dir = str(Path(sys.executable).parent)
    path = f"{bin_dir}{os.pathsep}{os.environ.get('PATH', '')}"
    kept = {
        name: value for name, value in os.environ.items() if name not in SHARED_SERVERS
    }
    return kept | {"PATH": path}


def _program(
    name: str, command: Sequence[str | Path], environment: Mapping[str, str]
) -> Program:
    def start() -> subprocess.Popen[bytes]:
        return spawn(
            command,
            cwd=settings.BASE_DIR,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return Program(name, start)
