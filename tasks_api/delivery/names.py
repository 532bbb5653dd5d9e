"""Addresses of names, looked up beside the thread that sends."""

from __future__ import annotations

import heapq
import logging
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from queue import SimpleQueue

from tasks_api.delivery.attempts import Attempt, Place

logger = logging.getLogger(__name__)

# Long enough for a burst to ask once, too short for anybody to notice that a host moved.
NAME_LIFETIME = 5.0
# getaddrinfo blocks for as long as a name server likes; so many may hang at once.
MAX_LOOKUPS = 32

Resolve = Callable[[str, int], list[str]]


def resolve_name(host: str, port: int) -> list[str]:
    """Every address of a name, in the order in which they should be tried."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


@dataclass(eq=False, slots=True)
class _Lookup:
    """A question to the name servers, with the attempts that wait for its answer."""

    place: Place
    waiters: dict[Attempt, None] = field(default_factory=dict)
    # Stays None if nobody waited any more when its turn came, so that nobody was asked.
    addresses: list[str] | None = None


class Names:
    """Looks names up in a few threads, because getaddrinfo blocks and cannot be stopped."""

    def __init__(
        self, resolve: Resolve, *, lifetime: float, wake: Callable[[], None]
    ) -> None:
        self._resolve = resolve
        self._lifetime = lifetime
        self._wake = wake
        self._threads = 0
        self._questions: SimpleQueue[_Lookup | None] = SimpleQueue()
        self._answers: deque[_Lookup] = deque()
        self._lookups: dict[Place, _Lookup] = {}
        self._known: OrderedDict[Place, tuple[float, list[str]]] = OrderedDict()
        self._deadlines: list[tuple[float, int, Attempt, _Lookup]] = []
        self._serial = count()

    def known(self, place: Place, now: float) -> list[str] | None:
        """The addresses of a name that was looked up a moment ago."""
        while self._known and next(iter(self._known.values()))[0] <= now:
            self._known.popitem(last=False)
        entry = self._known.get(place)
        return entry[1] if entry else None

    def ask(self, attempt: Attempt) -> None:
        """Let an attempt wait for its addresses, together with others of its host."""
        place = attempt.place
        if (lookup := self._lookups.get(place)) is None:
            lookup = self._lookups[place] = _Lookup(place)
            self._put(lookup)
        lookup.waiters[attempt] = None
        entry = (attempt.deadline, next(self._serial), attempt, lookup)
        heapq.heappush(self._deadlines, entry)

    def take_answered(self) -> Iterator[tuple[Attempt, list[str]]]:
        """The attempts whose names were looked up, with what was found."""
        while self._answers:
            lookup = self._answers.popleft()
            if lookup.addresses is None and lookup.waiters:
                self._put(lookup)
                continue
            del self._lookups[lookup.place]
            found = lookup.addresses or []
            if found:
                known_until = time.monotonic() + self._lifetime
                self._known[lookup.place] = known_until, found
            waiters, lookup.waiters = lookup.waiters, {}
            yield from ((attempt, found) for attempt in waiters)
        if not self._lookups:
            self._deadlines.clear()

    def take_expired(self) -> Iterator[Attempt]:
        """The attempts that waited for a name until their time was up."""
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, attempt, lookup = heapq.heappop(self._deadlines)
            if attempt in lookup.waiters:
                del lookup.waiters[attempt]
                yield attempt

    def drain(self) -> list[Attempt]:
        """Every attempt that waits for a name, which will not be sent any more."""
        drained = [a for lookup in self._lookups.values() for a in lookup.waiters]
        for lookup in self._lookups.values():
            lookup.waiters = {}
        return drained

    def patience(self) -> float | None:
        """How long nothing needs doing here; None is until somebody rings."""
        if self._answers:
            return 0.0
        return self._deadlines[0][0] - time.monotonic() if self._deadlines else None

    def close(self) -> None:
        for _ in range(self._threads):
            self._questions.put(None)

    def _put(self, lookup: _Lookup) -> None:
        self._questions.put(lookup)
        if self._threads < min(len(self._lookups), MAX_LOOKUPS):
            self._threads += 1
            # A daemon, since a name server that never answers must not hold up an exit.
            threading.Thread(target=self._work, name="names", daemon=True).start()

    def _work(self) -> None:
        while (lookup := self._questions.get()) is not None:
            # Behind name servers that hang, most questions outlive those who asked them.
            if lookup.waiters:
                lookup.addresses = self._look_up(lookup.place)
            self._answers.append(lookup)
            self._wake()

    def _look_up(self, place: Place) -> list[str]:
        try:
            return self._resolve(*place)
        except OSError:
            return []
        except Exception:
            logger.exception("resolver failed", extra={"action": "name.failed"})
            return []
