"""Serve the API and the admin: `python -m scheduler_service.web`, until SIGTERM."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from scheduler_service import memory, settings
from scheduler_service.supervisor import tether
from scheduler_service.wsgi import application

# Longer than a load balancer keeps an idle connection, so that it is never the one to
# find out that we closed it. In milliseconds.
KEEP_ALIVE = 75_000
# Seconds; less than the 45 that the supervisor and Docker leave us.
GRACE = 30


def main() -> None:
    memory.settle()
    Granian(
        "scheduler_service.wsgi",
        address=settings.HOST,
        port=settings.PORT,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=KEEP_ALIVE),
        websockets=False,
        workers=settings.WEB_CONCURRENCY,
        blocking_threads=settings.WEB_THREADS,
        # A process that was killed is replaced, once it cannot be a loop that burns.
        respawn_failed_workers=True,
        respawn_interval=1.0,
        workers_kill_timeout=GRACE,
        log_dictconfig=settings.LOGGING,
    ).serve(target_loader=partial(_load, os.getpid()), wrap_loader=False)


def _load(parent: int) -> Any:
    """The WSGI application, in each process that answers.

    It is loaded before they are forked: so they share its memory, and one that takes the
    place of another is there at once. Each opens its own connections.
    """
    # What a fork inherits is its parent's way to stop; here it would do nothing. Nothing
    # is under way yet, so the usual end will do until the server has a way of its own.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Or it would hold the port, and answer on it, when its parent was killed.
    tether(parent)
    return application


if __name__ == "__main__":
    main()
