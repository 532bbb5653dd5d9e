"""The number of requests that a worker may still begin, in all and for each tenant."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from django.conf import settings

from accounts.services import DeliveryLimits
from tasks_api.delivery import descriptors
from tasks_api.delivery.request import ClaimedRun
from tasks_api.delivery.shares import places_left
from tasks_api.taking.room import Room

logger = logging.getLogger(__name__)

# Seconds in which nothing begins after the machine lacked memory or a socket.
SHORTAGE_PAUSE = 1.0
# Seconds in which fewer requests are made after that.
RECOVERY_TIME = 60.0
# The tenants whose limits a worker knows, at most, and the seconds after their last run in
# which it forgets them. It asks for those of others when something of theirs is due.
MAX_KNOWN = 2000
FORGET_AFTER = 60.0
NO_LIMITS = DeliveryLimits()


class Capacity:
    """The caller locks."""

    def __init__(self) -> None:
        self.maximum = self._affordable = descriptors.raise_file_limit(
            settings.SCHEDULER_MAX_IN_FLIGHT
        )
        self._in_flight: Counter[int] = Counter()
        # The limits of tenants that have any, and when each tenant last began a run.
        self._limits: dict[int, DeliveryLimits] = {}
        self._used_at: dict[int, float] = {}
        # By the monotonic clock, after a shortage.
        self.resumes_at = self._recovers_at = 0.0

    def begin(self, runs: Sequence[ClaimedRun]) -> None:
        self._in_flight.update(run.tenant_id for run in runs)
        if self._limits:
            tenants = self._limits.keys() & {run.tenant_id for run in runs}
            self._used_at |= dict.fromkeys(tenants, time.monotonic())

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
        own = self._limits.get(tenant_id, NO_LIMITS).max_in_flight
        usual: int = settings.SCHEDULER_MAX_PER_TENANT
        return own or usual

    @property
    def run_quotas(self) -> dict[int, int]:
        """The runs a day of each known tenant that has such a quota."""
        return {
            tenant_id: limits.runs_per_day
            for tenant_id, limits in self._limits.items()
            if limits.runs_per_day is not None
        }

    def learn(self, limits: Mapping[int, DeliveryLimits]) -> None:
        """Know the limits of some tenants from now on."""
        self._limits |= limits
        self._used_at |= dict.fromkeys(limits, time.monotonic())

    def room(self, *, places: int, max_bytes: int) -> Room:
        """The room for one batch of so many places."""
        taken = self._in_flight.total()
        known = {*self._in_flight, *self._limits}
        return Room(
            places,
            max_bytes,
            self._places_left(settings.SCHEDULER_MAX_PER_TENANT, 0, taken),
            {
                tenant_id: self._places_left(
                    self.tenant_limit(tenant_id), self._in_flight[tenant_id], taken
                )
                for tenant_id in known
            },
            asks_for_limits=True,
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

    def list_tenants(self) -> list[int]:
        """The tenants whose limits count here: with runs in flight, or a moment ago."""
        self._in_flight = +self._in_flight
        since = time.monotonic() - FORGET_AFTER
        used = sorted(self._used_at, key=self._used_at.__getitem__)[-MAX_KNOWN:]
        recent = {tenant_id for tenant_id in used if self._used_at[tenant_id] > since}
        return list(recent | self._in_flight.keys())

    def refresh(
        self, asked: Collection[int], limits: Mapping[int, DeliveryLimits]
    ) -> None:
        """Take over the limits of tenants that were asked for, and forget others.

        Also ends the recovery when its time is over.
        """
        began = time.monotonic() - FORGET_AFTER
        kept = {
            tenant_id: known
            for tenant_id, known in self._limits.items()
            # What was learned meanwhile stays.
            if tenant_id not in asked and self._used_at[tenant_id] > began
        }
        self._limits = {**kept, **limits}
        now = time.monotonic()
        self._used_at = {each: self._used_at.get(each, now) for each in self._limits}
        if now >= self._recovers_at:
            self._affordable = self.maximum
