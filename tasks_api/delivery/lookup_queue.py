"""Choose the next name to look up: tenants take turns, and the domains of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

# Look-ups in flight. Those that hang cost little here, but name servers bear no more.
MAX_LOOKUPS = 1024
# Look-ups in flight of one tenant, and of one of its domains. Those that hang hold up
# only the tenant's others.
MAX_PER_TENANT = 32
MAX_PER_DOMAIN = 8


@dataclass(eq=False, slots=True)
class _DomainNames:
    quick: deque[str] = field(default_factory=deque)
    # Names for which no server answered the last time.
    slow: deque[str] = field(default_factory=deque)
    running: int = 0


@dataclass(eq=False, slots=True)
class _TenantNames:
    domains: dict[str, _DomainNames] = field(default_factory=dict)
    turns: deque[str] = field(default_factory=deque)
    running: int = 0
    is_ready: bool = False

    def pop(self) -> str | None:
        """The next name whose domain has a place for it, the slow ones last."""
        return self._pop(is_slow=False) or self._pop(is_slow=True)

    def _pop(self, *, is_slow: bool) -> str | None:
        for _ in range(len(self.turns)):
            domain = self.domains[self.turns[0]]
            self.turns.rotate(-1)
            waiting = domain.slow if is_slow else domain.quick
            if waiting and domain.running < MAX_PER_DOMAIN:
                domain.running += 1
                self.running += 1
                return waiting.popleft()
        return None


class LookupQueue:
    """Names that wait to be looked up. A tenant waits only for its own that hang."""

    def __init__(self) -> None:
        self._tenants: dict[Hashable, _TenantNames] = {}
        self._ready: deque[Hashable] = deque()
        self._running = 0

    def add(self, tenant: Hashable, host: str, *, is_slow: bool) -> None:
        names = self._tenants.setdefault(tenant, _TenantNames())
        name = domain_of(host)
        if (domain := names.domains.get(name)) is None:
            domain = names.domains[name] = _DomainNames()
            names.turns.append(name)
        (domain.slow if is_slow else domain.quick).append(host)
        self._enqueue(tenant, names)

    def pop(self) -> tuple[Hashable, str] | None:
        """Take the next name, with a place that must be released later."""
        while self._ready and self._running < MAX_LOOKUPS:
            tenant = self._ready.popleft()
            names = self._tenants[tenant]
            names.is_ready = False
            # A tenant without a place in any domain is queued again when it releases one.
            if (host := names.pop()) is not None:
                self._running += 1
                self._enqueue(tenant, names)
                return tenant, host
        return None

    def release(self, tenant: Hashable, host: str) -> None:
        names, name = self._tenants[tenant], domain_of(host)
        domain = names.domains[name]
        domain.running -= 1
        names.running -= 1
        self._running -= 1
        if not (domain.running or domain.quick or domain.slow):
            del names.domains[name]
            names.turns.remove(name)
        if names.domains:
            self._enqueue(tenant, names)
        elif not names.is_ready:
            del self._tenants[tenant]

    def _enqueue(self, tenant: Hashable, names: _TenantNames) -> None:
        if names.running < MAX_PER_TENANT and not names.is_ready:
            names.is_ready = True
            self._ready.append(tenant)


def domain_of(host: str) -> str:
    """The last two labels, which most names of one owner share."""
    return ".".join(host.rstrip(".").split(".")[-2:])
