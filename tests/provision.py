"""A pytest plugin that gives the tests a PostgreSQL and a Redis of their own.

It is loaded before the settings are. The controller starts the servers where no URL is
given; workers of pytest-xdist inherit the URLs and take a Redis database each.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scheduler_service.local.postgres import Postgres
from scheduler_service.local.redis_server import Redis
from scheduler_service.local.server import EmbeddedServer

SECRET_KEY = "only-for-tests-0123456789-0123456789-0123456789-0123456789"

_running: list[tuple[EmbeddedServer, subprocess.Popen[bytes]]] = []
_directories: list[Path] = []


def _begin() -> None:
    directory = Path(tempfile.mkdtemp(prefix="scheduler-tests-"))
    # PostgreSQL may run as another user, who has to get through.
    directory.chmod(0o711)
    _directories.append(directory)
    # Workers of pytest-xdist inherit it, and share what is there.
    os.environ["TEST_RUN_DIR"] = str(directory)
    # Some hundred processes are started, and each would compile all of the source anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("SCHEDULER_STATE_DIR", str(directory))
    os.environ.setdefault("SECRET_KEY", SECRET_KEY)
    atexit.register(_end)
    for variable, server in (("DATABASE_URL", Postgres), ("REDIS_URL", Redis)):
        if not os.environ.get(variable):
            os.environ[variable] = _start(server(directory, durable=False))


def _start(server: Postgres | Redis) -> str:
    process = server.start()
    _running.append((server, process))
    server.wait_until_ready(process)
    return server.url


def _end() -> None:
    while _running:
        server, process = _running.pop()
        process.send_signal(server.stop_signal)
        process.wait(timeout=30)
    while _directories:
        shutil.rmtree(_directories.pop(), ignore_errors=True)


def redis_url_for(url: str, worker: str) -> str:
    """The URL of the database that a worker of pytest-xdist has to itself."""
    database = int(worker.removeprefix("gw")) + 1
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        # Not geturl(), which drops the slashes of an empty host.
        return f"{url.partition('?')[0]}?virtual_host={database}"
    return parts._replace(path=f"/{database}").geturl()


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """More than there are cores, because tests of real processes wait most of the time."""
    return (os.cpu_count() or 1) + 2


def pytest_unconfigure() -> None:
    _end()


worker = os.environ.get("PYTEST_XDIST_WORKER")
if worker is None:
    _begin()
else:
    os.environ["REDIS_URL"] = redis_url_for(os.environ["REDIS_URL"], worker)
