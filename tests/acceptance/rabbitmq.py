"""A cluster of RabbitMQ on loopback, by the file of deploy/ha/rabbitmq."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path
from string import Template
from typing import Any

from kombu import Connection

from scheduler_service.process.supervisor import spawn
from tests.acceptance.harness import ROOT, eventually, free_port

TEMPLATE = ROOT / "deploy" / "ha" / "rabbitmq" / "rabbitmq.conf"
# Debian's /usr/sbin/rabbitmq-server wants its own user, and its own directories.
PROGRAMS = Path("/usr/lib/rabbitmq/bin")
USER, PASSWORD = "scheduler", "of-rabbitmq"
# Seconds for three nodes to start on a busy machine.
START_TIMEOUT = 180.0


def is_installed() -> bool:
    return (PROGRAMS / "rabbitmq-server").exists()


class RabbitMQ:
    """Nodes of one cluster, each with its own directories under `home`."""

    def __init__(self, home: Path, *, nodes: int) -> None:
        self.home = home
        self.names = [f"rabbit{number}@localhost" for number in range(1, nodes + 1)]
        self.ports = [free_port() for _ in self.names]
        self._distribution_ports = [free_port() for _ in self.names]
        self._epmd_port = free_port()
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        return ";".join(map(self.url_of, self.ports))

    def url_of(self, port: int) -> str:
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{port}//"

    def start(self) -> None:
        cookie = self.home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        # Erlang would start one for all, which stays when the nodes are gone.
        self._epmd = spawn(["epmd", "-port", str(self._epmd_port)])
        for number in range(len(self.names)):
            self.start_node(number)
        for number in range(len(self.names)):
            self.wait_until_up(number)
        if len(self.names) > 1:
            eventually(self._is_complete, timeout=START_TIMEOUT, every=0.5)

    def start_node(self, number: int) -> None:
        directory = self.home / str(number)
        directory.mkdir(exist_ok=True)
        config = directory / "rabbitmq.conf"
        config.write_text(self._configuration(number))
        (directory / "enabled_plugins").write_text("[].\n")
        with (directory / "out.log").open("ab") as log:
            self._nodes[number] = spawn(
                [PROGRAMS / "rabbitmq-server"],
                env=self._environment(number),
                cwd=directory,
                stdout=log,
                stderr=log,
            )

    def _configuration(self, number: int) -> str:
        values = {
            "RABBITMQ_BIND": "127.0.0.1",
            "RABBITMQ_PORT": str(self.ports[number]),
            "RABBITMQ_USER": USER,
            "RABBITMQ_PASSWORD": PASSWORD,
        } | {f"RABBITMQ_NODE_{n}": name for n, name in enumerate(self.names, start=1)}
        lines = TEMPLATE.read_text().splitlines()
        kept = [line for line in lines if not line.startswith("#")]
        # A cluster of one names no others.
        kept = [line for line in kept if "_NODE_" not in line or _names(line, values)]
        return Template("\n".join(kept) + "\n").substitute(values)

    def _environment(self, number: int) -> dict[str, str]:
        directory = self.home / str(number)
        return os.environ | {
            # The secret of the cluster is here.
            "HOME": str(self.home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Without a shell in between, so that a signal reaches the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": self.names[number],
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

    def wait_until_up(self, number: int) -> None:
        eventually(lambda: self.is_up(number), timeout=START_TIMEOUT, every=0.5)

    def is_up(self, number: int) -> bool:
        assert self._nodes[number].poll() is None, self.read_logs()
        try:
            with Connection(self.url_of(self.ports[number]), connect_timeout=2) as made:
                return bool(made.connect())
        except OSError:
            return False

    def _is_complete(self) -> bool:
        running = self.control("eval", "length(rabbit_nodes:all_running()).")
        return running == str(len(self.names))

    def control(self, *arguments: str) -> str:
        """What rabbitmqctl prints when it asks the first node."""
        done = subprocess.run(
            [PROGRAMS / "rabbitmqctl", "--quiet", "-n", self.names[0], *arguments],
            env=self._environment(0) | {"RABBITMQ_DIST_PORT": ""},
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def count_consumers(self, number: int, queue: str) -> int:
        with Connection(self.url_of(self.ports[number])) as connection:
            channel: Any = connection.default_channel
            return int(channel.queue_declare(queue, passive=True).consumer_count)

    def kill(self, number: int) -> None:
        self._nodes[number].kill()
        self._nodes[number].wait()

    def node(self, number: int) -> subprocess.Popen[bytes]:
        return self._nodes[number]

    def read_logs(self) -> str:
        return "\n".join(path.read_text() for path in self.home.glob("*/out.log"))

    def stop(self) -> None:
        for number in self._nodes:
            self.kill(number)
        self._epmd.kill()
        self._epmd.wait()


def _names(line: str, values: dict[str, str]) -> bool:
    return line.partition("${")[2].rstrip("}") in values
