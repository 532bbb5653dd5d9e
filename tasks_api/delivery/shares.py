"""Share places out, so that a taker with many places leaves some for later ones."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

# A sharer may have so many times the places it leaves free: nine tenths, if it is alone.
MAX_TIMES_FREE = 9

Waiter = TypeVar("Waiter")


def places_left(*, mine: int, taken: int, limit: int) -> int:
    """How many places more a sharer may take that has `mine` of the taken ones.

    A place is not taken back from a request that hangs. So no sharer takes all places, and
    its part falls when others come. Of fewer than ten places, one sharer may take all.
    """
    free = limit - taken
    return min(free, -((mine - MAX_TIMES_FREE * free) // (MAX_TIMES_FREE + 1)))


def batch_places(free: int) -> int:
    """How many of the free places sharers may take in one batch.

    Each of them takes what places_left() gives it, as if the others took nothing. So the
    batch leaves as many places as two sharers would that come one by one.
    """
    times = 2 * MAX_TIMES_FREE
    return max(1, free * times // (times + 1))


class Pool(Generic[Waiter]):
    """Places that sharers take and give back, and the waiters for which there was no room."""

    def __init__(self) -> None:
        self.taken = 0
        self._by: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[Waiter]] = {}

    @property
    def is_idle(self) -> bool:
        return not (self.taken or self._waiting)

    def has_room(self, sharer: Hashable, limit: int) -> bool:
        return places_left(mine=self._by[sharer], taken=self.taken, limit=limit) > 0

    def acquire(self, sharer: Hashable) -> None:
        self.taken += 1
        self._by[sharer] += 1

    def release(self, sharer: Hashable) -> None:
        self.taken -= 1
        self._by[sharer] -= 1
        if not self._by[sharer]:
            del self._by[sharer]

    def add_waiter(self, sharer: Hashable, waiter: Waiter) -> None:
        self._waiting.setdefault(sharer, deque()).append(waiter)

    def remove_waiter(self, sharer: Hashable, waiter: Waiter) -> None:
        waiters = self._waiting[sharer]
        waiters.remove(waiter)
        if not waiters:
            del self._waiting[sharer]

    def pop_waiter(self, limit: int) -> Waiter | None:
        """Take out a waiter that has room now; sharers take turns."""
        for sharer in self._waiting:
            if self.has_room(sharer, limit):
                waiters = self._waiting.pop(sharer)
                waiter = waiters.popleft()
                if waiters:
                    self._waiting[sharer] = waiters
                return waiter
        return None
