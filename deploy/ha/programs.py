"""Programs that run side by side, each with a log, until they are stopped."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from string import Template
from typing import Any

from scheduler_service.local.state_files import LocalSetupError
from scheduler_service.process.supervisor import spawn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HOST = "127.0.0.1"
# Debian puts some of these where an ordinary user does not look.
PROGRAM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
# The package of Debian that has a program.
PACKAGES = {
    "patroni": "patroni",
    "etcd": "etcd-server",
    "haproxy": "haproxy",
    "epmd": "rabbitmq-server",
}
# Seconds for what starts on a busy machine, and for what ends.
START_TIMEOUT = 180.0
STOP_TIMEOUT = 45.0


class Programs:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str | Path], **options: Any
    ) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("ab") as log:
            process = spawn(command, stdout=log, stderr=log, **options)
        self.running[name] = process
        return process

    def stop(self, *names: str) -> None:
        """Stop programs side by side, and kill those that take too long."""
        processes = [self.running.pop(name) for name in names]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.wait()

    def kill(self, *names: str) -> None:
        for name in names:
            process = self.running.pop(name)
            process.kill()
            process.wait()


def look_for(name: str) -> str | None:
    return shutil.which(name, path=PROGRAM_PATH)


def find_program(name: str) -> str:
    found = look_for(name)
    if found is None:
        raise LocalSetupError(
            f"{name} is not installed: `apt install {PACKAGES[name]}`."
        )
    return found


def fill_in(template: Path, file: Path, values: Mapping[str, object]) -> Path:
    """Write a file of this directory with its variables filled in, as envsubst does."""
    file.write_text(Template(template.read_text()).substitute(values))
    return file


def http_status(port: int, path: str) -> int:
    """The status of a GET; 0 if nobody answers."""
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise LocalSetupError(f"{what} did not start; its log says why.")
        time.sleep(0.2)
