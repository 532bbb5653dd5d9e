"""The runs that a worker has not claimed yet: which is next, and which are blocked."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol
from uuid import UUID

from tasks_api.domain.ids import moment_of, tenant_bits


class PlacesLeft(Protocol):
    """How many runs more of a tenant may begin, after those that have just begun."""

    def __call__(self, lane: int, mine: int = 0, begun: int = 0) -> int:
        """`begun` runs have just begun, and `mine` of them are this tenant's."""


# By their numbers, which begin with their moments: UUIDs compare in Python, and slowly.
_Heap = list[tuple[int, UUID]]


class Backlog:
    """Runs in the order of their moments, those of tenants without a place set aside.

    So one tenant's flood does not stand before the runs of others.
    """

    def __init__(self) -> None:
        self._known: set[UUID] = set()
        self._due: _Heap = []
        self._blocked: dict[int, _Heap] = {}
        self._seen_blocked: set[UUID] = set()
        self._reported: set[UUID] = set()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[UUID]:
        return iter(self._known)

    def add(self, run_ids: Iterable[UUID]) -> None:
        """Add runs, each once: workers are told of them again while they wait."""
        for run_id in run_ids:
            if run_id not in self._known:
                self._known.add(run_id)
                heapq.heappush(self._due, (run_id.int, run_id))

    def first_due_at(self) -> float | None:
        """When the first run is due that is not blocked."""
        return moment_of(self._due[0][1]) if self._due else None

    def pop(self, *, until: float, limit: int, places_left: PlacesLeft) -> list[UUID]:
        """Take out runs that are due until a moment, the earliest first.

        Runs whose tenant has no place left are blocked until `unblock` lets them in again.
        """
        popped: list[UUID] = []
        mine: Counter[int] = Counter()
        while self._due and moment_of(self._due[0][1]) <= until and len(popped) < limit:
            entry = heapq.heappop(self._due)
            lane = tenant_bits(entry[1])
            if places_left(lane, mine[lane], len(popped)) > 0:
                mine[lane] += 1
                popped.append(entry[1])
            else:
                heapq.heappush(self._blocked.setdefault(lane, []), entry)
        self._known.difference_update(popped)
        return popped

    def unblock(self, places_left: PlacesLeft) -> None:
        """Let as many blocked runs of each tenant in again as it has places left."""
        for lane, blocked in list(self._blocked.items()):
            for _ in range(min(places_left(lane), len(blocked))):
                heapq.heappush(self._due, heapq.heappop(blocked))
            if not blocked:
                del self._blocked[lane]

    def pop_blocked_for_long(self) -> list[UUID]:
        """The runs that were blocked at the previous call, too. Each is returned once."""
        blocked = {run_id for heap in self._blocked.values() for _, run_id in heap}
        news = (blocked & self._seen_blocked) - self._reported
        self._seen_blocked, self._reported = blocked, (self._reported & blocked) | news
        return list(news)
