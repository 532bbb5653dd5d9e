"""A cell with a standby that becomes another one, behind a door, and clients of its tenants."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests
from django.test import override_settings

from accounts import directory
from tests.acceptance.door import Door
from tests.acceptance.harness import ROOT, Harness, eventually
from tests.acceptance.replica import TcpPostgres
from tests.acceptance.tasks import in_seconds
from tests.receiver import Receiver

PARTS = ("web", "worker", "beat")
# Seconds between the requests of a client, and from a request to the fire time.
PAUSE, AHEAD = 0.2, 2


class CellHarness(Harness):
    def __init__(self, home: Path, name: str, door: Door) -> None:
        super().__init__(home)
        self.postgres: TcpPostgres = TcpPostgres(home)
        self.address = f"127.0.0.1:{self.port}"
        self.environment |= {
            "DATABASE_URL": self.postgres.url,
            "SCHEDULER_CELL": name,
            "DIRECTORY_URL": door.postgres.url,
        }

    def start_as_standby(self) -> None:
        """Start everything on a PostgreSQL that takes no writes yet."""
        self.start_postgres()
        self.start_redis()
        self.api = requests.Session()
        self.start_parts()

    def start_parts(self) -> None:
        self.parts = [self.start_part(part) for part in PARTS]


def token_of(session: requests.Session) -> str:
    return str(session.headers["Authorization"]).removeprefix("Bearer ")


class SplitHarness:
    """The cell `old`, the standby that is to be the cell `new`, and their door."""

    def __init__(self, home: Path) -> None:
        # PostgreSQL runs as another user.
        home.chmod(0o711)
        for name in ("door", "old", "new"):
            (home / name).mkdir(mode=0o711)
        self.door = Door(home / "door")
        self.old = CellHarness(home / "old", "old", self.door)
        self.new = CellHarness(home / "new", "new", self.door)
        self.new.postgres.primary = self.old.postgres

    @contextmanager
    def running(self, tenants: Sequence[str]) -> Iterator[None]:
        """Run both cells; `tokens` has those of Alpha and of these tenants."""
        with ExitStack() as stack:
            url = self.door.postgres.url
            stack.enter_context(override_settings(DIRECTORY_URL=url))
            stack.callback(self.door.stop)
            self.door.start_directory()
            for name, cell in (("old", self.old), ("new", self.new)):
                directory.put_cell(name, [cell.address])
            stack.callback(self.old.stop)
            self.old.start()
            self.old.manage("join_directory")
            self.tokens = {"Alpha": token_of(self.old.api)} | {
                tenant: self.old.manage(
                    "issue_token", "--tenant", tenant, "--user", "ann"
                )
                for tenant in tenants
            }
            self.old.start_parts()
            stack.callback(self.new.stop)
            self.new.start_as_standby()
            self.door.start()
            eventually(self.old.is_ready)
            yield

    def wait_for_standby(self) -> None:
        """Wait until the standby has what was committed before."""
        [(sent,)] = self.old.postgres.execute("SELECT pg_current_wal_insert_lsn()")
        has_it = f"SELECT pg_last_wal_replay_lsn() >= '{sent}'::pg_lsn"
        eventually(lambda: self.new.postgres.execute(has_it) == [(True,)], timeout=120)

    def split(self, *options: str) -> dict[str, float]:
        """Split the cell; returns the steps that the command reports, and when."""
        process = self._start(*options)
        assert process.stderr is not None
        steps = {line.strip(): time.monotonic() for line in process.stderr}
        process.communicate()
        assert process.returncode == 0, list(steps)
        return steps

    def kill_split_at(self, step: str, *options: str) -> None:
        """Split the cell by a command that is killed when it reports a step."""
        process = self._start(*options, program=("-m", "tests.killed_command", step))
        _, seen = process.communicate()
        assert process.returncode == -signal.SIGKILL, seen

    def _start(
        self, *options: str, program: Sequence[str] = ("manage.py",)
    ) -> subprocess.Popen[str]:
        command = [sys.executable, *program, "split_cell", "new", "--to"]
        return subprocess.Popen(
            [*command, self.new.postgres.url, *options],
            cwd=ROOT,
            env=self.old.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


class Answer(NamedTuple):
    began_at: float
    status: int
    cell: str | None


class Client(threading.Thread):
    """Creates tasks of a tenant through the door, and remembers what was acknowledged."""

    def __init__(self, tenant: str, url: str, token: str, target: str) -> None:
        super().__init__(name=tenant)
        self.answers: list[Answer] = []
        # The paths of acknowledged tasks, with the cell that did so.
        self.acknowledged: dict[str, str | None] = {}
        self._url, self._target = f"{url}/tasks/", target
        self._headers = {"Authorization": f"Bearer {token}"}
        self._stopping = threading.Event()

    def run(self) -> None:
        number = 0
        with requests.Session() as session:
            session.headers.update(self._headers)
            while not self._stopping.wait(PAUSE):
                number += 1
                self._create(session, f"/{self.name}-{number}")

    def _create(self, session: requests.Session, path: str) -> None:
        task = {
            "task_type": "one_time",
            "url": f"{self._target}{path}",
            "run_datetime": in_seconds(AHEAD).isoformat(),
        }
        began_at = time.time()
        answer = session.post(self._url, json=task, timeout=20)
        cell = answer.headers.get("X-Scheduler-Cell")
        self.answers.append(Answer(began_at, answer.status_code, cell))
        if answer.status_code == 201:
            self.acknowledged[path] = cell

    def repeat_every_second(self) -> None:
        """Create a task that fires each second, and makes up for each fire time."""
        task: dict[str, Any] = {
            "task_type": "periodic",
            "frequency": 1,
            "start_datetime": in_seconds(2).isoformat(),
            "misfire": "all",
            "url": f"{self._target}/{self.name}",
        }
        made = requests.post(self._url, json=task, headers=self._headers, timeout=20)
        assert made.status_code == 201, made.text

    def wait_for_more(self, count: int = 10) -> None:
        before = len(self.acknowledged)
        eventually(lambda: len(self.acknowledged) >= before + count, timeout=60)

    def stop(self) -> None:
        self._stopping.set()
        self.join()


@contextmanager
def clients_of(split: SplitHarness, target: Receiver) -> Iterator[dict[str, Client]]:
    made = {
        tenant: Client(tenant, split.door.url, token, target.url)
        for tenant, token in split.tokens.items()
    }
    for client in made.values():
        client.repeat_every_second()
        client.start()
    try:
        yield made
    finally:
        for client in made.values():
            client.stop()
