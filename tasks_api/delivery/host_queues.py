"""Choose the next request to send: hosts take turns, and tenants at each host."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

from tasks_api.delivery.shares import Pool
from tasks_api.delivery.transfers import HostPort, Transfer

# Seconds. A host is slow if a request has waited longer for its turn there.
SLOW_HOST_WAIT = 2.0
# Seconds until a request comes back that made room for others.
MAX_PAUSE = 30.0


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
    waiting: deque[Transfer] = field(default_factory=deque)
    running: int = 0
    is_ready: bool = False
    waits_for: tuple[str, Hashable] | None = None


_PoolLimits = Iterator[tuple[tuple[str, Hashable], Hashable, int]]


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
        self._pools: dict[tuple[str, Hashable], Pool[_TenantQueue]] = {}
        self._ready: deque[_TenantQueue] = deque()

    def add(self, transfer: Transfer, *, is_first: bool = False) -> None:
        """Let a transfer wait whose addresses are known; first, if its turn had come."""
        if (host := self._hosts.get(transfer.host_port)) is None:
            host = self._hosts[transfer.host_port] = _Host()
        if (queue := host.queues.get(transfer.tenant)) is None:
            queue = _TenantQueue(transfer.tenant, transfer.host_port, host)
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
            self._wake_waiters(queue)
            self._drop_if_over(queue)
            if transfer is not None:
                return transfer
        return None

    def release(self, transfer: Transfer) -> None:
        host = self._hosts[transfer.host_port]
        queue = host.queues[transfer.tenant]
        for key, sharer, _ in self._limits(queue, transfer.addresses):
            self._pools[key].release(sharer)
        queue.running -= 1
        self._running -= 1
        self._wake_waiters(queue, transfer.addresses)
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

    def drain(self) -> list[Transfer]:
        """Take out every transfer that waits, because none will start any more."""
        drained: list[Transfer] = []
        for host in self._hosts.values():
            for queue in host.queues.values():
                drained += queue.waiting
                queue.waiting.clear()
        self.waiting = 0
        return drained

    def _start(self, queue: _TenantQueue) -> Transfer | None:
        addresses = queue.host.addresses
        limits = list(self._limits(queue, addresses))
        for key, sharer, limit in limits:
            pool = self._pools.get(key)
            if pool is not None and not pool.has_room(sharer, limit):
                pool.add_waiter(sharer, queue)
                queue.waits_for = key
                return None
        for key, sharer, _ in limits:
            if (pool := self._pools.get(key)) is None:
                pool = self._pools[key] = Pool()
            pool.acquire(sharer)
        transfer = queue.waiting.popleft()
        self.waiting -= 1
        # Its name may have been looked up again since it began to wait.
        transfer.addresses = addresses
        queue.running += 1
        self._running += 1
        self._make_ready(queue)
        return transfer

    def _limits(self, queue: _TenantQueue, addresses: tuple[str, ...]) -> _PoolLimits:
        """The pools in which its transfers take places, as which sharer, and their sizes."""
        yield (
            ("tenant", queue.tenant),
            queue.host_port,
            self._tenant_limit(queue.tenant),
        )
        yield ("host", queue.host_port), queue.tenant, self._max_per_host
        # Any of them may be the one that is connected to, so all of them count.
        for address in addresses:
            yield ("address", address), queue.tenant, self._max_per_host

    def _wake_waiters(
        self, queue: _TenantQueue, addresses: tuple[str, ...] = ()
    ) -> None:
        """Make one waiter ready in each of a queue's pools that has room.

        When the waiter's turn has come, it wakes the next one, whatever becomes of it.
        """
        every = dict.fromkeys((*queue.host.addresses, *addresses))
        for key, _, limit in self._limits(queue, tuple(every)):
            if (pool := self._pools.get(key)) is None:
                continue
            while (waiter := pool.pop_waiter(limit)) is not None:
                waiter.waits_for = None
                self._make_ready(waiter)
                if waiter.is_ready:
                    break
                self._drop_if_over(waiter)
            if pool.is_idle:
                del self._pools[key]

    def _change_addresses(self, host: _Host, addresses: tuple[str, ...]) -> None:
        """Take over new addresses; no queue waits for room at the old ones any more."""
        host.addresses = addresses
        for queue in host.queues.values():
            if queue.waits_for is not None and queue.waits_for[0] == "address":
                self._pools[queue.waits_for].remove_waiter(queue.tenant, queue)
                queue.waits_for = None
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
