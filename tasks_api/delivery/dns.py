"""The addresses of names: a cache, and the lookups that requests wait for."""

from __future__ import annotations

import heapq
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from tasks_api.delivery.lookup_queue import LookupQueue
from tasks_api.delivery.resolver import LookupResult, Resolve, Unresolved
from tasks_api.delivery.transfers import Transfer

logger = logging.getLogger(__name__)

# Seconds: long enough for a burst to ask once, too short to miss that a host has moved.
FRESH_LIFETIME = 5.0
# Seconds for which old addresses stay in use while no server answers for their name.
STALE_LIFETIME = 3600.0
# Seconds that a request waits for a new answer if old addresses are known.
MAX_REFRESH_WAIT = 1.0
MAX_CACHED_NAMES = 10_000


@dataclass(eq=False, slots=True)
class _CacheEntry:
    """What the last look-up found, and until when it counts."""

    found: LookupResult
    fresh_until: float
    stale_until: float = 0.0
    is_slow: bool = False


@dataclass(eq=False, slots=True)
class _Lookup:
    """A question to the name servers, with the transfers that wait for its answer."""

    host: str
    # With the moment since when each waits.
    waiters: dict[Transfer, float] = field(default_factory=dict)
    tenants: set[Hashable] = field(default_factory=set)
    # The tenant that was first to have a turn, and when.
    asked_by: Hashable = None
    asked_at: float | None = None
    is_in_flight: bool = False


