"""Two PostgreSQL nodes with Patroni, etcd and HAProxy on one machine, for trying failovers.

Uses the programs of the system, the PostgreSQL of the embedded server, and the same files
as real nodes do. All state is in one directory.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from scheduler_service.local.postgres import Postgres
from scheduler_service.local.state_files import (
    LocalSetupError,
    load_or_create_secret,
    make_private_directory,
)
from scheduler_service.process.supervisor import spawn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Debian puts some of these where an ordinary user does not look.
PROGRAM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
REQUIRED_PROGRAMS = ("patroni", "etcd", "haproxy")
NODE_NAMES = ("pg1", "pg2")
HOST = "127.0.0.1"
DEFAULT_PORT = 7500
DATABASE = ROLE = "scheduler"
START_TIMEOUT = 90.0
STOP_TIMEOUT = 30.0
READY_MESSAGE = "The stack is ready."
HELP = """
Kill a node and see the other one take over; start it again with: start.sh --node pg1
"""


class Ports(NamedTuple):
    """The ports of the stack, one after the other from the first one."""

    etcd: int
    etcd_peer: int
    haproxy: int
    pg1: int
    pg1_rest: int
    pg2: int
    pg2_rest: int

    @classmethod
    def starting_at(cls, first: int) -> Ports:
        return cls(*range(first, first + len(cls._fields)))

    def of_node(self, name: str) -> tuple[int, int]:
        return (self.pg1, self.pg1_rest) if name == "pg1" else (self.pg2, self.pg2_rest)


class Stack:
    def __init__(self, home: Path, first_port: int) -> None:
        self.home = home
        self.ports = Ports.starting_at(first_port)
        self.postgres = Postgres(home)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self._start_etcd()
        for name in NODE_NAMES:
            self.start_node(name)
            # The second node copies the first one.
            _wait_until(partial(self._is_running, name), name)
        _wait_until(self._is_replicating_synchronously, "the synchronous standby")
        self._create_database()
        self._start_haproxy()

    def _start_etcd(self) -> None:
        client = f"http://{HOST}:{self.ports.etcd}"
        peer = f"http://{HOST}:{self.ports.etcd_peer}"
        options = {
            "name": "etcd1",
            "data-dir": str(self.home / "etcd"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"etcd1={peer}",
        }
        command = [f"--{name}={value}" for name, value in options.items()]
        self._spawn("etcd", [_find_program("etcd"), *command])
        _wait_until(lambda: _http_status(self.ports.etcd, "/health") == 200, "etcd")

    def start_node(self, name: str) -> None:
        """Start Patroni, which starts PostgreSQL: as a leader, or as a copy of the leader."""
        owner = self.postgres.user().get("user", os.geteuid())
        node = self.home / name
        for directory in (node, self.postgres.home):
            make_private_directory(directory, owner=owner)
        if os.geteuid() == 0:
            self.postgres.grant_access_to_system_user()
        config = node / "patroni.yml"
        shutil.copyfile(HERE / "patroni" / "patroni.yml", config)
        # Patroni may run as another user.
        config.chmod(0o644)
        self._spawn(
            name,
            [_find_program("patroni"), str(config)],
            env=self._node_environment(name),
            cwd=node,
            **self.postgres.user(),
        )

    def _node_environment(self, name: str) -> dict[str, str]:
        port, rest_port = self.ports.of_node(name)
        node = self.home / name
        patroni = {
            "NAME": name,
            "ETCD3_HOSTS": f"{HOST}:{self.ports.etcd}",
            "RESTAPI_LISTEN": f"{HOST}:{rest_port}",
            "RESTAPI_CONNECT_ADDRESS": f"{HOST}:{rest_port}",
            "RESTAPI_USERNAME": "patroni",
            "RESTAPI_PASSWORD": self.password("restapi"),
            "POSTGRESQL_LISTEN": f"{HOST}:{port}",
            "POSTGRESQL_CONNECT_ADDRESS": f"{HOST}:{port}",
            "POSTGRESQL_DATA_DIR": str(node / "data"),
            "POSTGRESQL_BIN_DIR": str(self.postgres.programs),
            "POSTGRESQL_PGPASS": str(node / "pgpass"),
            "SUPERUSER_USERNAME": "postgres",
            "SUPERUSER_PASSWORD": self.password("postgres"),
            "REPLICATION_USERNAME": "replicator",
            "REPLICATION_PASSWORD": self.password("replicator"),
        }
        environment = {f"PATRONI_{key}": value for key, value in patroni.items()}
        return environment | {
            "PATH": PROGRAM_PATH,
            "HOME": str(node),
            "LC_ALL": "C.UTF-8",
        }

    def _start_haproxy(self) -> None:
        environment = {
            "PATH": PROGRAM_PATH,
            "HA_LISTEN": f"{HOST}:{self.ports.haproxy}",
        }
        for name in NODE_NAMES:
            port, rest_port = self.ports.of_node(name)
            environment[f"{name.upper()}_ADDRESS"] = f"{HOST}:{port}"
            environment[f"{name.upper()}_REST_PORT"] = str(rest_port)
        config = HERE / "haproxy" / "haproxy.cfg"
        command = [_find_program("haproxy"), "-db", "-f", str(config)]
        self._spawn("haproxy", command, env=environment)
        _wait_until(lambda: _connects(self.proxied_url), "HAProxy")

    def _spawn(self, name: str, command: list[str], **options: Any) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = spawn(command, stdout=log, stderr=log, **options)

    def _is_running(self, name: str) -> bool:
        return _http_status(self.ports.of_node(name)[1], "/health") == HTTPStatus.OK

    def _is_replicating_synchronously(self) -> bool:
        return any(
            _http_status(self.ports.of_node(name)[1], "/sync") == HTTPStatus.OK
            for name in NODE_NAMES
        )

    def _create_database(self) -> None:
        password = self.password(ROLE)
        with psycopg.connect(
            self._url("postgres", self.password("postgres"), "postgres"),
            autocommit=True,
        ) as connection:
            find_role = "SELECT 1 FROM pg_roles WHERE rolname = %s"
            if connection.execute(find_role, [ROLE]).fetchone():
                return
            name = sql.Identifier(ROLE)
            create_role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            connection.execute(create_role.format(name, sql.Literal(password)))
            create_database = sql.SQL("CREATE DATABASE {} OWNER {}")
            connection.execute(create_database.format(sql.Identifier(DATABASE), name))

    def password(self, of: str) -> str:
        return load_or_create_secret(
            self.home / "passwords" / of, lambda: secrets.token_urlsafe(24)
        )

    @property
    def url(self) -> str:
        """Every node, of which the leader takes writes."""
        return self._url(ROLE, self.password(ROLE), DATABASE)

    @property
    def proxied_url(self) -> str:
        password = self.password(ROLE)
        return f"postgresql://{ROLE}:{password}@{HOST}:{self.ports.haproxy}/{DATABASE}"

    def _url(self, user: str, password: str, database: str) -> str:
        hosts = ",".join(f"{HOST}:{self.ports.of_node(name)[0]}" for name in NODE_NAMES)
        return (
            f"postgresql://{user}:{password}@{hosts}/{database}"
            "?target_session_attrs=read-write"
        )

    def describe(self) -> dict[str, Any]:
        """What another program needs to work with the stack, and to break it."""
        nodes = {
            name: {
                "rest": f"http://{HOST}:{self.ports.of_node(name)[1]}",
                "patroni": self.processes[name].pid,
                "data": str(self.home / name / "data"),
            }
            for name in NODE_NAMES
        }
        return {
            "url": self.url,
            "proxied_url": self.proxied_url,
            "restapi": ["patroni", self.password("restapi")],
            "nodes": nodes,
        }

    def stop(self) -> None:
        """Stop the nodes and then what they need; kill what takes too long."""
        for name in reversed(list(self.processes)):
            self._stop_process(name)

    def _stop_process(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
        process.kill()
        process.wait()
        if name in NODE_NAMES:
            self._stop_orphan(self.home / name / "data")

    def _stop_orphan(self, data: Path) -> None:
        """Stop a PostgreSQL whose Patroni was killed."""
        program = str(self.postgres.programs / "pg_ctl")
        command = [program, "-D", str(data), "stop", "-m", "fast"]
        if data.exists():
            subprocess.run(  # noqa: S603 (a program of the wheel)
                command, capture_output=True, cwd="/", **self.postgres.user()
            )


def _find_program(name: str) -> str:
    found = shutil.which(name, path=PROGRAM_PATH)
    if found is None:
        raise LocalSetupError(
            f"{name} is not installed: `apt install {' '.join(REQUIRED_PROGRAMS)}`."
        )
    return found


def _http_status(port: int, path: str) -> int:
    """The status of a GET; 0 if nobody answers."""
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def _connects(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise LocalSetupError(f"{what} did not start; its log says why.")
        time.sleep(0.2)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _watch(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Say which process ends, until SIGTERM or Ctrl-C."""
    ended: set[str] = set()
    while True:
        for name, process in processes.items():
            if process.poll() is not None and name not in ended:
                ended.add(name)
                _say(f"{name} has ended.")
        time.sleep(0.5)


def _stop_on_signal(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _check_ports(ports: Ports) -> None:
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                raise LocalSetupError(
                    f"Port {port} is taken: choose others with --port."
                )


def _run(stack: Stack, node: str | None) -> None:
    if node:
        stack.start_node(node)
        _say(f"{node} starts; its log is {stack.home / f'{node}.log'}.")
    else:
        _check_ports(stack.ports)
        stack.start()
        file = stack.home / "stack.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(stack.describe(), indent=2))
        _say(f"{READY_MESSAGE}\n\n  DATABASE_URL={stack.url}")
        _say(f"\n  through HAProxy: {stack.proxied_url}\n{HELP}")
    _watch(stack.processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="start.sh")
    parser.add_argument("--home", type=Path, default=ROOT / "var" / "ha")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, metavar="FIRST")
    parser.add_argument("--node", choices=NODE_NAMES, help="start only this node again")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop_on_signal)
    stack = Stack(given.home.resolve(), given.port)
    stack.home.mkdir(mode=0o711, parents=True, exist_ok=True)
    try:
        _run(stack, given.node)
    except LocalSetupError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        _say("Stopping.")
    finally:
        stack.stop()


if __name__ == "__main__":
    main()
