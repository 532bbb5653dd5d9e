"""The number of requests that a worker may still begin, in all and for each tenant."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from django.conf import settings

from tasks_api.delivery import descriptors
from tasks_api.delivery.request import ClaimedRun
from tasks_api.delivery.shares import places_left
from tasks_api.taking.room import Room

logger = logging.getLogger(__name__)

# Seconds in which nothing begins after the machine lacked memory or a socket.
SHORTAGE_PAUSE = 1.0
# Seconds in which fewer requests are made after that.
RECOVERY_TIME = 60.0


class Capacity:
    """The caller locks."""

    def __init__(self) -> None:
        self.maximum = self._affordable = descriptors.raise_file_limit(
            settings.SCHEDULER_MAX_IN_FLIGHT
        )
        self._in_flight: Counter[int] = Counter()
        self._tenant_limits: Mapping[int, int] = {}
        # By the monotonic clock, after a shortage.
        self.resumes_at = self._recovers_at = 0.0

    def begin(self, runs: Sequence[ClaimedRun]) -> None:
        self._in_flight.update(run.tenant_id for run in runs)

    def end(self, run: ClaimedRun) -> None:
        self._in_flight[run.tenant_id] -= 1

    def total_left(self, held: int) -> int:
        """How many runs more may begin while so many are held.

        An answered run makes room for others before its verdict is written. But while no
        verdicts can be written, at most twice as many runs are held as requests may be made.
        """
        limit: int = self._affordable
        return limit - max(self._in_flight.total(), held - limit)

    def tenant_limit(self, tenant_id: int) -> int:
        """How many requests a tenant may have in flight at this worker."""
        limit: int = self._tenant_limits.get(
            tenant_id, settings.SCHEDULER_MAX_PER_TENANT
        )
        return limit

    def room(self, *, places: int, max_bytes: int) -> Room:
        """The room for one batch of so many places."""
        taken = self._in_flight.total()
        limited = {*self._in_flight, *self._tenant_limits}
        return Room(
            places,
            max_bytes,
            self._places_left(settings.SCHEDULER_MAX_PER_TENANT, 0, taken),
            {
                tenant_id: self._places_left(
                    self.tenant_limit(tenant_id), self._in_flight[tenant_id], taken
                )
                for tenant_id in limited
            },
        )

    def _places_left(self, limit: int, mine: int, taken: int) -> int:
        share = places_left(mine=mine, taken=taken, limit=self.maximum)
        return max(0, min(limit - mine, share))

    def hold_back(self) -> None:
        """Begin nothing for a moment and then fewer, because this machine lacks something."""
        now = time.monotonic()
        if now >= self.resumes_at:
            self._affordable = max(1, self._in_flight.total() * 3 // 4)
            logger.warning(
                "This machine lacks memory or free sockets, so requests wait, and then "
                "%d at a time are made here for a minute.",
                self._affordable,
            )
        self.resumes_at, self._recovers_at = now + SHORTAGE_PAUSE, now + RECOVERY_TIME

    def refresh(self, tenant_limits: Mapping[int, int]) -> None:
        """Take over the tenants' own limits, and end the recovery when its time is over."""
        self._tenant_limits = tenant_limits
        if time.monotonic() >= self._recovers_at:
            self._affordable = self.maximum
        self._in_flight = +self._in_flight
