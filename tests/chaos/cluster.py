"""Starts, stops, freezes and cuts off every part of the service, one by one."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import redis
import requests

from scheduler_service.local.urls import PORT
from scheduler_service.process.supervisor import spawn
from scheduler_service.redis.connections import redis_client_url
from tests.acceptance.harness import ROOT, Harness, eventually, free_port
from tests.acceptance.replica import Replica
from tests.broker_messages import QUEUE
from tests.chaos.evidence import NOTICES, WAITS_FOR_BOUNDS
from tests.chaos.fleets import USUAL_FLEET, Fleet, kind_of
from tests.chaos.log_pipes import LogPipe
from tests.chaos.proxies import PartProxies
from tests.chaos.scripted_target import CLOSING_FLAG
from tests.chaos.workloads import DOMAIN
from tests.name_server import NameServer

BEATS, WORKERS, PARTS = USUAL_FLEET.beats, USUAL_FLEET.workers, USUAL_FLEET.parts
SERVERS = ("redis", "postgres")
# Python imports the module in it when a part starts: its clock, and its name server.
INJECTED_PATH = ROOT / "tests" / "chaos" / "injected"
# The tenant of the clients, and one that has a quota of runs a day.
TENANT, QUOTA_TENANT = "Alpha", "Counted"
# The tenant that stores harmful tasks.
HOSTILE_TENANT = "Poison"
# A part that lacks files may open so many more than it has.
SPARE_FILES = 2

_CUT_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# Lets a task of the hostile tenant fire each microsecond.
_POISON_INTERVAL = """
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
"""
_RESTORE_INTERVAL = """
    UPDATE django_celery_beat_periodictask SET interval_id = %s WHERE id = %s
    RETURNING id
"""
_MAKE_ADMINISTRATOR = """
    UPDATE accounts_user SET role = 'admin' FROM accounts_tenant tenant
    WHERE tenant.id = accounts_user.tenant_id AND tenant.name = %s
    RETURNING accounts_user.id
"""
_SET_QUOTA = """
    UPDATE accounts_tenant SET max_runs_per_day = %s WHERE name = %s RETURNING id
"""
# As django-celery-beat does when its rows are saved.
_ANNOUNCE_CHANGE = """
    UPDATE django_celery_beat_periodictasks SET last_update = now()
    RETURNING last_update
"""
_TASK_TO_FIRE = "SELECT 1 FROM tasks_api_task WHERE next_fire_at IS NOT NULL LIMIT 1"
_UNFINISHED_RUN = """
    SELECT 1 FROM tasks_api_run WHERE finished_at IS NULL AND reason NOT LIKE %s LIMIT 1
