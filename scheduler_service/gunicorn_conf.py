"""How gunicorn serves the API; the numbers come from the environment, as in settings.py."""

from __future__ import annotations

import gc
import os

_host = os.environ.get("HOST") or "127.0.0.1"
_port = os.environ.get("PORT") or "8000"

bind = f"[{_host}]:{_port}" if ":" in _host else f"{_host}:{_port}"
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = int(os.environ.get("WEB_THREADS") or 4)
# Longer than a load balancer keeps an idle connection, so that it is never the one to
# find out that we closed it.
keepalive = 75
timeout = 60
# A queue and an id of 255 characters each, escaped, fit into the largest it takes.
limit_request_line = 8190
# Less than the 45 s that the supervisor and Docker leave us.
graceful_timeout = 30
# Each process opens its own connections; none are inherited.
preload_app = False
accesslog = None
# Nobody manages gunicorn through a socket, so there is none to protect.
control_socket_disable = True
# The heartbeat of a worker must not wait for a busy disk.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (memory, and a private file in it)


def post_worker_init(worker: object) -> None:
    """Keep the garbage collector from what is there for good, and from hurrying.

    What a request makes has no cycles, and is gone when it is answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
