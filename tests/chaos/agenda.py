"""Takes the steps of planned faults when they are due, in one thread."""

from __future__ import annotations

import heapq
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tests.chaos.steps import FaultSteps

# Seconds between two looks at the parts.
POLL_INTERVAL = 0.25


class Planned(Protocol):
    """A fault that begins so many seconds after the beginning of the round."""

    @property
    def at(self) -> float: ...

    @property
    def victims(self) -> tuple[str, ...]: ...


Item = TypeVar("Item", bound=Planned)


@dataclass
class RunningFault(Generic[Item]):
    planned: Item
    steps: FaultSteps
    began_at: float


class FaultAgenda(ABC, Generic[Item]):
    """Begins what the plan says when it says so, and goes on with what has begun.

    Its thread must be the one that starts processes: they get a signal when it ends.
    """

    def __init__(self, planned: Sequence[Item]) -> None:
        self.began = time.monotonic()
        self._order = itertools.count()
        self._held: set[str] = set()
        self._agenda: list[tuple[float, int, Item | RunningFault[Item]]] = []
        for each in planned:
            self._schedule(self.began + each.at, each)

    @abstractmethod
    def start_again(self) -> None:
        """Start every part again that ended by itself."""

    @abstractmethod
    def begin(self, planned: Item) -> FaultSteps: ...

    @abstractmethod
    def end(self, fault: RunningFault[Item]) -> None: ...

    def run_until(self, until: float) -> None:
        """Run until a moment of the monotonic clock, and until all is repaired."""
        while self._agenda or time.monotonic() < until:
            self.start_again()
            now = time.monotonic()
            if self._agenda and self._agenda[0][0] <= now:
                item = heapq.heappop(self._agenda)[2]
                # A fault that had to wait for its victims until now is too late.
                if isinstance(item, RunningFault) or now < until:
                    self._advance(item)
                continue
            next_at = self._agenda[0][0] if self._agenda else until
            time.sleep(max(0.0, min(POLL_INTERVAL, next_at - now)))

    def _schedule(self, at: float, item: Item | RunningFault[Item]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), item))

    def _advance(self, item: Item | RunningFault[Item]) -> None:
        if not isinstance(item, RunningFault):
            if self._held & set(item.victims):
                # A victim took longer than planned to stop or to come back.
                self._schedule(time.monotonic() + POLL_INTERVAL, item)
                return
            self._held |= set(item.victims)
            item = RunningFault(item, self.begin(item), time.time())
        wait = next(item.steps, None)
        if wait is None:
            self._held -= set(item.planned.victims)
            self.end(item)
        else:
            self._schedule(time.monotonic() + wait, item)
