"""Send requests: one thread drives all that are in flight, through libcurl's multi handle."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import certifi
import pycurl

from tasks_api.delivery import descriptors, faults, results
from tasks_api.delivery.dns import FRESH_LIFETIME, AddressCache
from tasks_api.delivery.host_queues import HostQueues
from tasks_api.delivery.multi_handle import MultiHandle, TransferEnd
from tasks_api.delivery.request import HttpResult, Request
from tasks_api.delivery.resolver import LookupResult, Resolve, Resolver, Unresolved
from tasks_api.delivery.transfers import ADDRESS_NOT_ALLOWED, RefuseAddress, Transfer
from tasks_api.domain import guard
from tasks_api.domain.states import Trouble

logger = logging.getLogger(__name__)

# Seconds in which the thread aborts what is in flight when its time is up.
ABORT_TIMEOUT = 1.0
# Seconds between two looks for hosts that hold up others.
CROWD_CHECK_INTERVAL = 1.0
# Seconds between two turns of a thread that has nothing to do.
MAX_TURN_WAIT = 5.0
# Addresses that have waited longer for their turn are looked up again.
MAX_ADDRESS_AGE = 30.0

Key = TypeVar("Key", bound=Hashable)
# Why a request is given up; None is to go on with it.
Cancellation = Callable[[Key], str | None]


@dataclass(frozen=True, kw_only=True)
class TransportOptions(Generic[Key]):
    # Whether targets may be in private networks, and the networks that nobody may call.
    allow_private: bool
    denied: str = ""
    # Replaces the guard's opinion of an address.
    refuse_address: RefuseAddress | None = None
    # Asked when a request's turn has come; False means not to send it.
    may_start: Callable[[Key], bool] = lambda _key: True
    # Requests of different tenants take turns.
    tenant_of: Callable[[Key], Hashable] = lambda _key: None
    # How many requests a tenant may have in flight here; None is no limit of its own.
    tenant_limit: Callable[[Any], int] | None = None
    max_in_flight: int = 1000
    max_per_host: int = 100
    resolve: Resolve | None = None
    # Seconds that name servers have to answer, and that a request waits to ask them.
    lookup_timeout: float = 5.0
    turn_timeout: float = 10.0
    # Seconds for which addresses are used without asking again.
    name_lifetime: float = FRESH_LIFETIME
    ca_file: str | None = None


class Transport(Generic[Key]):
    """Sends requests and reports the result of each exactly once, in its own thread."""

    def __init__(
        self,
        on_result: Callable[[Key, HttpResult], None],
        options: TransportOptions[Key],
    ) -> None:
        self._on_result = on_result
        self._options = options
        self._refuse_address = options.refuse_address or partial(
            guard.address_refusal,
            allow_private=options.allow_private,
            denied=options.denied,
        )
        self._lock = threading.Lock()
        self._inbox: deque[tuple[Key, Request, float]] = deque()
        # Requests whose addresses are known, by the times at which they may start. They
        # have numbers, because transfers cannot be compared.
        self._early: list[tuple[float, int, Transfer]] = []
        self._numbers = itertools.count()
        self._cancellations: deque[Cancellation[Key]] = deque()
        self._accepted = 0
        self._answered = 0
        self._stop_at: float | None = None
        self._is_over = False
        self._multi = MultiHandle(
            max_connections=options.max_in_flight,
            ca_file=options.ca_file or certifi.where(),
        )
        self._queues = HostQueues(
            max_in_flight=options.max_in_flight,
            max_per_host=options.max_per_host,
            tenant_limit=options.tenant_limit,
        )
        self._crowd_check_at = 0.0
        # By the monotonic clock: when the thread was last at work.
        self.active_at = time.monotonic()
        self._addresses = AddressCache(
            options.resolve or Resolver(),
            patience=options.lookup_timeout,
            turn_patience=options.turn_timeout,
            lifetime=options.name_lifetime,
            wake=self._multi.wake,
        )
        self._thread = threading.Thread(target=self._run, name="transport", daemon=True)

    @property
    def in_flight(self) -> int:
        """How many requests were accepted and are not answered yet."""
        return self._accepted - self._answered

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def send(self, key: Key, request: Request, not_before: float = 0.0) -> None:
        """Accept a request that starts at a time of the monotonic clock, or later.

        A closed transport raises RuntimeError.
        """
        with self._lock:
            if self._is_over:
                raise RuntimeError("The transport is closed.")
            self._accepted += 1
            self._inbox.append((key, request, not_before))
        self._multi.wake()

    def cancel(self, reason_of: Cancellation[Key]) -> None:
        """Give up the requests that wait or are in flight, and have a reason for it.

        A request whose name is being looked up is left to `may_start`.
        """
        self._cancellations.append(reason_of)
        self._multi.wake()

    def close(self, *, grace: float) -> None:
        """Start nothing new, give what is in flight `grace` seconds, then abort it."""
        with self._lock:
            if self._stop_at is None:
                self._stop_at = time.monotonic() + grace
                if self._thread.ident is None:
                    self._thread.start()
        self._multi.wake()
        # The caller does not wait for ever for what is stuck.
        self._thread.join(grace + ABORT_TIMEOUT)

    def _run(self) -> None:
        try:
            while self._stop_at is None or self._wind_down(self._stop_at):
                self._turn()
        except Exception:
            logger.exception("transport failed", extra={"action": "transport.failed"})
        finally:
            self._end()

    def _turn(self) -> None:
        self.active_at = time.monotonic()
        self._multi.wait(self._patience)
        for transfer, end in self._multi.pop_ended():
            self._complete(transfer, end)
        self._read_inbox()
        for transfer, found in self._addresses.pop_answered():
            self._enqueue(transfer, found)
        self._release_early()
        self._cancel_requests()
        self._give_up_crowded()
        while self._stop_at is None and (begun := self._queues.pop()):
            self._begin(begun)
        self._multi.kick()

    def _patience(self) -> float:
        """How long nothing needs doing here, unless a socket or a thread wakes us."""
        if self._inbox or self._cancellations:
            return 0.0
        now = time.monotonic()
        waits = [
            MAX_TURN_WAIT,
            self._multi.patience(),
            self._addresses.patience(),
            self._crowd_check_at - now if self._queues.waiting else None,
            self._early[0][0] - now if self._early else None,
            None if self._stop_at is None else self._stop_at - now,
        ]
        return max(0.0, min(wait for wait in waits if wait is not None))

    def _read_inbox(self) -> None:
        while self._inbox:
            key, request, not_before = self._inbox.popleft()
            try:
                url = guard.read_url(
                    request.url,
                    allow_private=self._options.allow_private,
                    denied=self._options.denied,
                )
            except guard.RefusedTarget as refusal:
                self._report(key, HttpResult(None, str(refusal), 0))
                continue
            except Exception as error:  # noqa: BLE001 (one URL must not end the thread)
                _log_invalid(error)
                self._report(key, HttpResult(None, results.INVALID_REQUEST, 0))
                continue
            tenant = self._options.tenant_of(key)
            transfer = Transfer(
                key, request, url, self._refuse_address, tenant, not_before
            )
            transfer.is_repeated = request.is_sent_once
            self._look_up(transfer)

    def _look_up(self, transfer: Transfer) -> None:
        """Find its addresses before it takes a place that others could use."""
        now = transfer.started_at = time.monotonic()
        if transfer.url.is_address:
            self._enqueue(transfer, [transfer.url.target.host])
        elif found := self._addresses.get(transfer.url.target.host, now):
            self._enqueue(transfer, found)
        else:
            self._addresses.look_up(transfer)

    def _enqueue(self, transfer: Transfer, found: LookupResult) -> None:
        """Let it wait for its turn at its host, or report that it has no address."""
        if isinstance(found, Unresolved):
            # A process that cannot open a socket cannot ask a name server.
            is_starved = descriptors.are_exhausted()
            result = (
                results.STARVED_RESULT
                if is_starved
                else results.UNRESOLVED_RESULTS[found]
            )
            waited_ms = round((time.monotonic() - transfer.started_at) * 1000)
            self._report(transfer.key, result._replace(duration_ms=waited_ms))
            return
        transfer.addresses = tuple(found)
        transfer.resolved_at = time.monotonic()
        if transfer.not_before > transfer.resolved_at:
            early = (transfer.not_before, next(self._numbers), transfer)
            heapq.heappush(self._early, early)
        else:
            self._let_wait(transfer, transfer.resolved_at)

    def _release_early(self) -> None:
        """Let the requests wait for their turn whose time has come."""
        now = time.monotonic()
        while self._early and self._early[0][0] <= now:
            self._let_wait(heapq.heappop(self._early)[2], now)

    def _let_wait(self, transfer: Transfer, now: float) -> None:
        has_waited = transfer.waits_since > 0
        transfer.waits_since = transfer.waits_since or now
        self._queues.add(transfer, is_first=has_waited)

    def _give_up_crowded(self) -> None:
        """Give up requests for which others of their tenants would wait for long."""
        now = time.monotonic()
        if now < self._crowd_check_at:
            return
        self._crowd_check_at = now + CROWD_CHECK_INTERVAL
        for transfer, pause in self._queues.pop_crowded(now):
            self._report(transfer.key, results.CROWDED_RESULT._replace(pause=pause))

    def _cancel_requests(self) -> None:
        while self._cancellations:
            reason_of = self._cancellations.popleft()
            for transfer in self._queues.withdraw(_has_reason(reason_of)):
                self._report(
                    transfer.key, results.make_cancelled(reason_of(transfer.key))
                )
            for transfer in self._multi.abort(_has_reason(reason_of)):
                self._finish(
                    transfer,
                    error=reason_of(transfer.key) or "",
                    trouble=Trouble.CANCELLED,
                )

    def _begin(self, transfer: Transfer) -> None:
        now = time.monotonic()
        age = now - transfer.resolved_at
        if age > MAX_ADDRESS_AGE and not transfer.url.is_address:
            self._queues.release(transfer)
            self._look_up(transfer)
            return
        transfer.started_at = now
        transfer.deadline = now + transfer.request.timeout
        if not self._options.may_start(transfer.key):
            self._finish(transfer, error=results.TURN_TOO_LATE, was_sent=False)
        else:
            self._transfer(transfer)

    def _transfer(self, transfer: Transfer) -> None:
        # One bad address among good ones is how rebinding looks.
        if any(map(self._refuse_address, transfer.addresses)):
            self._finish(transfer, error=ADDRESS_NOT_ALLOWED)
            return
        try:
            curl = self._multi.prepare(transfer)
        except Exception as error:  # noqa: BLE001 (one request must not end the thread)
            if _is_out_of_memory(error):
                self._starve(transfer)
            else:
                _log_invalid(error)
                self._finish(transfer, error=results.INVALID_REQUEST)
            return
        self._multi.add(curl, transfer)

    def _complete(self, transfer: Transfer, end: TransferEnd) -> None:
        if end.is_lost:
            # Once more, on a connection of its own; its time goes on.
            transfer.is_repeated = True
            self._transfer(transfer)
        elif end.is_starved:
            self._starve(transfer)
        else:
            self._finish(
                transfer,
                status_code=end.status_code,
                retry_after=end.retry_after,
                error=end.error,
            )

    def _starve(self, transfer: Transfer) -> None:
        self._finish(
            transfer,
            error=results.WORKER_STARVED,
            was_sent=False,
            trouble=Trouble.LOCAL,
        )

    def _finish(
        self,
        transfer: Transfer,
        *,
        status_code: int | None = None,
        retry_after: int = 0,
        error: str,
        was_sent: bool = True,
        trouble: Trouble | None = None,
    ) -> None:
        self._queues.release(transfer)
        duration_ms = round((time.monotonic() - transfer.started_at) * 1000)
        answer = b"" if error else transfer.answer
        self._report(
            transfer.key,
            HttpResult(
                status_code,
                error,
                duration_ms,
                answer,
                retry_after,
                transfer.no_retry and not error,
                was_sent,
                trouble,
            ),
        )

    def _report(self, key: Key, result: HttpResult) -> None:
        self._answered += 1
        try:
            self._on_result(key, result)
        except Exception:
            logger.exception("on_done failed", extra={"action": "outcome.lost"})

    def _wind_down(self, stop_at: float) -> bool:
        """Withdraw what was not sent; returns whether to wait on for what was."""
        self._read_inbox()
        waiting = self._queues.withdraw(lambda _transfer: True)
        early = [transfer for _, _, transfer in self._early]
        self._early.clear()
        for transfer in (*waiting, *early, *self._addresses.drain()):
            self._report(transfer.key, results.STOPPING_RESULT)
        return bool(self._multi) and time.monotonic() < stop_at

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
        self._wind_down(0.0)
        for transfer in self._multi.abort(lambda _transfer: True):
            self._finish(transfer, error=results.REQUEST_ABORTED)
        self._multi.close()


def _has_reason(reason_of: Cancellation[Any]) -> Callable[[Transfer], bool]:
    return lambda transfer: reason_of(transfer.key) is not None


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a request was not made for want of memory."""
    codes = (pycurl.E_OUT_OF_MEMORY, pycurl.E_FAILED_INIT)
    return isinstance(error, MemoryError) or (
        isinstance(error, pycurl.error) and error.args[:1] and error.args[0] in codes
    )


def _log_invalid(error: Exception) -> None:
    logger.error("A request cannot be sent: %s", faults.summarize(error))
