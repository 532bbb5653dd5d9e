"""Which request of those that wait is sent next: hosts take turns."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tasks_api.delivery.attempts import Attempt, Place


@dataclass(eq=False, slots=True)
class _Host:
    """The attempts to one host and port."""

    waiting: deque[Attempt] = field(default_factory=deque)
    running: int = 0
    is_ready: bool = False


class Queues:
    """Who is next: hosts take turns, and one at its limit holds up nobody else."""

    def __init__(self, *, max_in_flight: int, max_per_host: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_per_host = max_per_host
        self._running = 0
        self._hosts: dict[Place, _Host] = {}
        self._ready: deque[tuple[Place, _Host]] = deque()

    def add(self, attempt: Attempt) -> None:
        place = attempt.place
        if (host := self._hosts.get(place)) is None:
            host = self._hosts[place] = _Host()
        host.waiting.append(attempt)
        self._line_up(place, host)

    def next(self) -> Attempt | None:
        """Take the next attempt that may start now; its slot must be released later."""
        if not self._ready or self._running >= self._max_in_flight:
            return None
        place, host = self._ready.popleft()
        host.is_ready = False
        attempt = host.waiting.popleft()
        host.running += 1
        self._running += 1
        self._line_up(place, host)
        return attempt

    def release(self, attempt: Attempt) -> None:
        place = attempt.place
        host = self._hosts[place]
        host.running -= 1
        self._running -= 1
        if host.waiting:
            self._line_up(place, host)
        elif not host.running:
            del self._hosts[place]

    def drain(self) -> list[Attempt]:
        """Everything that waits, which will not be started any more."""
        self._ready.clear()
        drained: list[Attempt] = []
        for host in self._hosts.values():
            host.is_ready = False
            drained += host.waiting
            host.waiting.clear()
        return drained

    def _line_up(self, place: Place, host: _Host) -> None:
        may_start = host.waiting and host.running < self._max_per_host
        if may_start and not host.is_ready:
            host.is_ready = True
            self._ready.append((place, host))
