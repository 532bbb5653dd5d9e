"""Start the threads of a worker, and keep them running after errors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from django.db import Error as DatabaseError
from django.db import connection

from tasks_api.delivery import faults

logger = logging.getLogger(__name__)

# Seconds that a thread waits after a failed statement, before it tries the next one.
RETRY_PAUSE = 1.0


def make_thread(target: Callable[[], None], name: str) -> threading.Thread:
    # A daemon: a worker that Celery gives up on must end, and not wait for its engine.
    return threading.Thread(target=target, name=name, daemon=True)


def recover(action: str, error: Exception) -> None:
    """Log an error, drop the connection, and pause the calling thread."""
    if faults.is_outage(error):
        logger.warning("The database does not %s: %s", action, faults.first_line(error))
    else:
        logger.error("Failed to %s: %s", action, faults.summarize(error))
    with suppress(DatabaseError):
        connection.close()
    time.sleep(RETRY_PAUSE)
