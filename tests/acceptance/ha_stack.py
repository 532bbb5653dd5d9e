"""The stack of deploy/ha as a test uses it: started by its script, and broken by force."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
import requests

from deploy.ha.programs import look_for
from deploy.ha.stack import PORT_COUNT
from scheduler_service.process.supervisor import spawn
from tests.acceptance.harness import ROOT, Harness, eventually, free_port

SCRIPT = ROOT / "deploy" / "ha" / "start.sh"
# Seconds for everything to start on a busy machine.
START_TIMEOUT = 400.0
_missing = [name for name in ("patroni", "etcd", "haproxy") if look_for(name) is None]
needs_ha_programs = pytest.mark.skipif(
    bool(_missing), reason=f"`apt install {' '.join(_missing)}` to run this."
)


class HaStack:
    def __init__(self, home: Path, broker: str, environment: Mapping[str, str]) -> None:
        self.home = home
        self.port = _free_port_range()
        self._broker = broker
        self._environment = environment
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._run("--broker", self._broker)
        file = self.home / "stack.json"
        [process] = self._processes
        eventually(
            lambda: process.poll() is not None or self._is_ready(),
            timeout=START_TIMEOUT,
        )
        assert process.poll() is None, self.read_output()
        self.facts: dict[str, Any] = json.loads(file.read_text())
        self.url: str = self.facts["url"]

    def _run(self, *arguments: str) -> None:
        command = [str(SCRIPT), "--home", str(self.home), "--port", str(self.port)]
        with (self.home / "script.out").open("ab") as out:
            process = spawn(
                [*command, *arguments], env=self._environment, stdout=out, stderr=out
            )
        self._processes.append(process)

    def _is_ready(self) -> bool:
        return "The stack is ready." in self.read_output()

    def read_output(self) -> str:
        return (self.home / "script.out").read_text()

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

    def kill_broker_node(self, node: str) -> None:
        os.kill(self.facts["broker"][node]["pid"], signal.SIGKILL)

    def find_redis_master(self) -> str:
        """The name of the Redis to which a Sentinel leads clients."""
        broker = self.facts["broker"]
        ports: dict[str, int] = {name: broker[name]["port"] for name in broker}
        settings = self.facts["settings"]
        password = settings["REDIS_SENTINEL_PASSWORD"]
        with redis.Redis(port=ports["sentinel1"], password=password) as client:
            address: Any = client.sentinel_get_master_addr_by_name(
                settings["REDIS_SENTINEL_MASTER"]
            )
        [name] = [name for name, port in ports.items() if port == int(address[1])]
        return name

    def is_redis_master(self, node: str) -> bool:
        return "sentinel1" in self.facts["broker"] and node == self.find_redis_master()

    def start_node(self, node: str) -> None:
        self._run("--node", node)

    def interrupt(self) -> None:
        """Press Ctrl-C where a node was started again, and then where all was started."""
        started: list[psutil.Process] = []
        for process in reversed(self._processes):
            started += psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            process.wait(timeout=180)
        eventually(lambda: not any(is_running(each.pid) for each in started))

    def stop(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=180)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _free_port_range() -> int:
    while True:
        first = free_port()
        if all(_is_free(first + each) for each in range(PORT_COUNT)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class HaHarness(Harness):
    """Everything is of the stack: servers, both nodes of the service, and HAProxy."""

    def __init__(self, home: Path, broker: str = "redis") -> None:
        super().__init__(home)
        (home / "ha").mkdir(mode=0o711)
        self.stack = HaStack(home / "ha", broker, self.environment)

    def start(self) -> None:
        self.stack.start()
        self.url = self.stack.facts["service"]
        self.api = requests.Session()
        self.api.headers["Authorization"] = f"Bearer {self.stack.facts['token']}"
        eventually(lambda: self.is_ready(workers=2, beats=2))

    def ended_parts(self) -> list[str]:
        """The processes of the service that have ended; nobody starts them again."""
        parts: dict[str, int] = self.stack.facts["parts"]
        return [name for name, pid in parts.items() if not is_running(pid)]

    def read_broker_state(self) -> str:
        """What /readyz says about the broker; empty while nobody answers."""
        try:
            answer = self.api.get(f"{self.url}/readyz", timeout=5).json()
        except requests.RequestException:
            return ""
        return str(answer.get("broker", ""))

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.url) as connection:
            return connection.execute(statement, values).fetchall()

    def stop(self) -> None:
        if hasattr(self, "api"):
            self.api.close()
        self.stack.stop()
