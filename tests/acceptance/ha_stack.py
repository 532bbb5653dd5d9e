"""The stack of deploy/ha as a test uses it: started by its script, and broken by force."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import requests

from scheduler_service.process.supervisor import spawn
from tests.acceptance.harness import ROOT, Harness, eventually, free_port

SCRIPT = ROOT / "deploy" / "ha" / "start.sh"
PORT_COUNT = 7
_missing = [
    name
    for name in ("patroni", "etcd", "haproxy")
    if shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin") is None
]
needs_ha_programs = pytest.mark.skipif(
    bool(_missing), reason=f"`apt install {' '.join(_missing)}` to run this."
)


class HaStack:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = _free_port_range()
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._run()
        file = self.home / "stack.json"
        [process] = self._processes
        eventually(lambda: process.poll() is not None or self._is_ready(), timeout=180)
        assert process.poll() is None, (self.home / "script.out").read_text()
        self.facts: dict[str, Any] = json.loads(file.read_text())
        self.url: str = self.facts["url"]

    def _run(self, *arguments: str) -> None:
        command = [str(SCRIPT), "--home", str(self.home), "--port", str(self.port)]
        with (self.home / "script.out").open("ab") as out:
            process = spawn([*command, *arguments], stdout=out, stderr=out)
        self._processes.append(process)

    def _is_ready(self) -> bool:
        return "The stack is ready." in (self.home / "script.out").read_text()

    def status_of(self, node: str, path: str) -> int:
        """The status of Patroni's answer; 0 if there is none."""
        try:
            url = f"{self.facts['nodes'][node]['rest']}{path}"
            return requests.get(url, timeout=2).status_code
        except requests.RequestException:
            return 0

    def find_leader(self) -> str:
        return eventually(self._find_leader)

    def _find_leader(self) -> str | None:
        nodes: list[str] = list(self.facts["nodes"])
        leading = (each for each in nodes if self.status_of(each, "/primary") == 200)
        return next(leading, None)

    def configure(self, **settings: Any) -> None:
        """Change the configuration that Patroni keeps in etcd."""
        leader = self.facts["nodes"][self.find_leader()]
        answer = requests.patch(
            f"{leader['rest']}/config",
            json=settings,
            auth=tuple(self.facts["restapi"]),
            timeout=10,
        )
        answer.raise_for_status()

    def postmaster(self, node: str) -> psutil.Process:
        file = Path(self.facts["nodes"][node]["data"], "postmaster.pid")
        return psutil.Process(int(file.read_text().partition("\n")[0]))

    def kill_node(self, node: str) -> None:
        """Kill Patroni and PostgreSQL as a power failure does."""
        postmaster = self.postmaster(node)
        processes = [postmaster, *postmaster.children(recursive=True)]
        psutil.Process(self.facts["nodes"][node]["patroni"]).kill()
        for process in processes:
            process.kill()

    def start_node(self, node: str) -> None:
        self._run("--node", node)

    def stop(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


def _free_port_range() -> int:
    while True:
        first = free_port()
        if all(_is_free(first + each) for each in range(PORT_COUNT)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class HaHarness(Harness):
    """The service on the stack; only its Redis is an ordinary one."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.stack = HaStack(home / "ha")
        self.stack.home.mkdir(mode=0o711)

    def start(self) -> None:
        self.stack.start()
        self.environment["DATABASE_URL"] = self.stack.url
        self.start_redis()
        self.api = requests.Session()
        self.api.headers["Authorization"] = f"Bearer {self.migrate()}"
        for part in ("web", "worker", "worker", "beat", "beat"):
            self.start_part(part)
        eventually(lambda: self.is_ready(workers=2, beats=2))

    def running_parts(self) -> Iterator[str]:
        return (part for process, part in self._processes.items() if not process.poll())

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.url) as connection:
            return connection.execute(statement, values).fetchall()

    def stop(self) -> None:
        for process in reversed(list(self._processes)):
            self.stop_process(process, signal.SIGKILL)
        if hasattr(self, "redis_process"):
            self.api.close()
            self.stop_process(self.redis_process, signal.SIGKILL)
        self.stack.stop()
