"""Runs the whole service as real processes, on servers of its own."""

from __future__ import annotations

import fcntl
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import psutil
import psycopg
import redis
import requests

from scheduler_service.local.postgres import Postgres
from scheduler_service.local.redis_server import Redis
from scheduler_service.process.supervisor import read_procfile, spawn
from scheduler_service.redis.connections import redis_client_url

ROOT = Path(__file__).resolve().parents[2]
# Names the directory of a run of tests, which tests/provision.py makes.
TESTS_DIR = "TEST_RUN_DIR"
# In the names of heartbeats: `worker-1234@host 0ab1…` and `beat@host:1234`.
PROCESS_ID = re.compile(r"(?<=^worker-)\d+|(?<=:)\d+$")

Found = TypeVar("Found")


# Seconds between two looks at a condition, unless it is to be looked at even less often.
MAX_PAUSE = 0.3
# Below the ports that the kernel gives to connections, one of which could take a port
# before its server does.
SERVER_PORTS = range(15_000, 32_000)


def free_port() -> int:
    while True:
        port = random.choice(SERVER_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def eventually(
    condition: Callable[[], Found | None], *, timeout: float = 40, every: float = 0.05
) -> Found:
    """Poll a condition until it is true, and return what it returned.

    The longer that takes, the less often it looks: each look costs the processes time for
    which it waits.
    """
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {condition}"
        time.sleep(every)
        every = max(every, min(every * 1.1, MAX_PAUSE))
    return found


def readiness(url: str) -> tuple[int, dict[str, Any]] | None:
    """The status and the body of /readyz; None while web does not answer."""
    try:
        answer = requests.get(f"{url}/readyz", timeout=10)
    except (requests.ConnectionError, requests.ReadTimeout):
        return None
    return answer.status_code, answer.json()


class Harness:
    def __init__(self, home: Path, *, durable: bool = False) -> None:
        home.chmod(0o711)
        self.home = home
        self.postgres = Postgres(home, durable=durable)
        self.redis = Redis(home, durable=durable)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "SCHEDULER_STATE_DIR": str(home),
            "SCHEDULER_ALLOW_PRIVATE_TARGETS": "1",
            "SCHEDULER_MIN_FREQUENCY": "1",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "1",
            # All tests call from one address.
            "SCHEDULER_MAX_FAILED_CALLS": "1000000",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.code_root = ROOT
        # Each process that was started here, with the name of its part.
        self._processes: dict[subprocess.Popen[bytes], str] = {}

    def start(self) -> None:
        token = self.copy_database()
        self.start_postgres()
        self.start_redis()
        self.api = requests.Session()
        self.api.headers["Authorization"] = f"Bearer {token or self.migrate()}"

    def copy_database(self) -> str:
        """Have a migrated database with a user, whose token is returned, if there is one."""
        if self.code_root != ROOT or TESTS_DIR not in os.environ:
            return ""
        made = find_migrated(Path(os.environ[TESTS_DIR]))
        if not self.postgres.home.exists():
            # With their owner, who is not us.
            copy = ["cp", "-a", str(made.postgres.home), str(self.postgres.home)]
            subprocess.run(copy, check=True)
        return made.token.read_text()

    def migrate(self) -> str:
        """Migrate the database, and make a user; returns their token."""
        self.manage("migrate", "--verbosity", "0")
        return self.manage("issue_token", "--tenant", "Alpha", "--user", "ann")

    def start_postgres(self) -> None:
        self.postgres_process = self.postgres.start()
        self.postgres.wait_until_ready(self.postgres_process)

    def stop(self) -> None:
        for process in reversed(list(self._processes)):
            self.stop_process(process, signal.SIGKILL)
        self.api.close()
        self.stop_process(self.redis_process, signal.SIGKILL)
        self.stop_process(self.postgres_process, self.postgres.stop_signal)

    def start_redis(self) -> None:
        self.redis_process = self.redis.start()
        self.redis.wait_until_ready(self.redis_process)

    def manage(self, *arguments: str, **settings: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.code_root,
            env=self.environment | settings,
            capture_output=True,
            check=True,
            text=True,
        )
        return done.stdout.strip()

    def start_part(self, part: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start a part as the Procfile says; its output goes to `<part>.log`."""
        with (self.home / f"{part}.log").open("ab") as log:
            return self.start_part_into(log, part, code=self.code_root, **settings)

    def start_part_into(
        self,
        output: int | IO[bytes],
        part: str,
        *,
        code: Path,
        **settings: str,
    ) -> subprocess.Popen[bytes]:
        command = read_procfile(code / "Procfile")[part]
        process = spawn(
            ["/bin/sh", "-c", f"exec {command}"],
            cwd=code,
            env=self.environment | settings,
            stdout=output,
            stderr=output,
        )
        self._processes[process] = part
        return process

    def find_running(self, part: str) -> subprocess.Popen[bytes] | None:
        """A process of this part that has not ended."""
        found = (
            process
            for process, started in self._processes.items()
            if started == part and process.poll() is None
        )
        return next(found, None)

    def web_processes(self) -> list[psutil.Process]:
        """The serving processes of the web that was started last."""
        *_, web = (
            process for process, part in self._processes.items() if part == "web"
        )
        return psutil.Process(web.pid).children()

    def stop_process(
        self, process: subprocess.Popen[bytes], stop_signal: signal.Signals
    ) -> None:
        if process.poll() is None:
            process.send_signal(stop_signal)
            process.wait(timeout=60)
        self._processes.pop(process, None)

    def is_ready(self, *, workers: int = 1, beats: int = 1) -> bool:
        try:
            found = self.api.get(f"{self.url}/readyz", timeout=5).json()
        except (requests.ConnectionError, requests.ReadTimeout):
            # On a busy machine the first answer may take longer.
            return False
        return bool(
            found["workers"]["alive"] >= workers
            and found["beats"]["alive"] >= beats
            and found["broker"] == "ok"
        )

    def create_task(self, **task: Any) -> str:
        answer = self.api.post(f"{self.url}/tasks/", json=task, timeout=10)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.postgres.url) as connection:
            return connection.execute(statement, values).fetchall()

    def count_unfinished_runs(self) -> int:
        waiting = "SELECT count(*) FROM tasks_api_run WHERE finished_at IS NULL"
        return int(self.query(waiting)[0][0])

    def delete_all_tasks(self) -> None:
        """Empty the tables and Redis while the processes go on."""
        self.forget_dead_processes()
        with psycopg.connect(self.postgres.url) as connection:
            connection.execute(
                "TRUNCATE tasks_api_task, tasks_api_run, tasks_api_attempt,"
                " tasks_api_tasktally, tasks_api_tasktag CASCADE"
            )
        self.flush_redis()

    def forget_dead_processes(self) -> None:
        """Delete the heartbeats of killed processes, which count as alive for a while.

        Otherwise, a test would find the service ready by those of the test before it.
        """
        for (name,) in self.query("SELECT name FROM tasks_api_heartbeat"):
            found = PROCESS_ID.search(name)
            if found and not psutil.pid_exists(int(found[0])):
                statement = (
                    "DELETE FROM tasks_api_heartbeat WHERE name = %s RETURNING 1"
                )
                self.query(statement, name)

    def flush_redis(self) -> None:
        with redis.Redis.from_url(redis_client_url(self.redis.url)) as client:
            client.flushall()

    def read_logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.home.glob("*.log")))


class MigratedHarness(Harness):
    """A database to copy, because it takes five seconds to migrate one."""

    def __init__(self, home: Path) -> None:
        home.mkdir(exist_ok=True)
        super().__init__(home)
        self.token = home / "token"

    def make(self) -> None:
        self.start_postgres()
        token = self.migrate()
        self.stop_process(self.postgres_process, self.postgres.stop_signal)
        self.token.write_text(token)


def find_migrated(directory: Path) -> MigratedHarness:
    """Made by whichever worker of pytest-xdist is the first to need it."""
    with (directory / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = MigratedHarness(directory / "migrated")
        if not found.token.exists():
            found.make()
        return found
