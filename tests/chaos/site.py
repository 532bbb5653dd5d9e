"""What is broken: every part of the service, and how to kill, freeze and start each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis
import requests

from scheduler_service.embedded import redis_client_url
from scheduler_service.supervisor import spawn
from tests.acceptance.stand import ROOT, Stand, eventually, free_port
from tests.chaos.referee import NOTICES, Arrival, Attempt, Run, Word

BEATS = ("beat-1", "beat-2", "beat-3")
WORKERS = ("worker-1", "worker-2", "worker-3")
PARTS = ("web", *BEATS, *WORKERS)
SERVERS = ("redis", "postgres")
QUEUE = "deliver"


class Site(Stand):
    """A stand whose parts have names, and stay away only while somebody means them to."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, durable=True)
        self.environment |= {"WEB_CONCURRENCY": "2", "SCHEDULER_MIN_FREQUENCY": "4"}
        self.target_port = free_port()
        self.target = f"http://127.0.0.1:{self.target_port}"
        self.environment["SCHEDULER_PUBLIC_URL"] = self.url
        self.target_log = home / "arrivals.log"
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        # Those that a fault has in hand; anybody else who is gone died by himself.
        self.away: set[str] = set()
        # What a part did that none should.
        self.misdeeds: list[str] = []
        # What was replaced, and may still be finishing.
        self.leaving: list[subprocess.Popen[bytes]] = []

    def begin(self) -> None:
        self.start()
        self.parts = {"postgres": self.database, "redis": self.broker}
        where = [str(self.target_port), str(self.target_log)]
        self.player = spawn(
            [sys.executable, "-m", "tests.chaos.target", *where], cwd=ROOT
        )
        for name in PARTS:
            self.launch(name)
        url = f"{self.target}/notice/{NOTICES}"
        self.manage("configure_tenant", "Alpha", "--notification-url", url)
        eventually(self.is_whole, timeout=120)

    def finish(self) -> None:
        """End all that was started, with whatever it started itself."""
        others = [*self.leaving, *([self.player] if hasattr(self, "player") else [])]
        for process in [*others, *(self.parts[name] for name in self.parts)]:
            if process is not self.parts.get("postgres"):
                kill_group(process)
        if "postgres" in self.parts:
            self.end(self.parts["postgres"], self.postgres.stop_signal)

    def is_whole(self) -> bool:
        with suppress(requests.RequestException, ValueError, KeyError):
            return self.is_ready(workers=len(WORKERS), beats=len(BEATS))
        return False

    def launch(self, name: str) -> None:
        """Start a part, as its own supervisor would."""
        if name == "postgres":
            self.parts[name] = self.database = self.postgres.start()
        elif name == "redis":
            self.parts[name] = self.broker = self.redis.start()
        else:
            self.parts[name] = self.run(name.partition("-")[0])
        self.away.discard(name)

    def kill(self, name: str) -> None:
        self.away.add(name)
        kill_group(self.parts[name])

    def ask(self, name: str, how: signal.Signals) -> None:
        """Send a signal that ends a part in its own time."""
        self.away.add(name)
        self.parts[name].send_signal(how)

    def family(self, name: str) -> list[psutil.Process]:
        """A part and what it started, the eldest first."""
        head = psutil.Process(self.parts[name].pid)
        return [head, *head.children(recursive=True)]

    def freeze(self, name: str) -> None:
        self.away.add(name)
        for process in self.family(name):
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self, name: str) -> None:
        with suppress(psutil.NoSuchProcess):
            for process in self.family(name):
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        self.away.discard(name)

    def look_for_dead(self) -> None:
        """Start again who died without being told to."""
        for name, process in list(self.parts.items()):
            if name not in self.away and process.poll() is not None:
                self.complain(f"{name} ended by itself, with {process.returncode}")
                # What is left of its group would hold on to its port.
                kill_group(process)
                self.launch(name)

    def complain(self, what: str) -> None:
        self.misdeeds.append(what)

    def broker_client(self) -> redis.Redis:
        url = redis_client_url(self.redis.url)
        return redis.Redis.from_url(url, socket_timeout=2)

    def cut_database(self) -> None:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                """
            )

    def is_quiet(self) -> bool:
        """Nothing is to come any more, and everything that came is over."""
        # In this order: what is not to come any more may have just become a run.
        return (
            not self.query(
                "SELECT 1 FROM tasks_api_task WHERE next_fire_at IS NOT NULL LIMIT 1"
            )
            and not self.query(
                "SELECT 1 FROM tasks_api_schedulechange WHERE open_from IS NOT NULL"
            )
            and not self.unfinished()
        )

    # What the referee reads.

    def arrivals(self) -> list[Arrival]:
        return [Arrival.of(*row) for row in self._noted() if row[1].startswith("/")]

    def words(self) -> list[Word]:
        return [Word(*row) for row in self._noted() if not row[1].startswith("/")]

    def _noted(self) -> list[list[Any]]:
        lines = self.target_log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def runs(self) -> list[Run]:
        attempts: dict[str, list[Attempt]] = {}
        for run_id, *attempt in self.query(
            """
            SELECT run_id::text, number, extract(epoch FROM started_at)::float
            FROM tasks_api_attempt ORDER BY run_id, number
            """
        ):
            attempts.setdefault(run_id, []).append(Attempt._make(attempt))
        rows = self.query(
            """
            SELECT run.id::text, task.id::text, task.name, task.url,
                (extract(epoch FROM scheduled_for) * 1000)::bigint, state, reason,
                attempt_count, lost_count, extract(epoch FROM started_at)::float,
                extract(epoch FROM finished_at)::float, task.retry <> '',
                task.overlap, coalesce(task.pause_after_failures, 0)
            FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
            ORDER BY scheduled_for
            """
        )
        return [
            Run(
                row[0],
                row[1],
                row[2] or mark_in(row[3]),
                *row[4:12],
                tuple(attempts.get(row[0], ())),
                *row[12:],
            )
            for row in rows
        ]

    def recurring(self) -> list[tuple[str, str, str]]:
        """The tasks that fire on: their ids, names, and the marks in their URLs."""
        rows = self.query(
            """
            SELECT task.id::text, task.name, url FROM tasks_api_task task
            WHERE next_fire_at IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM django_celery_beat_periodictask periodic
                WHERE periodic.id = task.periodic_task_id AND periodic.one_off)
            """
        )
        return [(task_id, name, mark_in(url)) for task_id, name, url in rows]


def mark_in(url: str) -> str:
    """By which a task is told: the last part of its URL, without the version."""
    return url.rpartition("/")[2].partition(".")[0]


def kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
