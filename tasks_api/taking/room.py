"""How much a worker may take at once: in all, for each tenant, and in bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from tasks_api.delivery.request import ClaimedRun

# Runs in one statement: as many as their bodies are cheap to hold.
BATCH_SIZE = 500
# The limits of statements; less than the last of them is taken exactly.
LIMITS = (BATCH_SIZE, 200, 100, 50, 20, 10)
# More than a batch has, for callers that need not hold the requests in memory.
UNLIMITED_BYTES = 2**62


class Room(NamedTuple):
    # In all.
    places: int = BATCH_SIZE
    bytes: int = UNLIMITED_BYTES
    # For each tenant, and for those that have fewer or more.
    places_each: int = BATCH_SIZE
    places_of: Mapping[int, int] = {}
    # Whether a tenant that is not among these, and has limits, must be asked for first.
    asks_for_limits: bool = False
    # Tenants that have used up their runs of the day.
    over_quota: Collection[int] = ()
    quota_day: date | None = None

    @property
    def limit(self) -> int:
        """Rows that one statement may see, at most as many as there are places.

        PostgreSQL plans a statement anew for each limit, so there are few of them.
        """
        if self.places > BATCH_SIZE:
            return self.places
        return next((few for few in LIMITS if few <= self.places), self.places)

    def places_for(self, tenant_id: int) -> int:
        return self.places_of.get(tenant_id, self.places_each)

    def after(self, runs: Sequence[ClaimedRun]) -> Room:
        """What is left when some runs are taken; a single run may always come."""
        taken = Counter(run.tenant_id for run in runs)
        return self._replace(
            places=max(1, self.places - len(runs)),
            bytes=max(1, self.bytes - sum(map(count_bytes, runs))),
            places_of={
                **self.places_of,
                **{each: self.places_for(each) - taken[each] for each in taken},
            },
        )


def count_bytes(run: ClaimedRun) -> int:
    """What a run takes up in memory, counted as in the statements that take."""
    return sum(map(_count_octets, (run.body, run.request, run.url)))


def _count_octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
