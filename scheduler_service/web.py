"""Serve the API and the admin: `python -m scheduler_service.web`, until SIGTERM."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.mp import MPServer

from scheduler_service.supervisor import tether

try:
    from scheduler_service import settings
except ImproperlyConfigured as error:
    raise SystemExit(str(error)) from error
from scheduler_service import memory, start
from scheduler_service.wsgi import application

# Longer than a load balancer keeps an idle connection, so that it is never the one to
# find out that we closed it. In milliseconds.
KEEP_ALIVE = 75_000
# Seconds; less than the 45 that the supervisor and Docker leave us.
GRACE = 30
# Seconds between processes that take another's place, so that none that cannot live burns.
PAUSE = 1.0


class _Server(MPServer):
    """Replaces whatever dies, always.

    granian would take two deaths within some seconds for an application that does not
    load, and end, with those of its processes that are well. Ours is loaded before.
    """

    def _respawn_workers(
        self, workers: Any, spawn_target: Any, target_loader: Any, delay: float = 0
    ) -> None:
        super()._respawn_workers(workers, spawn_target, target_loader, PAUSE)
        self.respawned_wrks.clear()


def main() -> None:
    start.check()
    memory.settle()
    _Server(
        "scheduler_service.wsgi",
        address=settings.HOST,
        port=settings.PORT,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=KEEP_ALIVE),
        websockets=False,
        workers=settings.WEB_CONCURRENCY,
        blocking_threads=settings.WEB_THREADS,
        respawn_failed_workers=True,
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
