"""Nodes of one RabbitMQ, by the file of this directory; their queue has a copy on each."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

from kombu import Connection

from deploy.ha.programs import HERE, HOST, Programs, find_program, wait_until
from scheduler_service.local.state_files import LocalSetupError

TEMPLATE = HERE / "rabbitmq" / "rabbitmq.conf"
# Debian's /usr/sbin/rabbitmq-server wants its own user, and its own directories.
PROGRAMS = Path("/usr/lib/rabbitmq/bin")
USER = "scheduler"
EPMD = "epmd"


def is_installed() -> bool:
    return (PROGRAMS / "rabbitmq-server").exists()


class RabbitNodes:
    """The first port is that of epmd; then each node has one for clients and one for nodes."""

    def __init__(
        self, programs: Programs, ports: Sequence[int], *, password: str
    ) -> None:
        self.home = programs.home / "broker"
        self._epmd_port, *rest = ports
        self.ports, self._distribution_ports = rest[::2], rest[1::2]
        numbers = range(1, len(self.ports) + 1)
        self.names = [f"mq{number}" for number in numbers]
        self._erlang_names = [f"rabbit{number}@localhost" for number in numbers]
        self._password = password
        self._programs = programs

    @property
    def url(self) -> str:
        return ";".join(map(self.url_of, self.names))

    def url_of(self, name: str) -> str:
        port = self.ports[self.names.index(name)]
        return f"amqp://{USER}:{self._password}@{HOST}:{port}//"

    @property
    def settings(self) -> dict[str, str]:
        return {"REDIS_URL": "", "CELERY_BROKER_URL": self.url}

    def start(self) -> None:
        if not is_installed():
            raise LocalSetupError(
                "RabbitMQ is not installed: `apt install rabbitmq-server`."
            )
        # No run depends on a message.
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(mode=0o700)
        cookie = self.home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        # Erlang would start one for all, which stays when the nodes are gone.
        epmd = [find_program(EPMD), "-port", str(self._epmd_port)]
        self._programs.start(EPMD, epmd)
        for name in self.names:
            self.start_node(name)
        for name in self.names:
            wait_until(partial(self.is_up, name), name)
        if len(self.names) > 1:
            wait_until(self._is_complete, "the cluster of RabbitMQ")

    def start_node(self, name: str) -> None:
        directory = self.home / name
        directory.mkdir(exist_ok=True)
        number = self.names.index(name)
        (directory / "rabbitmq.conf").write_text(self._configuration(number))
        (directory / "enabled_plugins").write_text("[].\n")
        self._programs.start(
            name,
            [PROGRAMS / "rabbitmq-server"],
            env=self._environment(number),
            cwd=directory,
        )

    def _configuration(self, number: int) -> str:
        values = {
            "RABBITMQ_BIND": HOST,
            "RABBITMQ_PORT": str(self.ports[number]),
            "RABBITMQ_USER": USER,
            "RABBITMQ_PASSWORD": self._password,
        } | {
            f"RABBITMQ_NODE_{n}": name
            for n, name in enumerate(self._erlang_names, start=1)
        }
        lines = TEMPLATE.read_text().splitlines()
        kept = [line for line in lines if not line.startswith("#")]
        # A cluster of one names no others.
        kept = [line for line in kept if "_NODE_" not in line or _names(line, values)]
        return Template("\n".join(kept) + "\n").substitute(values)

    def _environment(self, number: int) -> dict[str, str]:
        directory = self.home / self.names[number]
        return os.environ | {
            # The secret of the cluster is here.
            "HOME": str(self.home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            # Without a shell in between, so that a signal reaches the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": self._erlang_names[number],
            "RABBITMQ_DIST_PORT": str(self._distribution_ports[number]),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "logs"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    def is_up(self, name: str) -> bool:
        if self._programs.running[name].poll() is not None:
            raise LocalSetupError(f"{name} has ended; its log says why.")
        try:
            with Connection(self.url_of(name), connect_timeout=2) as made:
                return bool(made.connect())
        except OSError:
            return False

    def _is_complete(self) -> bool:
        running = self.control("eval", "length(rabbit_nodes:all_running()).")
        return running == str(len(self.names))

    def control(self, *arguments: str) -> str:
        """What rabbitmqctl prints when it asks the first node."""
        node = self._erlang_names[0]
        done = subprocess.run(  # noqa: S603 (a program of Debian's package)
            [PROGRAMS / "rabbitmqctl", "--quiet", "-n", node, *arguments],
            env=self._environment(0) | {"RABBITMQ_DIST_PORT": ""},
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def describe(self) -> dict[str, Any]:
        running = self._programs.running
        return {
            name: {"pid": running[name].pid, "port": port}
            for name, port in zip(self.names, self.ports, strict=True)
        }

    def stop(self) -> None:
        running = self._programs.running
        self._programs.kill(*(name for name in (*self.names, EPMD) if name in running))


def _names(line: str, values: dict[str, str]) -> bool:
    return line.partition("${")[2].rstrip("}") in values
