"""The shared code of the embedded servers: a private directory, a lock and a log."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from scheduler_service.local.state_files import (
    LocalSetupError,
    describe_unusable,
    make_private_directory,
)
from scheduler_service.local.urls import socket_directory
from scheduler_service.process.supervisor import spawn

# Seconds that the server before us may take to leave the directory.
STOP_TIMEOUT = 10.0


class EmbeddedServer(ABC):
    """A server that runs as our child, in the foreground, on a directory of its own."""

    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home = home
        self.durable = durable
        self.socket_dir = socket_directory(home)
        self.log = home / "log"

    @abstractmethod
    def prepare(self) -> None:
        """Prepare the directory for a start. Called while no server runs on it."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_ready(self) -> bool: ...

    def user(self) -> dict[str, Any]:
        """The arguments of Popen that select the user of the process."""
        return {}

    def start(self) -> subprocess.Popen[bytes]:
        try:
            return self._start()
        except OSError as error:
            path = Path(error.filename or self.home)
            raise LocalSetupError(describe_unusable(path, error)) from error

    def _start(self) -> subprocess.Popen[bytes]:
        for directory in {self.home, self.socket_dir}:
            make_private_directory(
                directory, owner=self.user().get("user", os.geteuid())
            )
        lock = self._lock()
        try:
            self.prepare()
            with self.log.open("ab") as log:
                return spawn(
                    self.command(),
                    death_signal=self.stop_signal,
                    cwd=self.home,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock],
                    **self.user(),
                )
        finally:
            os.close(lock)

    def refuse_if_taken(self) -> None:
        """Raise LocalSetupError if a server runs on this directory."""
        if (self.home / "lock").exists():
            os.close(self._lock())

    def _lock(self) -> int:
        """A lock that the server inherits, so that it lasts as long as any part of it.

        A process id in a file would not do: after a crash, and in containers, another
        process soon has it.
        """
        lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + STOP_TIMEOUT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                # The server before us may still be stopping.
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise LocalSetupError(
                        f"{self.title} already runs on {self.home}: stop it, or set "
                        "SCHEDULER_STATE_DIR to another directory."
                    ) from None
                time.sleep(0.1)

    def wait_until_ready(
        self, process: subprocess.Popen[bytes], *, timeout: float = 60.0
    ) -> None:
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise LocalSetupError(self.startup_problem())
            time.sleep(0.05)

    def startup_problem(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return (
            f"{self.title} did not start: {' / '.join(lines[-3:]) or 'no reason given'}"
        )


def find_package(name: str) -> Path | None:
    """The directory of a package, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None
