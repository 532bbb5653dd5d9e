"""Nodes of RabbitMQ, with what only a test asks them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from kombu import Connection

from deploy.ha.programs import Programs
from deploy.ha.rabbitmq_nodes import RabbitNodes
from tests.acceptance.harness import free_port


class RabbitMQ(RabbitNodes):
    def __init__(self, home: Path, *, nodes: int) -> None:
        self.programs = Programs(home)
        ports = [free_port() for _ in range(1 + 2 * nodes)]
        super().__init__(self.programs, ports, password="of-rabbitmq")

    def count_consumers(self, name: str, queue: str) -> int:
        with Connection(self.url_of(name)) as connection:
            channel: Any = connection.default_channel
            return int(channel.queue_declare(queue, passive=True).consumer_count)

    def kill(self, name: str) -> None:
        self.programs.kill(name)

    def node(self, name: str) -> subprocess.Popen[bytes]:
        return self.programs.running[name]