"""
_OPEN_CHANGE = "SELECT 1 FROM tasks_api_schedulechange WHERE open_from IS NOT NULL"


class Cluster(Harness):
    """A harness whose parts have names, and are only down while a fault holds them."""

    def __init__(
        self, home: Path, fleet: Fleet = USUAL_FLEET, older_code: Path = ROOT
    ) -> None:
        super().__init__(home, durable=True)
        self.fleet = fleet
        # What the older parts of the fleet run.
        self.older_code = older_code
        self.environment |= {"WEB_CONCURRENCY": "2", "SCHEDULER_MIN_FREQUENCY": "4"}
        self.web_ports = {name: free_port() for name in fleet.webs}
        self.web_ports["web"] = self.port
        self.target_port = free_port()
        self.target_url = f"http://127.0.0.1:{self.target_port}"
        self.target_log = home / "arrivals.log"
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        self.older_pids: set[int] = set()
        # The parts that a fault holds; any other part that is down ended by itself.
        self.held_parts: set[str] = set()
        self.part_failures: list[str] = []
        # Processes that were replaced, and may still be finishing.
        self.retiring: list[subprocess.Popen[bytes]] = []
        self.postgres: Replica = Replica(home, durable=True)
        self.spare = Replica(home / "spare", durable=True)
        self.log_pipes: dict[str, LogPipe] = {}
        self.clocks = home / "clocks"
        self._file_limits: dict[int, tuple[int, int]] = {}
        # When the faults that need preparation took effect, by their victims.
        self.struck_at: dict[tuple[str, ...], float] = {}
        self.name_server = NameServer()
        self.name_server.knows_all_of(DOMAIN, "127.0.0.1")

    def start_all(self, code_root: Path = ROOT) -> None:
        self.code_root = code_root
        self.start()
        self.parts = {"postgres": self.postgres_process, "redis": self.redis_process}
        arguments = [str(self.target_port), str(self.target_log)]
        self.target_process = spawn(
            [sys.executable, "-m", "tests.chaos.scripted_target", *arguments], cwd=ROOT
        )
        self.proxies = PartProxies(self.home, dict(self._routes()))
        self.clocks.mkdir()
        for name in self.fleet.parts:
            self.shift_clock(name, 0)
            self.launch(name)
        url = f"{self.target_url}/notice/{NOTICES}"
        self.manage("configure_tenant", TENANT, "--notification-url", url)
        eventually(self.is_whole, timeout=120)

    def _routes(self) -> Iterator[tuple[str, str]]:
        """The proxy of each part for each server, and the socket behind it."""
        for name in self.fleet.parts:
            yield f"{name}:redis", str(self.redis.socket)
            for server in (self.postgres, self.spare):
                socket = server.socket_dir / f".s.PGSQL.{PORT}"
                yield f"{name}:{_server_name(server)}", str(socket)

    def _part_settings(self, name: str) -> dict[str, str]:
        """The proxies, the clock and the name server of one part."""
        ports = self.proxies.ports
        first, second = (
            f"127.0.0.1:{ports[f'{name}:{_server_name(server)}']}"
            for server in (self.postgres, self.spare)
        )
        settings = {
            "DATABASE_URL": f"postgresql://postgres@{first},{second}/scheduler"
            "?target_session_attrs=read-write",
            "REDIS_URL": f"redis://127.0.0.1:{ports[f'{name}:redis']}/0",
            "PYTHONPATH": str(INJECTED_PATH),
            "CHAOS_CLOCK": str(self.clocks / name),
            "SCHEDULER_PUBLIC_URL": self._reported_to(name),
        }
        if name in self.fleet.workers:
            settings["CHAOS_NAME_SERVER"] = self.name_server.address
        if name in self.web_ports:
            settings["PORT"] = str(self.web_ports[name])
        return settings

    def _reported_to(self, name: str) -> str:
        """Where targets report on long work of a worker: to the other release, if there is one."""
        older = self.fleet.older
        others = [web for web in self.fleet.webs if (web in older) != (name in older)]
        return self.web_url((others or self.fleet.webs)[0])

    def web_url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.web_ports[name]}"

    def stop_all(self) -> None:
        """End every process that was started, with its children."""
        others = [self.target_process] if hasattr(self, "target_process") else []
        others += [self.proxies.process] if hasattr(self, "proxies") else []
        for process in [*self.retiring, *self.parts.values(), *others]:
            if process is not self.parts.get("postgres"):
                kill_group(process)
        if "postgres" in self.parts:
            self.stop_process(self.parts["postgres"], self.postgres.stop_signal)
        self.name_server.close()

    def is_whole(self) -> bool:
        fleet = self.fleet
        with suppress(requests.RequestException, ValueError, KeyError):
            return self.is_ready(
                workers=len(fleet.workers), beats=len(fleet.beats)
            ) and all(
                requests.get(f"{self.web_url(web)}/readyz", timeout=5).ok
                for web in fleet.webs[1:]
            )
        return False

    def is_drained(self) -> bool:
        """Whether nothing will fire any more, and every run is over."""
        # In this order: what does not fire any more may have just become a run.
        return (
            not self.query(_TASK_TO_FIRE)
            and not self.query(_OPEN_CHANGE)
            and not self.query(_UNFINISHED_RUN, f"{WAITS_FOR_BOUNDS}%")
        )

    def launch(self, name: str) -> None:
        """Start a part, as its own supervisor would."""
        if name == "postgres":
            self.parts[name] = self.postgres_process = self.postgres.start()
        elif name == "redis":
            self.parts[name] = self.redis_process = self.redis.start()
        else:
            self._launch_part(name)
        self.held_parts.discard(name)

    def _launch_part(self, name: str) -> None:
        is_older = name in self.fleet.older
        mark = "-before" if is_older else ""
        log = LogPipe(self.home / f"{kind_of(name)}{mark}.log")
        self.log_pipes[name] = log
        self.parts[name] = process = self.start_part_into(
            log.writer,
            kind_of(name),
            code=self.older_code if is_older else self.code_root,
            **self._part_settings(name),
        )
        log.start_reading()
        if is_older:
            self.older_pids.add(process.pid)

    def kill(self, name: str) -> None:
        self.held_parts.add(name)
        kill_group(self.parts[name])

    def send_stop_signal(self, name: str, stop_signal: signal.Signals) -> None:
        """Tell a part to end, which takes its own time."""
        self.held_parts.add(name)
        self.parts[name].send_signal(stop_signal)

    def process_tree(self, name: str) -> list[psutil.Process]:
        """The process of a part and its children, the eldest first."""
        root = psutil.Process(self.parts[name].pid)
        return [root, *root.children(recursive=True)]

    def freeze(self, name: str) -> None:
        self.held_parts.add(name)
        for process in self.process_tree(name):
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self, name: str) -> None:
        with suppress(psutil.NoSuchProcess):
            for process in self.process_tree(name):
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        self.held_parts.discard(name)

    def limit_files(self, name: str) -> None:
        """Let a part open hardly more files than it has."""
        for process in self.process_tree(name):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
                self._file_limits[process.pid] = limits
                few = (process.num_fds() + SPARE_FILES, limits[1])
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, few)

    def restore_files(self, name: str) -> None:
        with suppress(psutil.NoSuchProcess):
            for process in self.process_tree(name):
                with suppress(ProcessLookupError):
                    if limits := self._file_limits.pop(process.pid, None):
                        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)

    def promote_spare(self, process: subprocess.Popen[bytes]) -> None:
        """Make the spare server, which is this process, the primary."""
        self.spare.execute("SELECT pg_promote()")
        self.postgres, self.spare = self.spare, self.postgres
        self.postgres.primary = None
        self.parts["postgres"] = self.postgres_process = process
        self.held_parts.discard("postgres")

    def start_migration(
        self, *arguments: str, **settings: str
    ) -> subprocess.Popen[bytes]:
        own = {"DATABASE_URL": self.postgres.url, "PYTHONPATH": str(ROOT)}
        with (self.home / "migrate.log").open("ab") as log:
            return spawn(
                [sys.executable, "manage.py", "migrate", *arguments, "--verbosity=0"],
                cwd=self.code_root,
                env=self.environment | own | settings,
                stdout=log,
                stderr=log,
            )

    def shift_clock(self, name: str, seconds: float) -> None:
        """Set by how much a part's clock is off; the file stays the same one."""
        path = self.clocks / name
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(struct.pack("=q", round(seconds * 1e9)))

    def set_proxy_state(self, name: str, server: str, state: str) -> None:
        """Set the state of a part's proxies for a server."""
        databases = [_server_name(each) for each in (self.postgres, self.spare)]
        for end in ["redis"] if server == "redis" else databases:
            self.proxies.set_state(f"{name}:{end}", state)

    def restart_dead_parts(self) -> None:
        """Start every part again that ended by itself."""
        for name, process in list(self.parts.items()):
            if name not in self.held_parts and process.poll() is not None:
                code = process.returncode
                self.report_failure(f"{name} ended by itself, with {code}")
                # The rest of its group would hold on to its port.
                kill_group(process)
                self.launch(name)

    def report_failure(self, failure: str) -> None:
        self.part_failures.append(failure)

    def broker_client(self) -> redis.Redis:
        url = redis_client_url(self.redis.url)
        return redis.Redis.from_url(url, socket_timeout=2)

    def push_messages(self, *messages: str | bytes) -> None:
        with self.broker_client() as client, suppress(redis.RedisError):
            client.lpush(QUEUE, *messages)

    def cut_database_sessions(self) -> None:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(_CUT_SESSIONS)

    def make_administrator(self) -> None:
        """Let the user of the clients change lanes and calendars."""
        self.query(_MAKE_ADMINISTRATOR, TENANT)

    def issue_bounded_token(self, runs_per_day: int) -> str:
        """A token for the target alone, which starts only so many requests a day."""
        host = self.target_url.removeprefix("http://")
        bounds = {"hosts": [host], "runs_per_day": runs_per_day}
        body = {"name": "bounded", "scope": "write", "bounds": bounds}
        answer = self.api.post(f"{self.url}/tokens/", json=body, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["token"])

    def issue_counted_token(self, runs_per_day: int) -> str:
        """A token of the tenant with a quota of so many runs a day."""
        user = ("--tenant", QUOTA_TENANT, "--user", "cora")
        token = self.manage("issue_token", *user)
        self.query(_SET_QUOTA, runs_per_day, QUOTA_TENANT)
        return token

    def poison_interval(self) -> tuple[int, int] | None:
        """Shorten the interval of a hostile task; returns the ids of both."""
        rows = self.query(_POISON_INTERVAL, HOSTILE_TENANT)
        self.query(_ANNOUNCE_CHANGE)
        return rows[0] if rows else None

    def restore_interval(self, ids: tuple[int, int] | None) -> None:
        if ids is not None:
            periodic_id, interval_id = ids
            self.query(_RESTORE_INTERVAL, interval_id, periodic_id)
            self.query(_ANNOUNCE_CHANGE)

    def set_closing(self, *, on: bool) -> None:
        """Let the target close some kept connections when a request arrives, or not."""
        flag = self.target_log.with_name(CLOSING_FLAG)
        if on:
            flag.touch()
        else:
            flag.unlink(missing_ok=True)


def _server_name(server: Replica) -> str:
    return server.home.parent.name


def kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
