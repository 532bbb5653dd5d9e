"""How places are shared out: whoever takes many leaves some to those who come later."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

# One may have so many times what it leaves free: nine tenths, if it is alone.
MAX_TIMES_FREE = 9

Waiter = TypeVar("Waiter")


def places_left(*, mine: int, taken: int, most: int) -> int:
    """How many places more one may take that has `mine` of those that are taken.

    A place is not taken back from a request that hangs. So nobody takes all of them, and
    what one may have falls when others come; of fewer than ten, one may have all.
    """
    free = most - taken
    return min(free, -((mine - MAX_TIMES_FREE * free) // (MAX_TIMES_FREE + 1)))


class Pool(Generic[Waiter]):
    """The places at one thing, whose they are, and who waits until there is room."""

    def __init__(self) -> None:
        self.taken = 0
        self._by: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[Waiter]] = {}

    @property
    def is_idle(self) -> bool:
        return not (self.taken or self._waiting)

    def has_room(self, sharer: Hashable, most: int) -> bool:
        return places_left(mine=self._by[sharer], taken=self.taken, most=most) > 0

    def take(self, sharer: Hashable) -> None:
        self.taken += 1
        self._by[sharer] += 1

    def give_back(self, sharer: Hashable) -> None:
        self.taken -= 1
        self._by[sharer] -= 1
        if not self._by[sharer]:
            del self._by[sharer]

    def wait(self, sharer: Hashable, waiter: Waiter) -> None:
        self._waiting.setdefault(sharer, deque()).append(waiter)

    def forget(self, sharer: Hashable, waiter: Waiter) -> None:
        waiters = self._waiting[sharer]
        waiters.remove(waiter)
        if not waiters:
            del self._waiting[sharer]

    def call(self, most: int) -> Waiter | None:
        """Take out one that waits and has room now; sharers take turns."""
        for sharer in self._waiting:
            if self.has_room(sharer, most):
                waiters = self._waiting.pop(sharer)
                waiter = waiters.popleft()
                if waiters:
                    self._waiting[sharer] = waiters
                return waiter
        return None
