"""What is broken: every part of the service, and how to kill, freeze and start each."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis
import requests

from scheduler_service.local.urls import PORT
from scheduler_service.process.supervisor import spawn
from scheduler_service.redis.connections import redis_client_url
from tests.acceptance.stand import ROOT, Stand, eventually, free_port
from tests.chaos.clients import DOMAIN
from tests.chaos.evidence import NOTICES, POISON, Arrival, Attempt, Run, Word
from tests.chaos.links import Links
from tests.chaos.pipes import Log
from tests.chaos.replica import Replica
from tests.chaos.target import CLOSING
from tests.name_server import NameServer

BEATS = ("beat-1", "beat-2", "beat-3")
WORKERS = ("worker-1", "worker-2", "worker-3")
PARTS = ("web", *BEATS, *WORKERS)
SERVERS = ("redis", "postgres")
QUEUE = "deliver"
# What a part reads at its start: whose clock it lives by, and whom it asks for names.
INSIDE = ROOT / "tests" / "chaos" / "inside"
# Whose tasks are not meant well.
POISONER = "Poison"
# How many files more than it has a part may open that has too few.
SPARE = 2


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
        self.postgres: Replica = Replica(home, durable=True)
        self.spare = Replica(home / "spare", durable=True)
        self.pipes: dict[str, Log] = {}
        self.clocks = home / "clocks"
        self._fed: dict[int, tuple[int, int]] = {}
        # When those that take a while to prepare struck, by their victims.
        self.struck: dict[tuple[str, ...], float] = {}
        self.names = NameServer()
        self.names.knows_all_of(DOMAIN, "127.0.0.1")

    def begin(self, root: Path = ROOT) -> None:
        self.root = root
        self.start()
        self.parts = {"postgres": self.database, "redis": self.broker}
        where = [str(self.target_port), str(self.target_log)]
        self.player = spawn(
            [sys.executable, "-m", "tests.chaos.target", *where], cwd=ROOT
        )
        self.links = Links(self.home, dict(self._ways()))
        self.clocks.mkdir()
        for name in PARTS:
            self.shift_clock(name, 0)
            self.launch(name)
        url = f"{self.target}/notice/{NOTICES}"
        self.manage("configure_tenant", "Alpha", "--notification-url", url)
        eventually(self.is_whole, timeout=120)

    def _ways(self) -> Iterator[tuple[str, str]]:
        """The link of each part to each server, and where it leads."""
        for name in PARTS:
            yield f"{name}:redis", str(self.redis.socket)
            for server in (self.postgres, self.spare):
                socket = server.socket_dir / f".s.PGSQL.{PORT}"
                yield f"{name}:{server.home.parent.name}", str(socket)

    def _settings(self, name: str) -> dict[str, str]:
        """Of one part: its own way to each server, its clock, and its name server."""
        first, second = (
            f"127.0.0.1:{self.links.ports[f'{name}:{server.home.parent.name}']}"
            for server in (self.postgres, self.spare)
        )
        # The release before knows nothing of several hosts.
        hosts = f"{first},{second}" if self.root == ROOT else first
        return {
            "DATABASE_URL": f"postgresql://postgres@{hosts}/scheduler"
            "?target_session_attrs=read-write",
            "REDIS_URL": f"redis://127.0.0.1:{self.links.ports[f'{name}:redis']}/0",
            "PYTHONPATH": str(INSIDE),
            "CHAOS_CLOCK": str(self.clocks / name),
            **({"CHAOS_NAME_SERVER": self.names.address} if name in WORKERS else {}),
        }

    def finish(self) -> None:
        """End all that was started, with whatever it started itself."""
        others = [self.player] if hasattr(self, "player") else []
        others += [self.links.process] if hasattr(self, "links") else []
        for process in [*self.leaving, *self.parts.values(), *others]:
            if process is not self.parts.get("postgres"):
                kill_group(process)
        if "postgres" in self.parts:
            self.end(self.parts["postgres"], self.postgres.stop_signal)
        self.names.close()

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
            part = name.partition("-")[0]
            self.pipes[name] = log = Log(self.home / f"{part}.log")
            self.parts[name] = self.run_into(log.writer, part, **self._settings(name))
            log.begin()
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

    def starve(self, name: str) -> None:
        """Let a part open next to no file more than it has."""
        for process in self.family(name):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                had = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
                self._fed[process.pid] = had
                few = (process.num_fds() + SPARE, had[1])
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, few)

    def feed(self, name: str) -> None:
        with suppress(psutil.NoSuchProcess):
            for process in self.family(name):
                with suppress(ProcessLookupError):
                    if had := self._fed.pop(process.pid, None):
                        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, had)

    def promote(self, process: subprocess.Popen[bytes]) -> None:
        """The spare server is the primary from now on."""
        self.spare.ask("SELECT pg_promote()")
        self.postgres, self.spare = self.spare, self.postgres
        self.postgres.primary = None
        self.parts["postgres"] = self.database = process
        self.away.discard("postgres")

    def begin_to_migrate(self, *where: str, **settings: str) -> subprocess.Popen[bytes]:
        with (self.home / "migrate.log").open("ab") as log:
            return spawn(
                [sys.executable, "manage.py", "migrate", *where, "--verbosity", "0"],
                cwd=self.root,
                env=self.environment
                | {"DATABASE_URL": self.postgres.url, "PYTHONPATH": str(ROOT)}
                | settings,
                stdout=log,
                stderr=log,
            )

    def shift_clock(self, name: str, seconds: float) -> None:
        """From now on a part's clock is off by so much; the file stays the same one."""
        with open(self.clocks / name, "r+b" if self.has_clock(name) else "wb") as file:
            file.write(struct.pack("=q", round(seconds * 1e9)))

    def has_clock(self, name: str) -> bool:
        return (self.clocks / name).exists()

    def link(self, name: str, server: str, how: str) -> None:
        ends = ("redis",) if server == "redis" else self._databases()
        for end in ends:
            self.links.become(f"{name}:{end}", how)

    def _databases(self) -> tuple[str, ...]:
        return tuple(s.home.parent.name for s in (self.postgres, self.spare))

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

    def poison_interval(self) -> tuple[int, int] | None:
        """Let a poisonous task fire each microsecond; returns it, and its interval."""
        rows = self.query(
            """
            WITH chosen AS (
                SELECT periodic.id, periodic.interval_id
                FROM django_celery_beat_periodictask periodic
                JOIN tasks_api_task task ON task.periodic_task_id = periodic.id
                JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
                WHERE tenant.name = %s AND interval_id IS NOT NULL AND enabled LIMIT 1
            ), short AS (
                INSERT INTO django_celery_beat_intervalschedule (every, period)
                SELECT 1, 'microseconds' FROM chosen RETURNING id
            )
            UPDATE django_celery_beat_periodictask periodic
            SET interval_id = short.id FROM chosen, short
            WHERE periodic.id = chosen.id RETURNING chosen.id, chosen.interval_id
            """,
            POISONER,
        )
        self._announce()
        return rows[0] if rows else None

    def restore_interval(self, before: tuple[int, int] | None) -> None:
        if before is not None:
            periodic_id, interval_id = before
            self.query(
                "UPDATE django_celery_beat_periodictask SET interval_id = %s "
                "WHERE id = %s RETURNING id",
                *(interval_id, periodic_id),
            )
            self._announce()

    def _announce(self) -> None:
        """As django-celery-beat does when its rows are saved."""
        self.query(
            "UPDATE django_celery_beat_periodictasks SET last_update = now() "
            "RETURNING last_update"
        )

    def push(self, *messages: str | bytes) -> None:
        with self.broker_client() as client, suppress(redis.RedisError):
            client.lpush(QUEUE, *messages)

    def close_kept(self, *, on: bool) -> None:
        """Whether the target closes some kept connections when a request arrives."""
        flag = self.target_log.with_name(CLOSING)
        if on:
            flag.touch()
        else:
            flag.unlink(missing_ok=True)

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
        return [
            Arrival.of(*row)
            for row in self._noted()
            if row[1].startswith("/") and not row[1].startswith(f"/{POISON}/")
        ]

    def poison(self) -> dict[str, int]:
        """How many runs each poisonous task has."""
        rows = self.query(
            """
            SELECT task.id::text, run.id IS NOT NULL FROM tasks_api_task task
            JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
            LEFT JOIN tasks_api_run run ON task.id = run.task_id
            WHERE tenant.name = %s
            """,
            POISONER,
        )
        return Counter(task_id for task_id, has_run in rows if has_run)

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
            JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
            WHERE tenant.name <> %s ORDER BY scheduled_for
            """,
            POISONER,
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
            JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
            WHERE tenant.name <> %s AND next_fire_at IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM django_celery_beat_periodictask periodic
                WHERE periodic.id = task.periodic_task_id AND periodic.one_off)
            """,
            POISONER,
        )
        return [(task_id, name, mark_in(url)) for task_id, name, url in rows]


def mark_in(url: str) -> str:
    """By which a task is told: the last part of its URL, without the version."""
    return url.rpartition("/")[2].partition(".")[0]


def kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
