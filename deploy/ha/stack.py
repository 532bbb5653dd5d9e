"""A whole cell on one machine, of which any one process may die: for trying failovers.

Uses the programs of the system, the PostgreSQL of the embedded server, and the same files
as real nodes do. All state is in one directory.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from deploy.ha.postgresql import NODE_NAMES, PostgresNodes, PostgresPorts
from deploy.ha.programs import (
    HERE,
    HOST,
    PROGRAM_PATH,
    ROOT,
    Programs,
    find_program,
    wait_until,
)
from deploy.ha.rabbitmq_nodes import RabbitNodes
from deploy.ha.sentinels import SentinelServers
from deploy.ha.service import Service, ServicePorts
from scheduler_service.local.state_files import LocalSetupError, load_or_create_secret

DEFAULT_PORT = 7500
# Of the broker: epmd, and two for each of three nodes of RabbitMQ. Redis needs fewer.
BROKER_PORT_COUNT = 7
PORT_COUNT = len(PostgresPorts._fields) + len(ServicePorts._fields) + BROKER_PORT_COUNT
BROKERS = ("redis", "rabbitmq")
REDIS_NODES = ("redis1", "redis2", "sentinel1", "sentinel2", "sentinel3")
RABBIT_NODES = ("mq1", "mq2", "mq3")
READY_MESSAGE = "The stack is ready."
ADDRESSES = """
  API              {service}/tasks/  (HAProxy before two webs)
  Token            {token}  (tenant demo, user demo)
  Echo             http://127.0.0.1:{echo}/  (a target; {home}/echo.log shows its requests)
  PostgreSQL       {url}
  through HAProxy  {proxied_url}
  Processes        {home}/stack.json

Kill one of them and see the others go on. Start it again with: start.sh --node pg1
Ctrl-C stops everything.
"""


class Broker(Protocol):
    @property
    def settings(self) -> dict[str, str]: ...
    def start(self) -> None: ...
    def start_node(self, name: str) -> None: ...
    def describe(self) -> dict[str, Any]: ...
    def stop(self) -> None: ...


class Stack:
    def __init__(self, home: Path, first_port: int, broker: str) -> None:
        self.home = home
        self.ports = range(first_port, first_port + PORT_COUNT)
        self.programs = Programs(home)
        numbers = iter(self.ports)
        postgres_ports = PostgresPorts(*islice(numbers, len(PostgresPorts._fields)))
        service_ports = ServicePorts(*islice(numbers, len(ServicePorts._fields)))
        self.postgres = PostgresNodes(self.programs, postgres_ports, self.password)
        self.broker = self._make_broker(broker, list(numbers))
        settings = {"DATABASE_URL": self.postgres.url} | self.broker.settings
        self.service = Service(self.programs, service_ports, settings)

    def _make_broker(self, kind: str, ports: list[int]) -> Broker:
        if kind == "rabbitmq":
            password = self.password("rabbitmq")
            return RabbitNodes(self.programs, ports, password=password)
        return SentinelServers(
            self.programs,
            ports[: len(REDIS_NODES)],
            master="scheduler",
            password=self.password("redis"),
            sentinel_password=self.password("sentinel"),
        )

    def password(self, of: str) -> str:
        return load_or_create_secret(
            self.home / "passwords" / of, lambda: secrets.token_urlsafe(24)
        )

    def start(self) -> None:
        self.postgres.start()
        self.broker.start()
        self._start_haproxy()
        self.service.start()

    def _start_haproxy(self) -> None:
        """One HAProxy, which leads programs to PostgreSQL's leader and clients to web."""
        environment = {
            "PATH": PROGRAM_PATH,
            **self.postgres.proxy_environment(),
            **self.service.proxy_environment(),
        }
        files = [HERE / "haproxy" / name for name in ("haproxy.cfg", "web.cfg")]
        options = [str(word) for file in files for word in ("-f", file)]
        command = [find_program("haproxy"), "-db", *options]
        self.programs.start("haproxy", command, env=environment)
        wait_until(self.postgres.is_proxied, "HAProxy")

    def start_node(self, name: str) -> None:
        if name in NODE_NAMES:
            self.postgres.start_node(name)
        else:
            self.broker.start_node(name)

    def describe(self) -> dict[str, Any]:
        """What another program needs to work with the stack, and to break it."""
        return {
            **self.postgres.describe(),
            **self.service.describe(),
            "broker": self.broker.describe(),
            "settings": self.broker.settings,
        }

    def stop(self) -> None:
        """Stop the service first, and last what it needs until the end."""
        self.service.stop()
        if "haproxy" in self.programs.running:
            self.programs.stop("haproxy")
        self.broker.stop()
        self.postgres.stop()


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


def _check_ports(ports: range) -> None:
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
        facts = stack.describe()
        file = stack.home / "stack.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(facts, indent=2))
        echo = stack.service.ports.echo
        _say(READY_MESSAGE)
        _say(ADDRESSES.format(**facts, echo=echo, home=stack.home))
    _watch(stack.programs.running)


def _broker_of(node: str | None, chosen: str) -> str:
    """The broker that has a node of this name; it is started again without --broker."""
    if node in RABBIT_NODES:
        return "rabbitmq"
    return "redis" if node in REDIS_NODES else chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="start.sh")
    parser.add_argument("--broker", choices=BROKERS, default=BROKERS[0])
    parser.add_argument("--home", type=Path, default=ROOT / "var" / "ha")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, metavar="FIRST")
    parser.add_argument(
        "--node",
        choices=(*NODE_NAMES, *REDIS_NODES, *RABBIT_NODES),
        metavar="NAME",
        help="start only this node again: pg1, redis1, sentinel1, mq1 …",
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop_on_signal)
    home = given.home.resolve()
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    stack = Stack(home, given.port, _broker_of(given.node, given.broker))
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
