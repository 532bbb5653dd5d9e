"""Two nodes of the service: web, a worker and a beat on each, as the Procfile says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deploy.ha.programs import HOST, ROOT, Programs, http_status, wait_until
from scheduler_service.local.state_files import LocalSetupError, load_or_create_secret
from scheduler_service.process.supervisor import read_procfile

PARTS = ("web", "worker", "beat")
NODE_NUMBERS = (1, 2)
# Of the environment, what would lead past the servers of the stack.
OTHER_SERVERS = (
    "DATABASE_DIRECT_URL",
    "DIRECTORY_URL",
    "CELERY_BROKER_URL",
    "REDIS_SENTINEL_MASTER",
    "REDIS_SENTINEL_PASSWORD",
)


class ServicePorts(NamedTuple):
    proxy: int
    web1: int
    web2: int
    echo: int

    def of_node(self, number: int) -> int:
        return self.web1 if number == 1 else self.web2


class Service:
    def __init__(
        self, programs: Programs, ports: ServicePorts, settings: Mapping[str, str]
    ) -> None:
        self.home = programs.home
        self.ports = ports
        self._programs = programs
        inherited = os.environ.items()
        self._environment = {
            "SCHEDULER_ALLOW_PRIVATE_TARGETS": "1",
            **{name: value for name, value in inherited if name not in OTHER_SERVERS},
            **settings,
            # Both nodes have one secret key, as they must.
            "SCHEDULER_STATE_DIR": str(self.home / "service"),
            "HOST": HOST,
            # HAProxy is the only one.
            "TRUSTED_PROXIES": "1",
            "WEB_CONCURRENCY": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
        }
        self._commands = read_procfile(ROOT / "Procfile")

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports.proxy}"

    def start(self) -> None:
        (self.home / "service").mkdir(mode=0o711, exist_ok=True)
        self._manage("migrate", "--wait", "60", "--verbosity", "0")
        self._start_part("echo", "echo", ECHO_PORT=str(self.ports.echo))
        for number in NODE_NUMBERS:
            for part in PARTS:
                port = str(self.ports.of_node(number))
                self._start_part(f"{part}{number}", part, PORT=port)
        wait_until(self._is_ready, "the service")

    def _start_part(self, name: str, part: str, **settings: str) -> None:
        self._programs.start(
            name,
            ["/bin/sh", "-c", f"exec {self._commands[part]}"],
            cwd=ROOT,
            env=self._environment | settings,
        )

    def _is_ready(self) -> bool:
        """Whether both nodes answer, and HAProxy leads to one."""
        ports = (*map(self.ports.of_node, NODE_NUMBERS), self.ports.proxy)
        return all(http_status(port, "/readyz") == 200 for port in ports)

    def token(self) -> str:
        arguments = ("issue_token", "--tenant", "demo", "--user", "demo")
        path = self.home / "passwords" / "token"
        return load_or_create_secret(path, lambda: self._manage(*arguments))

    def _manage(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 (our own command)
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise LocalSetupError(f"manage.py {arguments[0]} has failed; see above.")
        return done.stdout.strip()

    def proxy_environment(self) -> dict[str, str]:
        """The variables of web.cfg."""
        addresses = {
            f"WEB{number}_ADDRESS": f"{HOST}:{self.ports.of_node(number)}"
            for number in NODE_NUMBERS
        }
        return {"WEB_LISTEN": f"{HOST}:{self.ports.proxy}"} | addresses

    def describe(self) -> dict[str, Any]:
        pids = {
            name: self._programs.running[name].pid
            for name in (f"{part}{n}" for n in NODE_NUMBERS for part in PARTS)
        }
        return {"service": self.url, "token": self.token(), "parts": pids}

    def stop(self) -> None:
        """Stop beats, webs and workers together, and then the target of their requests."""
        names = [f"{part}{number}" for part in PARTS for number in NODE_NUMBERS]
        for group in (names, ["echo"]):
            running = (name for name in group if name in self._programs.running)
            self._programs.stop(*running)
