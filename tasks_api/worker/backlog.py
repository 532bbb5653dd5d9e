"""The runs that a worker was told of and does not hold yet: who is next, and who waits."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol
from uuid import UUID

from tasks_api.domain.ids import moment_of, tenant_bits


class Room(Protocol):
    """How many runs more may be begun of the tenants in a lane, after those just begun."""

    def __call__(self, lane: int, mine: int = 0, begun: int = 0) -> int:
        """`begun` of all, and `mine` of these are the lane's own."""


# By their numbers, which begin with their moments: UUIDs compare in Python, and slowly.
_Heap = list[tuple[int, UUID]]


class Waiting:
    """Runs by their moments; those of tenants that have no room stand aside.

    So one tenant's flood passes by, and does not stand before the others.
    """

    def __init__(self) -> None:
        self._known: set[UUID] = set()
        self._due: _Heap = []
        self._aside: dict[int, _Heap] = {}
        self._seen_aside: set[UUID] = set()
        self._told: set[UUID] = set()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[UUID]:
        return iter(self._known)

    def add(self, run_ids: Iterable[UUID]) -> None:
        """Take in runs, each once: they are rung for again while they wait."""
        for run_id in run_ids:
            if run_id not in self._known:
                self._known.add(run_id)
                heapq.heappush(self._due, (run_id.int, run_id))

    def first_moment(self) -> float | None:
        """When the first of them is due that does not stand aside."""
        return moment_of(self._due[0][1]) if self._due else None

    def pop(self, *, until: float, most: int, room: Room) -> list[UUID]:
        """Take out those that are due until a moment, the earliest first.

        Those for which their tenant has no room stand aside, until they are called back.
        """
        popped: list[UUID] = []
        taken: Counter[int] = Counter()
        while self._due and moment_of(self._due[0][1]) <= until and len(popped) < most:
            entry = heapq.heappop(self._due)
            lane = tenant_bits(entry[1])
            if room(lane, taken[lane], len(popped)) > 0:
                taken[lane] += 1
                popped.append(entry[1])
            else:
                heapq.heappush(self._aside.setdefault(lane, []), entry)
        self._known.difference_update(popped)
        return popped

    def call_back(self, room: Room) -> None:
        """Let as many runs of each tenant be tried again as it has room for."""
        for lane, aside in list(self._aside.items()):
            for _ in range(min(room(lane), len(aside))):
                heapq.heappush(self._due, heapq.heappop(aside))
            if not aside:
                del self._aside[lane]

    def aside_for_long(self) -> list[UUID]:
        """Those that stood aside already when this was last asked; each is told once."""
        aside = {run_id for heap in self._aside.values() for _, run_id in heap}
        news = (aside & self._seen_aside) - self._told
        self._seen_aside, self._told = aside, (self._told & aside) | news
        return list(news)
