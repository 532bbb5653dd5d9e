"""Choose the next request to send: hosts take turns, and tenants at each host."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from tasks_api.delivery.shares import Pool
from tasks_api.delivery.transfers import HostPort, Transfer

# Seconds. A host is slow if a request has waited longer for its turn there.
SLOW_HOST_WAIT = 2.0
# Seconds until a request comes back that made room for others.
MAX_PAUSE = 30.0

# What a pool is for, such as a host and port or an address.
_PoolKey = tuple[str, Hashable]
# A pool in which a transfer takes a place, and the sharer as which it does.
_Place = tuple[_PoolKey, Hashable]


@dataclass(eq=False, slots=True)
class _Host:
    """A host and port: the addresses of its name, and the queue of each tenant."""

    addresses: tuple[str, ...] = ()
    queues: dict[Hashable, _TenantQueue] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class _TenantQueue:
    """One tenant's transfers to one host. It waits for its turn, or for room in a pool."""

    tenant: Hashable
    host_port: HostPort
    host: _Host
    # The places that each of its transfers takes, by the addresses of its host.
    places: list[_Place]
    waiting: deque[Transfer] = field(default_factory=deque)
    running: int = 0
    is_ready: bool = False
    waits_for: _PoolKey | None = None


class HostQueues:
    """Keeps any host, address or tenant that has enough from holding up the others."""

    def __init__(
        self,
        *,
        max_in_flight: int,
        max_per_host: int,
        tenant_limit: Callable[[Hashable], int] | None = None,
    ) -> None:
        """`max_per_host` limits hosts and addresses alike, `tenant_limit` each tenant."""
        self._max_in_flight = max_in_flight
        self._max_per_host = max_per_host
        self._tenant_limit = tenant_limit or (lambda _tenant: max_in_flight)
        self._running = 0
        self.waiting = 0
        self._hosts: dict[HostPort, _Host] = {}
        self._pools: dict[_PoolKey, Pool[_TenantQueue]] = {}
        # Queues that wait for room in a pool.
        self._blocked = 0
        self._ready: deque[_TenantQueue] = deque()

    def add(self, transfer: Transfer, *, is_first: bool = False) -> None:
        """Let a transfer wait whose addresses are known; first, if its turn had come."""
        if (host := self._hosts.get(transfer.host_port)) is None:
            host = self._hosts[transfer.host_port] = _Host()
        if (queue := host.queues.get(transfer.tenant)) is None:
            places = _list_places(transfer.tenant, transfer.host_port, host.addresses)
            queue = _TenantQueue(transfer.tenant, transfer.host_port, host, places)
            host.queues[transfer.tenant] = queue
        (queue.waiting.appendleft if is_first else queue.waiting.append)(transfer)
        self.waiting += 1
        if host.addresses != transfer.addresses:
            self._change_addresses(host, transfer.addresses)
        self._make_ready(queue)

    def pop(self) -> Transfer | None:
        """Take the next transfer that may start now; its place must be released later."""
        while self._ready and self._running < self._max_in_flight:
            queue = self._ready.popleft()
            queue.is_ready = False
            transfer = self._start(queue) if queue.waiting else None
            # Whatever became of its turn: if there is room, others may come.
            if self._blocked:
                self._wake_waiters(queue.places)
            self._drop_if_over(queue)
            if transfer is not None:
                return transfer
        return None

    def release(self, transfer: Transfer) -> None:
        host = self._hosts[transfer.host_port]
        queue = host.queues[transfer.tenant]
        places = freed = queue.places
        if transfer.addresses != host.addresses:
            freed = _list_places(queue.tenant, queue.host_port, transfer.addresses)
            places = list(dict.fromkeys((*places, *freed)))
        for key, sharer in freed:
            pool = self._pools[key]
            pool.release(sharer)
            self._drop_if_idle(key, pool)
        queue.running -= 1
        self._running -= 1
        if self._blocked:
            self._wake_waiters(places)
        self._drop_if_over(queue)

    def pop_crowded(self, now: float) -> Iterator[tuple[Transfer, float]]:
        """Take out transfers whose slow hosts hold the places of their tenants' others.

        Each comes with the seconds until it is worth another try. A quick host never has
        many waiting for long; at a slow one, as many stay as leave as many places free.
        """
        queues = [
            queue for host in self._hosts.values() for queue in host.queues.values()
        ]
        held: Counter[Hashable] = Counter()
        for queue in queues:
            held[queue.tenant] += len(queue.waiting) + queue.running
        for queue in queues:
            waited = now - queue.waiting[0].waits_since if queue.waiting else 0.0
            places = self._tenant_limit(queue.tenant)
            is_full = (places - held[queue.tenant]) * 10 < places
            if waited < SLOW_HOST_WAIT or not is_full:
                continue
            mine = len(queue.waiting) + queue.running
            excess = (mine + held[queue.tenant] - places + 1) // 2
            for _ in range(min(excess, len(queue.waiting))):
                held[queue.tenant] -= 1
                self.waiting -= 1
                yield queue.waiting.pop(), min(waited, MAX_PAUSE)

    def withdraw(self, is_meant: Callable[[Transfer], bool]) -> list[Transfer]:
        """Take out some of the transfers that wait."""
        withdrawn: list[Transfer] = []
        for host in self._hosts.values():
            for queue in host.queues.values():
                meant = list(filter(is_meant, queue.waiting))
                withdrawn += meant
                for transfer in meant:
                    queue.waiting.remove(transfer)
        self.waiting -= len(withdrawn)
        return withdrawn

    def _start(self, queue: _TenantQueue) -> Transfer | None:
        for key, sharer in queue.places:
            pool = self._pools.get(key)
            if pool is not None and not pool.has_room(sharer, self._limit(key)):
                pool.add_waiter(sharer, queue)
                queue.waits_for = key
                self._blocked += 1
                return None
        for key, sharer in queue.places:
            if (pool := self._pools.get(key)) is None:
                pool = self._pools[key] = Pool()
            pool.acquire(sharer)
        transfer = queue.waiting.popleft()
        self.waiting -= 1
        # Its name may have been looked up again since it began to wait.
        transfer.addresses = queue.host.addresses
        queue.running += 1
        self._running += 1
        self._make_ready(queue)
        return transfer

    def _limit(self, key: _PoolKey) -> int:
        """The size of a pool."""
        kind, whose = key
        return self._tenant_limit(whose) if kind == "tenant" else self._max_per_host

    def _wake_waiters(self, places: Iterable[_Place]) -> None:
        """Make one waiter ready in each pool that has room.

        When the waiter's turn has come, it wakes the next one, whatever becomes of it.
        """
        for key, _ in places:
            if (pool := self._pools.get(key)) is None:
                continue
            if pool.has_waiters:
                self._wake_waiter(pool, self._limit(key))
                self._drop_if_idle(key, pool)

    def _drop_if_idle(self, key: _PoolKey, pool: Pool[_TenantQueue]) -> None:
        if not (pool.taken or pool.has_waiters):
            del self._pools[key]

    def _wake_waiter(self, pool: Pool[_TenantQueue], limit: int) -> None:
        while (waiter := pool.pop_waiter(limit)) is not None:
            waiter.waits_for = None
            self._blocked -= 1
            self._make_ready(waiter)
            if waiter.is_ready:
                break
            self._drop_if_over(waiter)

    def _change_addresses(self, host: _Host, addresses: tuple[str, ...]) -> None:
        """Take over new addresses; no queue waits for room at the old ones any more."""
        host.addresses = addresses
        for queue in host.queues.values():
            queue.places = _list_places(queue.tenant, queue.host_port, addresses)
            if queue.waits_for is not None and queue.waits_for[0] == "address":
                self._pools[queue.waits_for].remove_waiter(queue.tenant, queue)
                queue.waits_for = None
                self._blocked -= 1
                self._make_ready(queue)

    def _make_ready(self, queue: _TenantQueue) -> None:
        if queue.waiting and not (queue.is_ready or queue.waits_for):
            queue.is_ready = True
            self._ready.append(queue)

    def _drop_if_over(self, queue: _TenantQueue) -> None:
        if queue.running or queue.waiting or queue.waits_for or queue.is_ready:
            return
        if queue.host.queues.get(queue.tenant) is queue:
            del queue.host.queues[queue.tenant]
        if not queue.host.queues and self._hosts.get(queue.host_port) is queue.host:
            del self._hosts[queue.host_port]


def _list_places(
    tenant: Hashable, host_port: HostPort, addresses: tuple[str, ...]
) -> list[_Place]:
    return [
        (("tenant", tenant), host_port),
        (("host", host_port), tenant),
        # Any of them may be the one that is connected to, so all of them count.
        *((("address", address), tenant) for address in addresses),
    ]
