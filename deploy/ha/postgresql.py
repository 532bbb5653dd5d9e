"""Two PostgreSQL nodes under Patroni, and the etcd that says which one leads."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from deploy.ha.programs import (
    HERE,
    HOST,
    PROGRAM_PATH,
    Programs,
    find_program,
    http_status,
    wait_until,
)
from scheduler_service.local.postgres import Postgres
from scheduler_service.local.state_files import make_private_directory

NODE_NAMES = ("pg1", "pg2")
DATABASE = ROLE = "scheduler"


class PostgresPorts(NamedTuple):
    etcd: int
    etcd_peer: int
    proxy: int
    pg1: int
    pg1_rest: int
    pg2: int
    pg2_rest: int

    def of_node(self, name: str) -> tuple[int, int]:
        return (self.pg1, self.pg1_rest) if name == "pg1" else (self.pg2, self.pg2_rest)


class PostgresNodes:
    def __init__(
        self, programs: Programs, ports: PostgresPorts, password: Callable[[str], str]
    ) -> None:
        self.home = programs.home
        self.ports = ports
        self._programs = programs
        self._password = password
        self._postgres = Postgres(self.home)

    def start(self) -> None:
        self._start_etcd()
        for name in NODE_NAMES:
            self.start_node(name)
            # The second node copies the first one.
            wait_until(partial(self._is_running, name), name)
        wait_until(self._is_replicating_synchronously, "the synchronous standby")
        self._create_database()

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
        self._programs.start("etcd", [find_program("etcd"), *command])
        wait_until(lambda: http_status(self.ports.etcd, "/health") == 200, "etcd")

    def start_node(self, name: str) -> None:
        """Start Patroni, which starts PostgreSQL: as a leader, or as a copy of the leader."""
        owner = self._postgres.user().get("user", os.geteuid())
        node = self.home / name
        for directory in (node, self._postgres.home):
            make_private_directory(directory, owner=owner)
        if os.geteuid() == 0:
            self._postgres.grant_access_to_system_user()
        config = node / "patroni.yml"
        shutil.copyfile(HERE / "patroni" / "patroni.yml", config)
        # Patroni may run as another user.
        config.chmod(0o644)
        self._programs.start(
            name,
            [find_program("patroni"), str(config)],
            env=self._node_environment(name),
            cwd=node,
            **self._postgres.user(),
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
            "RESTAPI_PASSWORD": self._password("restapi"),
            "POSTGRESQL_LISTEN": f"{HOST}:{port}",
            "POSTGRESQL_CONNECT_ADDRESS": f"{HOST}:{port}",
            "POSTGRESQL_DATA_DIR": str(node / "data"),
            "POSTGRESQL_BIN_DIR": str(self._postgres.programs),
            "POSTGRESQL_PGPASS": str(node / "pgpass"),
            "SUPERUSER_USERNAME": "postgres",
            "SUPERUSER_PASSWORD": self._password("postgres"),
            "REPLICATION_USERNAME": "replicator",
            "REPLICATION_PASSWORD": self._password("replicator"),
        }
        environment = {f"PATRONI_{key}": value for key, value in patroni.items()}
        return environment | {
            "PATH": PROGRAM_PATH,
            "HOME": str(node),
            "LC_ALL": "C.UTF-8",
        }

    def _is_running(self, name: str) -> bool:
        return http_status(self.ports.of_node(name)[1], "/health") == HTTPStatus.OK

    def _is_replicating_synchronously(self) -> bool:
        return any(
            http_status(self.ports.of_node(name)[1], "/sync") == HTTPStatus.OK
            for name in NODE_NAMES
        )

    def _create_database(self) -> None:
        with psycopg.connect(
            self._url("postgres", self._password("postgres"), "postgres"),
            autocommit=True,
        ) as connection:
            find_role = "SELECT 1 FROM pg_roles WHERE rolname = %s"
            if connection.execute(find_role, [ROLE]).fetchone():
                return
            name, password = sql.Identifier(ROLE), sql.Literal(self._password(ROLE))
            create_role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            connection.execute(create_role.format(name, password))
            create_database = sql.SQL("CREATE DATABASE {} OWNER {}")
            connection.execute(create_database.format(sql.Identifier(DATABASE), name))

    @property
    def url(self) -> str:
        """Every node, of which the leader takes writes."""
        return self._url(ROLE, self._password(ROLE), DATABASE)

    @property
    def proxied_url(self) -> str:
        password = self._password(ROLE)
        return f"postgresql://{ROLE}:{password}@{HOST}:{self.ports.proxy}/{DATABASE}"

    def _url(self, user: str, password: str, database: str) -> str:
        hosts = ",".join(f"{HOST}:{self.ports.of_node(name)[0]}" for name in NODE_NAMES)
        return (
            f"postgresql://{user}:{password}@{hosts}/{database}"
            "?target_session_attrs=read-write"
        )

    def proxy_environment(self) -> dict[str, str]:
        """The variables of haproxy.cfg."""
        environment = {"HA_LISTEN": f"{HOST}:{self.ports.proxy}"}
        for name in NODE_NAMES:
            port, rest_port = self.ports.of_node(name)
            environment[f"{name.upper()}_ADDRESS"] = f"{HOST}:{port}"
            environment[f"{name.upper()}_REST_PORT"] = str(rest_port)
        return environment

    def is_proxied(self) -> bool:
        try:
            psycopg.connect(self.proxied_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def describe(self) -> dict[str, Any]:
        nodes = {
            name: {
                "rest": f"http://{HOST}:{self.ports.of_node(name)[1]}",
                "patroni": self._programs.running[name].pid,
                "data": str(self.home / name / "data"),
            }
            for name in NODE_NAMES
        }
        return {
            "url": self.url,
            "proxied_url": self.proxied_url,
            "restapi": ["patroni", self._password("restapi")],
            "nodes": nodes,
        }

    def stop(self) -> None:
        """Stop the standby, the leader and then etcd, which they need until the end."""
        for name in reversed(NODE_NAMES):
            if name in self._programs.running:
                self._programs.stop(name)
                self._stop_orphan(self.home / name / "data")
        if "etcd" in self._programs.running:
            self._programs.stop("etcd")

    def _stop_orphan(self, data: Path) -> None:
        """Stop a PostgreSQL whose Patroni was killed."""
        program = str(self._postgres.programs / "pg_ctl")
        command = [program, "-D", str(data), "stop", "-m", "fast"]
        if data.exists():
            subprocess.run(  # noqa: S603 (a program of the wheel)
                command, capture_output=True, cwd="/", **self._postgres.user()
            )
