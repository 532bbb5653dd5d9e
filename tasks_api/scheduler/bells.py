"""Ring workers shortly before something is due, as many as there is work for."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta

from django.conf import settings

from scheduler_service.db.statements import prepared, with_limit
from tasks_api.messaging import broker
from tasks_api.monitoring.gaps import BrokerGap
from tasks_api.scheduler import statements
from tasks_api.scheduler.poll import PollResult
from tasks_api.taking.room import BATCH_SIZE

# Seconds until a beat rings again for the same moment.
REPEAT_INTERVAL = 1.0


class Bells:
    """A worker that has heard a bell looks, and knows the next moment from then on."""

    def __init__(self) -> None:
        # Workers with a heartbeat. Without any, bells would only fill Redis.
        self.workers = 0
        self._rung_for: datetime | None = None
        self._again_at = 0.0
        self._gap = BrokerGap()

    def ring_for(self, seen: PollResult) -> None:
        ahead = timedelta(seconds=settings.SCHEDULER_LOOK_AHEAD)
        if not self.workers or seen.due_at is None or seen.due_at > seen.now + ahead:
            return
        if seen.due_at == self._rung_for and time.monotonic() < self._again_at:
            return
        self._rung_for = seen.due_at
        self._again_at = time.monotonic() + REPEAT_INTERVAL
        self._gap.note(has_rung=broker.ring(self._count_bells()))

    def _count_bells(self) -> int:
        if self.workers == 1:
            return 1
        limit = BATCH_SIZE * self.workers
        with prepared() as cursor:
            cursor.execute(
                with_limit(statements.COUNT_DUE, limit),
                {"ahead": settings.SCHEDULER_LOOK_AHEAD},
            )
            due = int(cursor.fetchone()[0])
        return min(self.workers, max(1, math.ceil(due / BATCH_SIZE)))
