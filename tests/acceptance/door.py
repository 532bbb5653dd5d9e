"""A real HAProxy with deploy/door/haproxy.cfg, a directory, and cells that say their names."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from django.test import override_settings

from accounts import directory
from scheduler_service.local.postgres import Postgres
from scheduler_service.process.supervisor import spawn
from tests.acceptance.harness import ROOT, eventually, free_port
from tests.receiver import LoopbackServer

HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
NOT_INSTALLED = "HAProxy is not installed."


class NamingHandler(BaseHTTPRequestHandler):
    """Answers each request with the name of the cell."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def __init__(self, cell: str, *args: Any) -> None:
        self.cell = cell
        super().__init__(*args)

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = {"cell": self.cell, "caller": self.headers.get("X-Forwarded-For")}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class NamedServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that a door cuts when it ends."""


class StandInCell(LoopbackServer):
    """Stands in for the web of a cell."""

    def __init__(self, name: str) -> None:
        self.name = name
        server = NamedServer(("127.0.0.1", 0), partial(NamingHandler, name))
        self.address = f"127.0.0.1:{server.server_address[1]}"
        super().__init__(server)


class Door:
    """Its directory, its HAProxy and its follower, each of which can be stopped."""

    def __init__(self, home: Path) -> None:
        home.chmod(0o711)
        self.home = home
        self.postgres = Postgres(home / "directory", durable=False)
        self.folder = home / "door"
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.environment = os.environ | {
            "DIRECTORY_URL": self.postgres.url,
            "DOOR_NAME": "door",
            "DOOR_DIR": str(self.folder),
            "DOOR_SOCKET": str(self.folder / "haproxy.sock"),
            "DOOR_BIND": f"127.0.0.1:{port}",
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_directory(self) -> None:
        self._processes["directory"] = process = self.postgres.start()
        self.postgres.wait_until_ready(process)

    def start(self) -> None:
        self.manage("write_door")
        self.start_haproxy()
        self.start_follower()
        eventually(directory.list_doors)

    def start_haproxy(self) -> None:
        config = ROOT / "deploy" / "door" / "haproxy.cfg"
        files = ["-f", str(config), "-f", str(self.folder / "cells.cfg")]
        self._spawn("haproxy", [str(HAPROXY), *files])
        eventually(self.is_open)

    def start_follower(self) -> None:
        self._spawn("follower", [sys.executable, "manage.py", "follow_directory"])

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self._processes[name] = spawn(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )

    def stop_part(self, name: str) -> None:
        process = self._processes.pop(name)
        # A fast shutdown of PostgreSQL.
        process.send_signal(signal.SIGINT if name == "directory" else signal.SIGTERM)
        process.wait(timeout=60)

    def stop(self) -> None:
        for name in reversed(list(self._processes)):
            self.stop_part(name)

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def is_open(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def ask(self, path: str = "/tasks/", **headers: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", headers=headers, timeout=20)

    def post(self, path: str, **headers: str) -> requests.Response:
        return requests.post(f"{self.url}{path}", headers=headers, timeout=20)

    def settle(self, version: int) -> None:
        """Wait until the door routes by a version of the directory."""
        assert directory.wait_for_doors(version, timeout=20) == []


@contextmanager
def open_door(home: Path, cells: list[StandInCell]) -> Iterator[Door]:
    """A door in front of stand-ins, whose directory this process may ask, too."""
    door = Door(home)
    try:
        with override_settings(DIRECTORY_URL=door.postgres.url):
            door.start_directory()
            for cell in cells:
                directory.put_cell(cell.name, [cell.address], f"{cell.name}.test")
            door.start()
            yield door
    finally:
        door.stop()
