"""Serve the API and the admin: `python -m scheduler_service.web`, until SIGTERM."""

from __future__ import annotations

import os
import resource
import signal
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.mp import MPServer

from scheduler_service.process.supervisor import tether

try:
    from scheduler_service import settings
except ImproperlyConfigured as error:
    raise SystemExit(str(error)) from error
from scheduler_service.db import schema
from scheduler_service.http.bodies import Bodies
from scheduler_service.http.front import Front
from scheduler_service.process import gc_tuning
from scheduler_service.startup import start
from scheduler_service.wsgi import application
from tasks_api.api import early_responses

# Longer than a load balancer keeps an idle connection, so that it is never the one to
# find out that we closed it. In milliseconds.
KEEP_ALIVE = 75_000
# Seconds; less than the 45 that the supervisor and Docker leave us.
GRACE = 30
# Connections to a process at most, and the files that it needs for other things. One
# that idles costs some kilobytes, and whoever is beyond the number waits.
MOST_CONNECTIONS = 16_384
OTHER_FILES = 256
# Of the largest usual bodies, how many a process keeps.
ROOM = 64
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
    schema.say_what_does_not_fit()
    gc_tuning.few_arenas()
    gc_tuning.settle()
    _Server(
        "scheduler_service.web",
        address=settings.HOST,
        port=settings.PORT,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=KEEP_ALIVE),
        websockets=False,
        workers=settings.WEB_CONCURRENCY,
        backpressure=_connections(),
        respawn_failed_workers=True,
        workers_kill_timeout=GRACE,
        log_dictconfig=settings.LOGGING,
    ).serve(target_loader=partial(_load, os.getpid()), wrap_loader=False)


def _connections() -> int:
    """As many as this process may have files for, which are as many as it can get."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MOST_CONNECTIONS + OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(1, files - OTHER_FILES)


def _load(parent: int) -> Any:
    """The application, in each process that answers.

    It is loaded before they are forked: so they share its memory, and one that takes the
    place of another is there at once. Each opens its own connections.
    """
    # What a fork inherits is its parent's way to stop; here it would do nothing. Nothing
    # is under way yet, so the usual end will do until the server has a way of its own.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Or it would hold the port, and answer on it, when its parent was killed.
    tether(parent)
    bodies = Bodies(
        small=settings.SCHEDULER_MAX_BODY_BYTES,
        room=ROOM * settings.SCHEDULER_MAX_BODY_BYTES,
        patience=settings.SCHEDULER_BODY_TIMEOUT,
    )
    return Front(
        application,
        bodies,
        threads=settings.WEB_THREADS,
        most=early_responses.max_body_bytes,
        refuse=early_responses.render_body_error,
    )


if __name__ == "__main__":
    main()
