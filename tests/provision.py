"""A pytest plugin that starts an own PostgreSQL and Redis, when no URL is given.

Loaded with `-p`, so that the environment is complete before the settings are read. The
servers live as long as the run and listen on nothing but private sockets.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from scheduler_service.embedded import Postgres, Redis, Server

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


def _start(server: Server) -> None:
    process = server.start()
    atexit.register(_stop, process, server.stop_signal)
    server.wait_until_ready(process)


def _stop(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    process.send_signal(how)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()


def _provision() -> None:
    # A short path: a socket's may have a hundred characters only.
    home = Path(tempfile.mkdtemp(prefix="scheduler-tests-"))
    home.chmod(0o711)
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["SCHEDULER_STATE_DIR"] = str(home)
    if not os.environ.get("DATABASE_URL"):
        postgres = Postgres(home, durable=False)
        _start(postgres)
        os.environ["DATABASE_URL"] = postgres.url
    if not os.environ.get("REDIS_URL"):
        redis = Redis(home, durable=False)
        _start(redis)
        os.environ["REDIS_URL"] = redis.url


def _own_redis_database() -> None:
    """Each parallel process has a Redis database to itself: gw0 the first, and so on."""
    base, _, _ = os.environ["REDIS_URL"].partition("?")
    number = int(WORKER.removeprefix("gw")) + 1
    os.environ["REDIS_URL"] = f"{base}?virtual_host={number}"


if not WORKER:
    os.environ.setdefault("SECRET_KEY", "only for tests, and different from any other")
    os.environ["SCHEDULER_ENV"] = "development"
    _provision()
elif os.environ["REDIS_URL"].startswith("redis+socket:"):
    _own_redis_database()
