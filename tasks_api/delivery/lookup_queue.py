"""Which name is looked up next: tenants take turns, and so do the domains of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

# Look-ups that hang cost little here, and name servers bear no more.
MAX_LOOKUPS = 1024
# So few of one tenant, and of one of its domains, may hang and hold up the others of its.
MAX_PER_TENANT = 32
MAX_PER_DOMAIN = 8


@dataclass(eq=False, slots=True)
class _DomainNames:
    quick: deque[str] = field(default_factory=deque)
    # Names that nobody answered for, the last time.
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
    """Names that wait to be looked up. Whose look-ups hang waits for those alone."""

    def __init__(self) -> None:
        self._tenants: dict[Hashable, _TenantNames] = {}
        self._ready: deque[Hashable] = deque()
        self._running = 0

    def add(self, tenant: Hashable, host: str, *, is_slow: bool) -> None:
        its = self._tenants.setdefault(tenant, _TenantNames())
        name = domain_of(host)
        if (domain := its.domains.get(name)) is None:
            domain = its.domains[name] = _DomainNames()
            its.turns.append(name)
        (domain.slow if is_slow else domain.quick).append(host)
        self._line_up(tenant, its)

    def next(self) -> tuple[Hashable, str] | None:
        """Take the next name, and a place that must be released later."""
        while self._ready and self._running < MAX_LOOKUPS:
            tenant = self._ready.popleft()
            its = self._tenants[tenant]
            its.is_ready = False
            # Without a place in any domain, it lines up again when it releases one.
            if (host := its.pop()) is not None:
                self._running += 1
                self._line_up(tenant, its)
                return tenant, host
        return None

    def release(self, tenant: Hashable, host: str) -> None:
        its, name = self._tenants[tenant], domain_of(host)
        domain = its.domains[name]
        domain.running -= 1
        its.running -= 1
        self._running -= 1
        if not (domain.running or domain.quick or domain.slow):
            del its.domains[name]
            its.turns.remove(name)
        if its.domains:
            self._line_up(tenant, its)
        elif not its.is_ready:
            del self._tenants[tenant]

    def _line_up(self, tenant: Hashable, its: _TenantNames) -> None:
        if its.running < MAX_PER_TENANT and not its.is_ready:
            its.is_ready = True
            self._ready.append(tenant)


def domain_of(host: str) -> str:
    """The last two labels, which most names of one owner share."""
    return ".".join(host.rstrip(".").split(".")[-2:])
