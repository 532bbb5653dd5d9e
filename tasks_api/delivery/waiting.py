"""The runs that a worker was told of and does not hold yet: who is next, and who waits."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from tasks_api.models import moment_of


class Waiting:
    """Runs by their moments; those of tenants that hold as much as they may stand aside.

    So one tenant's flood passes by, and does not stand before the others.
    """

    def __init__(self) -> None:
        self._known: set[UUID] = set()
        self._due: list[tuple[float, UUID]] = []
        self._aside: dict[int, deque[UUID]] = {}
        self._limits: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[UUID]:
        return iter(self._known)

    def add(self, run_ids: Iterable[UUID]) -> None:
        """Take in runs, each once: they are rung for again while they wait."""
        for run_id in run_ids:
            if run_id not in self._known:
                self._known.add(run_id)
                heapq.heappush(self._due, (moment_of(run_id), run_id))

    def first_moment(self) -> float | None:
        """When the first of them is due that does not stand aside."""
        return self._due[0][0] if self._due else None

    def pop(self, *, until: float, most: int) -> list[UUID]:
        """Take out those that are due until a moment, the earliest first."""
        popped: list[UUID] = []
        while self._due and self._due[0][0] <= until and len(popped) < most:
            popped.append(heapq.heappop(self._due)[1])
        self._known.difference_update(popped)
        return popped

    def set_aside(self, run_id: UUID, tenant_id: int, limit: int) -> None:
        """Let a run wait until its tenant holds less than its limit."""
        if run_id not in self._known:
            self._known.add(run_id)
            self._limits[tenant_id] = limit
            self._aside.setdefault(tenant_id, deque()).append(run_id)

    def call_back(self, held: Mapping[int, int]) -> None:
        """Let as many runs of each tenant be tried again as it may hold more."""
        for tenant_id, aside in list(self._aside.items()):
            room = self._limits[tenant_id] - held.get(tenant_id, 0)
            for _ in range(min(room, len(aside))):
                run_id = aside.popleft()
                heapq.heappush(self._due, (moment_of(run_id), run_id))
            if not aside:
                del self._aside[tenant_id]