class AddressCache:
    """Looks each name up once for all its requests; no tenant's hold up another's."""

    def __init__(
        self,
        resolve: Resolve,
        *,
        patience: float,
        turn_patience: float,
        lifetime: float,
        wake: Callable[[], None],
    ) -> None:
        """`patience` is how long name servers have to answer.

        `turn_patience` is how long a request waits until they are asked.
        """
        self._resolve = resolve
        self._patience = patience
        self._turn_patience = turn_patience
        self._lifetime = lifetime
        self._wake = wake
        self._queue = LookupQueue()
        self._answers: deque[tuple[_Lookup, LookupResult]] = deque()
        self._lookups: dict[str, _Lookup] = {}
        self._known: OrderedDict[str, _CacheEntry] = OrderedDict()
        self._deadlines: list[tuple[float, int, Transfer, _Lookup]] = []
        self._serial = count()

    def get(self, host: str, now: float) -> LookupResult | None:
        """The addresses of a name, or why it has none; None if it must be looked up."""
        known = self._known.get(host)
        if known and known.fresh_until > now:
            return known.found
        lookup = self._lookups.get(host)
        late = now - lookup.asked_at if lookup and lookup.asked_at is not None else 0.0
        if late > MAX_REFRESH_WAIT and (stale := self._get_stale(host, now)):
            return stale
        return Unresolved.SILENT if late > self._patience else None

    def look_up(self, transfer: Transfer) -> None:
        """Let a transfer wait for its addresses, together with others of its host."""
        host, now = transfer.url.target.host, time.monotonic()
        if (lookup := self._lookups.get(host)) is None:
            lookup = self._lookups[host] = _Lookup(host)
        lookup.waiters[transfer] = now
        if not lookup.is_in_flight and transfer.tenant not in lookup.tenants:
            lookup.tenants.add(transfer.tenant)
            self._enqueue(lookup, transfer.tenant)
        is_known = self._get_stale(host, now) is not None
        self._schedule_check(
            now + (MAX_REFRESH_WAIT if is_known else 0.0), transfer, lookup
        )
        self._ask_next()

    def pop_answered(self) -> Iterator[tuple[Transfer, LookupResult]]:
        """Take out the transfers that need not wait any longer, with what was found."""
        now = time.monotonic()
        while self._answers:
            lookup, found = self._answers.popleft()
            yield from self._take_answer(lookup, found, now)
        self._ask_next()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, transfer, lookup = heapq.heappop(self._deadlines)
            if transfer in lookup.waiters and (
                instead := self._time_out(transfer, lookup)
            ):
                del lookup.waiters[transfer]
                yield transfer, instead
        if not self._lookups:
            self._deadlines.clear()

    def drain(self) -> list[Transfer]:
        """Take out every transfer, because none will be sent any more."""
        drained = [
            transfer for lookup in self._lookups.values() for transfer in lookup.waiters
        ]
        for lookup in self._lookups.values():
            lookup.waiters = {}
        return drained

    def patience(self) -> float | None:
        """How long nothing needs doing here; None is until an answer arrives."""
        if self._answers:
            return 0.0
        return self._deadlines[0][0] - time.monotonic() if self._deadlines else None

    def _get_stale(self, host: str, now: float) -> LookupResult | None:
        known = self._known.get(host)
        return known.found if known and known.stale_until > now else None

    def _enqueue(self, lookup: _Lookup, tenant: Hashable) -> None:
        known = self._known.get(lookup.host)
        self._queue.add(tenant, lookup.host, is_slow=bool(known and known.is_slow))

    def _ask_next(self) -> None:
        while turn := self._queue.pop():
            tenant, host = turn
            lookup = self._lookups.get(host)
            if lookup is None or lookup.is_in_flight or not lookup.waiters:
                # Another tenant's turn came before, or no transfer waits any more.
                self._queue.release(tenant, host)
                if lookup and not lookup.is_in_flight:
                    del self._lookups[host]
                continue
            self._ask_for(lookup, tenant)

    def _ask_for(self, lookup: _Lookup, tenant: Hashable) -> None:
        lookup.is_in_flight = True
        lookup.asked_by = tenant
        if lookup.asked_at is None:
            lookup.asked_at = time.monotonic()
        try:
            self._resolve(lookup.host, partial(self._report, lookup))
        except Exception:
            logger.exception("resolver failed", extra={"action": "name.failed"})
            self._report(lookup, Unresolved.BROKEN)

    def _report(self, lookup: _Lookup, found: LookupResult) -> None:
        self._answers.append((lookup, found))
        self._wake()

    def _take_answer(
        self, lookup: _Lookup, found: LookupResult, now: float
    ) -> Iterator[tuple[Transfer, LookupResult]]:
        host = lookup.host
        self._queue.release(lookup.asked_by, host)
        lookup.is_in_flight = False
        found = self._learn(host, found, now)
        late = now - (lookup.asked_at or now)
        if found is Unresolved.SILENT and lookup.waiters and late < self._patience:
            # Behind all the others: a server that was silent once may well be so again.
            self._enqueue(lookup, lookup.asked_by)
            return
        del self._lookups[host]
        waiters, lookup.waiters = lookup.waiters, {}
        for transfer in waiters:
            yield transfer, found

    def _learn(self, host: str, found: LookupResult, now: float) -> LookupResult:
        """Keep what was found. If that is nothing, the old addresses stay in use."""
        known = _CacheEntry(found, now + self._lifetime)
        if isinstance(found, list):
            known.stale_until = now + STALE_LIFETIME
        elif found is not Unresolved.MISSING:
            known.is_slow = True
            old = self._known.get(host)
            if old is not None and old.stale_until > now:
                known.found, known.stale_until = old.found, old.stale_until
        self._known[host] = known
        self._known.move_to_end(host)
        if len(self._known) > MAX_CACHED_NAMES:
            self._known.popitem(last=False)
        return known.found

    def _time_out(self, transfer: Transfer, lookup: _Lookup) -> LookupResult | None:
        """What a transfer gets that has waited long; None is to wait on."""
        now = time.monotonic()
        if stale := self._get_stale(lookup.host, now):
            return stale
        if lookup.asked_at is None:
            until, found = (
                lookup.waiters[transfer] + self._turn_patience,
                Unresolved.CROWDED,
            )
        else:
            until, found = lookup.asked_at + self._patience, Unresolved.SILENT
        if now >= until:
            return found
        self._schedule_check(until, transfer, lookup)
        return None

    def _schedule_check(self, at: float, transfer: Transfer, lookup: _Lookup) -> None:
        heapq.heappush(self._deadlines, (at, next(self._serial), transfer, lookup))
