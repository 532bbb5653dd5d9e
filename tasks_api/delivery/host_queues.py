"""Which request of those that wait is sent next: hosts take turns, and tenants at each."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

from tasks_api.delivery.shares import Pool
from tasks_api.delivery.transfers import HostPort, Transfer

# A host for whose turn somebody has waited so many seconds is a slow one.
SLOW_HOST_WAIT = 2.0
MAX_PAUSE = 30.0


@dataclass(eq=False, slots=True)
class _Host:
    """A host and port: where its name leads, and the lanes to it."""

    addresses: tuple[str, ...] = ()
    lanes: dict[Hashable, _TenantQueue] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class _TenantQueue:
    """One tenant's attempts to one host. It waits for its turn, or for room in a pool."""

    tenant: Hashable
    place: HostPort
    host: _Host
    waiting: deque[Transfer] = field(default_factory=deque)
    running: int = 0
    is_ready: bool = False
    waits_for: tuple[str, Hashable] | None = None


_PoolLimits = Iterator[tuple[tuple[str, Hashable], Hashable, int]]


class HostQueues:
    """Who is next: no host, no address and no tenant that has enough holds up another."""

    def __init__(
        self,
        *,
        max_in_flight: int,
        max_per_host: int,
        places_of: Callable[[Hashable], int] | None = None,
    ) -> None:
        """`max_per_host` limits hosts and addresses alike, `places_of` each tenant."""
        self._max_in_flight = max_in_flight
        self._max_per_host = max_per_host
        self._places_of = places_of or (lambda _tenant: max_in_flight)
        self._running = 0
        self.waiting = 0
        self._hosts: dict[HostPort, _Host] = {}
        self._pools: dict[tuple[str, Hashable], Pool[_TenantQueue]] = {}
        self._ready: deque[_TenantQueue] = deque()

    def add(self, attempt: Transfer, *, is_first: bool = False) -> None:
        """Let an attempt wait whose addresses are known; first, if its turn had come."""
        if (host := self._hosts.get(attempt.place)) is None:
            host = self._hosts[attempt.place] = _Host()
        if (lane := host.lanes.get(attempt.tenant)) is None:
            lane = _TenantQueue(attempt.tenant, attempt.place, host)
            host.lanes[attempt.tenant] = lane
        (lane.waiting.appendleft if is_first else lane.waiting.append)(attempt)
        self.waiting += 1
        if host.addresses != attempt.addresses:
            self._move(host, attempt.addresses)
        self._line_up(lane)

    def next(self) -> Transfer | None:
        """Take the next attempt that may start now; its place must be released later."""
        while self._ready and self._running < self._max_in_flight:
            lane = self._ready.popleft()
            lane.is_ready = False
            attempt = self._start(lane) if lane.waiting else None
            # Whatever became of its turn: where there is room still, others may come.
            self._call(lane)
            self._drop_if_over(lane)
            if attempt is not None:
                return attempt
        return None

    def release(self, attempt: Transfer) -> None:
        host = self._hosts[attempt.place]
        lane = host.lanes[attempt.tenant]
        for key, sharer, _ in self._limits(lane, attempt.addresses):
            self._pools[key].give_back(sharer)
        lane.running -= 1
        self._running -= 1
        self._call(lane, attempt.addresses)
        self._drop_if_over(lane)

    def take_crowded(self, now: float) -> Iterator[tuple[Transfer, float]]:
        """Take out what waits for hosts that hold the places of their tenants' others.

        With the seconds for which it need not come back. A host that is quick never has
        much waiting for long; of one that is not, as many stay as leave as many free.
        """
        lanes = [lane for host in self._hosts.values() for lane in host.lanes.values()]
        held: Counter[Hashable] = Counter()
        for lane in lanes:
            held[lane.tenant] += len(lane.waiting) + lane.running
        for lane in lanes:
            waited = now - lane.waiting[0].waits_since if lane.waiting else 0.0
            places = self._places_of(lane.tenant)
            is_full = (places - held[lane.tenant]) * 10 < places
            if waited < SLOW_HOST_WAIT or not is_full:
                continue
            mine = len(lane.waiting) + lane.running
            excess = (mine + held[lane.tenant] - places + 1) // 2
            for _ in range(min(excess, len(lane.waiting))):
                held[lane.tenant] -= 1
                self.waiting -= 1
                yield lane.waiting.pop(), min(waited, MAX_PAUSE)

    def drain(self) -> list[Transfer]:
        """Everything that waits, which will not be started any more."""
        drained: list[Transfer] = []
        for host in self._hosts.values():
            for lane in host.lanes.values():
                drained += lane.waiting
                lane.waiting.clear()
        self.waiting = 0
        return drained

    def _start(self, lane: _TenantQueue) -> Transfer | None:
        addresses = lane.host.addresses
        limits = list(self._limits(lane, addresses))
        for key, sharer, most in limits:
            pool = self._pools.get(key)
            if pool is not None and not pool.has_room(sharer, most):
                pool.wait(sharer, lane)
                lane.waits_for = key
                return None
        for key, sharer, _ in limits:
            if (pool := self._pools.get(key)) is None:
                pool = self._pools[key] = Pool()
            pool.take(sharer)
        attempt = lane.waiting.popleft()
        self.waiting -= 1
        # Its name may have been looked up again since it began to wait.
        attempt.addresses = addresses
        lane.running += 1
        self._running += 1
        self._line_up(lane)
        return attempt

    def _limits(self, lane: _TenantQueue, addresses: tuple[str, ...]) -> _PoolLimits:
        """The pools that a lane's attempt takes a place of, as whom, and their sizes."""
        yield ("tenant", lane.tenant), lane.place, self._places_of(lane.tenant)
        yield ("host", lane.place), lane.tenant, self._max_per_host
        # Any of them may be the one that is connected to, so all of them count.
        for address in addresses:
            yield ("address", address), lane.tenant, self._max_per_host

    def _call(self, lane: _TenantQueue, addresses: tuple[str, ...] = ()) -> None:
        """Line up one that waits for room in each of a lane's pools, if there is some.

        When its turn has come it calls the next one, whatever becomes of it.
        """
        every = dict.fromkeys((*lane.host.addresses, *addresses))
        for key, _, most in self._limits(lane, tuple(every)):
            if (pool := self._pools.get(key)) is None:
                continue
            while (called := pool.call(most)) is not None:
                called.waits_for = None
                self._line_up(called)
                if called.is_ready:
                    break
                self._drop_if_over(called)
            if pool.is_idle:
                del self._pools[key]

    def _move(self, host: _Host, addresses: tuple[str, ...]) -> None:
        """Its name leads elsewhere now; nobody waits for room where it led before."""
        host.addresses = addresses
        for lane in host.lanes.values():
            if lane.waits_for is not None and lane.waits_for[0] == "address":
                self._pools[lane.waits_for].forget(lane.tenant, lane)
                lane.waits_for = None
                self._line_up(lane)

    def _line_up(self, lane: _TenantQueue) -> None:
        if lane.waiting and not (lane.is_ready or lane.waits_for):
            lane.is_ready = True
            self._ready.append(lane)

    def _drop_if_over(self, lane: _TenantQueue) -> None:
        if lane.running or lane.waiting or lane.waits_for or lane.is_ready:
            return
        if lane.host.lanes.get(lane.tenant) is lane:
            del lane.host.lanes[lane.tenant]
        if not lane.host.lanes and self._hosts.get(lane.place) is lane.host:
            del self._hosts[lane.place]
