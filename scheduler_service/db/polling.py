"""Keep polls short while a long transaction keeps dead rows in the indexes they read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

# A process makes full polls less often if one takes so many seconds: it spends a twentieth
# of its time on them, and makes one each minute in any case.
SLOW_SECONDS = 0.02
REST_RATIO = 20
MAX_REST_SECONDS = 60.0

FloorT = TypeVar("FloorT", covariant=True)


class PollResult(Protocol[FloorT]):
    @property
    def floor(self) -> FloorT:
        """The place in the indexes at or after which all work lies."""


ResultT = TypeVar("ResultT", bound=PollResult[object])


class Poller(Generic[FloorT, ResultT]):
    """Calls `poll` with the floor from which it may read; None: from the beginning.

    PostgreSQL keeps the index entry of a dead row, and each poll steps over it, as long
    as any transaction may still see the row. So after a slow full poll, the next polls
    begin at its first row, the floor. The next full poll comes after a rest of twenty
    times its duration, and after a minute at most. Only a row that is stored with a
    moment more than a minute in the past has to wait for a full poll; every other row
    lies above the floor. While full polls are quick, each poll is a full one.
    """

    def __init__(
        self, poll: Callable[[FloorT | None], ResultT], *, slow: float = SLOW_SECONDS
    ) -> None:
        self._poll = poll
        self._slow = slow
        self._full_at = 0.0
        self.floor: FloorT | None = None

    def poll(self) -> ResultT:
        began_at = time.monotonic()
        if self.floor is not None and began_at < self._full_at:
            return self._poll(self.floor)
        seen = self._poll(None)
        took = time.monotonic() - began_at
        self.floor = seen.floor if took >= self._slow else None  # type: ignore[assignment]  # a result has its poll's floor
        self._full_at = began_at + min(took * REST_RATIO, MAX_REST_SECONDS)
        return seen
