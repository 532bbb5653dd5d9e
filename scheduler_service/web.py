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

from scheduler_service.compat.granian_workers import RespawningServer
from scheduler_service.process.supervisor import set_parent_death_signal

try:
    from scheduler_service import settings
except ImproperlyConfigured as error:
    raise SystemExit(str(error)) from error
from scheduler_service.db import schema
from scheduler_service.http.asgi import BufferedApplication
from scheduler_service.http.bodies import BodyReader
from scheduler_service.process import gc_tuning
from scheduler_service.startup import start
from scheduler_service.wsgi import application
from tasks_api.api import early_responses

# Milliseconds that an idle connection is kept: longer than load balancers keep theirs, so
# that none of them sends a request into a connection that we have closed.
KEEP_ALIVE_MS = 75_000
# Seconds for requests under way; less than the 45 of the supervisor and of Docker.
STOP_TIMEOUT = 30
# Connections to a process, and the files that it needs for other things. An idle
# connection costs some kilobytes; clients beyond the number wait.
MAX_CONNECTIONS = 16_384
OTHER_FILES = 256
# Bodies of the usual maximum size for which a process has room at a time.
MAX_KEPT_BODIES = 64


def main() -> None:
    start.check_or_exit()
    schema.log_schema_problem()
    gc_tuning.limit_arenas()
    gc_tuning.freeze_startup_objects()
    RespawningServer(
        "scheduler_service.web",
        address=settings.HOST,
        port=settings.PORT,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=KEEP_ALIVE_MS),
        websockets=False,
        workers=settings.WEB_CONCURRENCY,
        backpressure=_raise_file_limit(),
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_TIMEOUT,
        log_dictconfig=settings.LOGGING,
    ).serve(target_loader=partial(_load_application, os.getpid()), wrap_loader=False)


def _raise_file_limit() -> int:
    """Raise the limit on open files as far as allowed; returns the connections it is for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_CONNECTIONS + OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(1, files - OTHER_FILES)


def _load_application(parent: int) -> Any:
    """The application, in each process that answers requests.

    Its modules are loaded before the processes are forked: they share memory, and a
    replacement is there at once. Each process opens its own connections.
    """
    # The handler inherited from the parent does nothing here. Until the server has set
    # its own, no request is under way, so the default will do.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # When its parent was killed, it would otherwise keep the port and answer on it.
    set_parent_death_signal(parent)
    bodies = BodyReader(
        small=settings.SCHEDULER_MAX_BODY_BYTES,
        capacity=MAX_KEPT_BODIES * settings.SCHEDULER_MAX_BODY_BYTES,
        timeout=settings.SCHEDULER_BODY_TIMEOUT,
    )
    return BufferedApplication(
        application,
        bodies,
        threads=settings.WEB_THREADS,
        max_body_bytes=early_responses.max_body_bytes,
        render_refusal=early_responses.render_body_error,
    )


if __name__ == "__main__":
    main()
