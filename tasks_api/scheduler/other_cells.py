"""The part of a beat in a split of its cell: tasks of the other cell do not fire here."""

from __future__ import annotations

import time

from django.conf import settings

from tasks_api.moving import many_tenants

# Seconds; it is a small part of the horizon.
INTERVAL = 5.0


class UrgentTasks:
    """Puts aside what frozen tenants would fire soon, while nobody else does."""

    def __init__(self) -> None:
        self._next_at = 0.0

    def keep_aside(self) -> None:
        if settings.SCHEDULER_CELL and time.monotonic() >= self._next_at:
            many_tenants.keep_urgent_aside()
            self._next_at = time.monotonic() + INTERVAL
