"""The whole service as real processes on servers of its own, to be killed at will."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg
import redis
import requests

from scheduler_service.local.postgres import Postgres
from scheduler_service.local.redis_server import Redis
from scheduler_service.process.supervisor import read_procfile, spawn
from scheduler_service.redis.connections import redis_client_url

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(
    what: Callable[[], Any], *, timeout: float = 40, every: float = 0.05
) -> Any:
    """The first true answer; asked again and again, because processes tell nobody."""
    deadline = time.monotonic() + timeout
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(every)
    return answer


def readiness(url: str) -> tuple[int, dict[str, Any]] | None:
    """What /readyz says, and with which status; None while nobody answers."""
    try:
        answer = requests.get(f"{url}/readyz", timeout=10)
    except (requests.ConnectionError, requests.ReadTimeout):
        return None
    return answer.status_code, answer.json()


class Stand:
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
            # Of all that is tried here, by one address.
            "SCHEDULER_MAX_FAILED_CALLS": "1000000",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        # Whose code runs.
        self.root = ROOT
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.database = self.postgres.start()
        self.postgres.wait_until_ready(self.database)
        self.start_redis()
        self.manage("migrate", "--verbosity", "0")
        self.api = requests.Session()
        token = self.manage("issue_token", "--tenant", "Alpha", "--user", "ann")
        self.api.headers["Authorization"] = f"Bearer {token}"

    def stop(self) -> None:
        for process in reversed(self._running):
            self.end(process, signal.SIGKILL)
        self.api.close()
        self.end(self.broker, signal.SIGKILL)
        self.end(self.database, self.postgres.stop_signal)

    def start_redis(self) -> None:
        self.broker = self.redis.start()
        self.redis.wait_until_ready(self.broker)

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            check=True,
            text=True,
        )
        return done.stdout.strip()

    def run(self, part: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start a part as the Procfile says; its output goes to a file of the stand."""
        with (self.home / f"{part}.log").open("ab") as log:
            return self.run_into(log, part, **settings)

    def run_into(
        self, output: int | IO[bytes], part: str, **settings: str
    ) -> subprocess.Popen[bytes]:
        command = read_procfile(self.root / "Procfile")[part]
        process = spawn(
            ["/bin/sh", "-c", f"exec {command}"],
            cwd=self.root,
            env=self.environment | settings,
            stdout=output,
            stderr=output,
        )
        self._running.append(process)
        return process

    def web_processes(self) -> list[psutil.Process]:
        """Those that answer, of the web that was started last."""
        command = read_procfile(self.root / "Procfile")["web"]
        found = [
            psutil.Process(process.pid)
            for process in self._running
            if command in " ".join(process.args)  # type: ignore[arg-type]
        ]
        return found[-1].children()

    def end(self, process: subprocess.Popen[bytes], how: signal.Signals) -> None:
        if process.poll() is None:
            process.send_signal(how)
            process.wait(timeout=60)
        if process in self._running:
            self._running.remove(process)

    def is_ready(self, *, workers: int = 1, beats: int = 1) -> bool:
        try:
            found = self.api.get(f"{self.url}/readyz", timeout=5).json()
        except (requests.ConnectionError, requests.ReadTimeout):
            # On a busy machine the first answer may take its time.
            return False
        return (
            found["workers"]["alive"] >= workers
            and found["beats"]["alive"] >= beats
            and found["broker"] == "ok"
        )

    def create(self, **task: Any) -> str:
        answer = self.api.post(f"{self.url}/tasks/", json=task, timeout=10)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.postgres.url) as connection:
            return connection.execute(statement, values).fetchall()

    def unfinished(self) -> int:
        waiting = "SELECT count(*) FROM tasks_api_run WHERE finished_at IS NULL"
        return int(self.query(waiting)[0][0])

    def forget_tasks(self) -> None:
        """Back to an empty service; the processes may go on."""
        with psycopg.connect(self.postgres.url) as connection:
            connection.execute(
                "TRUNCATE tasks_api_task, tasks_api_tasktally, tasks_api_tasktag CASCADE"
            )
        self.flush_redis()

    def flush_redis(self) -> None:
        with redis.Redis.from_url(redis_client_url(self.redis.url)) as client:
            client.flushall()

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.home.glob("*.log")))
