"""Send requests: one thread drives all that are under way, through libcurl's multi handle."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

import certifi
import pycurl

from tasks_api.delivery import descriptors, faults
from tasks_api.delivery.curl_handles import CurlHandles
from tasks_api.delivery.dns import FRESH_LIFETIME, AddressCache
from tasks_api.delivery.host_queues import HostQueues
from tasks_api.delivery.request import HttpResult, Request
from tasks_api.delivery.resolver import LookupResult, Resolve, Resolver, Unresolved
from tasks_api.delivery.sockets import SocketSelector
from tasks_api.delivery.transfers import (
    ADDRESS_NOT_ALLOWED,
    HOST_NOT_FOUND,
    RefuseAddress,
    Transfer,
)
from tasks_api.domain import guard
from tasks_api.domain.states import Trouble

logger = logging.getLogger(__name__)

TURN_TOO_LATE = "not sent: its turn came too late"
SERVICE_STOPPING = "not sent: the service is stopping"
WORKER_STARVED = "not sent: the worker lacked memory or a free socket"
INVALID_REQUEST = "request cannot be sent as it is"
REQUEST_ABORTED = "aborted: the service is stopping"
# Seconds in which the thread aborts what is under way when its time is up.
ABORT_TIMEOUT = 1.0

STARVED_RESULT = HttpResult(
    None, WORKER_STARVED, 0, was_sent=False, trouble=Trouble.LOCAL
)
CROWDED_RESULT = HttpResult(
    None,
    "its host is slow, and other hosts of its tenant wait",
    0,
    was_sent=False,
    trouble=Trouble.CROWDED,
)
# How often hosts are looked at that hold up others.
CROWD_CHECK_INTERVAL = 1.0
# Addresses that waited longer for their turn are asked for again.
MAX_ADDRESS_AGE = 30.0

# What there is to say of a request without an address. Nothing of it was sent.
_UNRESOLVED_RESULTS = {
    Unresolved.MISSING: HttpResult(None, HOST_NOT_FOUND, 0),
    Unresolved.BROKEN: HttpResult(None, HOST_NOT_FOUND, 0),
    Unresolved.SILENT: HttpResult(
        None,
        f"{HOST_NOT_FOUND}: its name servers do not answer",
        0,
        was_sent=False,
        trouble=Trouble.SILENT_NAMES,
    ),
    Unresolved.CROWDED: HttpResult(
        None,
        "too many other names of its tenant wait to be looked up",
        0,
        was_sent=False,
        trouble=Trouble.CROWDED,
    ),
}

Key = TypeVar("Key", bound=Hashable)


class Transport(Generic[Key]):
    """Sends requests and reports each outcome exactly once, in its own thread."""

    def __init__(
        self,
        *,
        on_done: Callable[[Key, HttpResult], None],
        allow_private: bool,
        denied: str = "",
        may_start: Callable[[Key], bool] | None = None,
        max_in_flight: int = 1000,
        max_per_host: int = 100,
        tenant_of: Callable[[Key], Hashable] | None = None,
        places_of: Callable[[Any], int] | None = None,
        resolve: Resolve | None = None,
        refusal: RefuseAddress | None = None,
        lookup_timeout: float = 5.0,
        turn_timeout: float = 10.0,
        name_lifetime: float = FRESH_LIFETIME,
        ca_file: str | None = None,
    ) -> None:
        """`may_start` is asked when a request's turn has come; no means not to send it.

        Those of different tenants, by `tenant_of`, take turns; `places_of` says how many
        a tenant may have here. `denied` lists networks that nobody may call, and `refusal`
        replaces the guard's opinion of an address.
        """
        self._on_done = on_done
        self._may_start = may_start or (lambda _key: True)
        self._tenant_of = tenant_of or (lambda _key: None)
        self._allow_private = allow_private
        self._denied = denied
        self._refusal = refusal or partial(
            guard.address_refusal, allow_private=allow_private, denied=denied
        )
        self._lock = threading.Lock()
        self._inbox: deque[tuple[Key, Request]] = deque()
        self._accepted = 0
        self._answered = 0
        self._stop_at: float | None = None
        self._is_over = False

        self._sockets = SocketSelector()
        self._queues = HostQueues(
            max_in_flight=max_in_flight,
            max_per_host=max_per_host,
            places_of=places_of,
        )
        self._look_at = 0.0
        self._names = AddressCache(
            resolve or Resolver(),
            patience=lookup_timeout,
            turn_patience=turn_timeout,
            lifetime=name_lifetime,
            wake=self._sockets.ring,
        )
        self._active: dict[Any, Transfer] = {}
        self._handles = CurlHandles(ca_file or certifi.where(), self._sockets.on_open)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._sockets.on_interest)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_in_flight)
        self._has_kicked = False
        self._thread = threading.Thread(target=self._run, name="transport", daemon=True)

    @property
    def in_flight(self) -> int:
        """How many were accepted and are not answered yet."""
        return self._accepted - self._answered

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def send(self, key: Key, request: Request) -> None:
        """Accept a request; a closed transport raises RuntimeError."""
        with self._lock:
            if self._is_over:
                raise RuntimeError("The transport is closed.")
            self._accepted += 1
            self._inbox.append((key, request))
        self._sockets.ring()

    def close(self, *, grace: float) -> None:
        """Start nothing new, give what is under way `grace` seconds, then abort it."""
        with self._lock:
            if self._stop_at is None:
                self._stop_at = time.monotonic() + grace
                if self._thread.ident is None:
                    self._thread.start()
        self._sockets.ring()
        # Whoever stops does not wait for ever for what is stuck.
        self._thread.join(grace + ABORT_TIMEOUT)

    def _run(self) -> None:
        try:
            while self._stop_at is None or self._winds_down(self._stop_at):
                self._turn()
        except Exception:
            logger.exception("transport failed", extra={"action": "transport.failed"})
        finally:
            self._end()

    def _turn(self) -> None:
        for fd, mask in self._sockets.wait(self._patience):
            self._multi.socket_action(fd, mask)
        self._collect()
        self._take_in()
        for attempt, found in self._names.take_answered():
            self._line_up(attempt, found)
        self._send_back()
        while self._stop_at is None and (begun := self._queues.next()):
            self._begin(begun)
        self._kick()

    def _patience(self) -> float | None:
        # A transfer may fail at once, which no socket tells.
        if self._inbox or self._has_kicked:
            return 0.0
        timeout_ms = self._multi.timeout()
        waits = [
            None if timeout_ms < 0 else timeout_ms / 1000,
            self._names.patience(),
            self._look_at - time.monotonic() if self._queues.waiting else None,
            None if self._stop_at is None else self._stop_at - time.monotonic(),
        ]
        known = [wait for wait in waits if wait is not None]
        return max(0.0, min(known)) if known else None

    def _kick(self) -> None:
        """Let libcurl do what needs no socket: begin transfers, end late ones."""
        self._has_kicked = self._multi.timeout() == 0
        if self._has_kicked:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _take_in(self) -> None:
        while self._inbox:
            key, request = self._inbox.popleft()
            try:
                url = guard.read_url(
                    request.url, allow_private=self._allow_private, denied=self._denied
                )
            except guard.RefusedTarget as refusal:
                self._report(key, HttpResult(None, str(refusal), 0))
                continue
            except Exception as error:  # noqa: BLE001 (one URL must not end the thread)
                _log_invalid(error)
                self._report(key, HttpResult(None, INVALID_REQUEST, 0))
                continue
            tenant = self._tenant_of(key)
            attempt = Transfer(key, request, url, self._refusal, tenant)
            self._look_up(attempt)

    def _look_up(self, attempt: Transfer) -> None:
        """Find out where it goes, before it takes a place that others could use."""
        now = attempt.started_at = time.monotonic()
        if attempt.url.is_address:
            self._line_up(attempt, [attempt.url.target.host])
        elif found := self._names.known(attempt.url.target.host, now):
            self._line_up(attempt, found)
        else:
            self._names.ask(attempt)

    def _line_up(self, attempt: Transfer, found: LookupResult) -> None:
        if isinstance(found, Unresolved):
            # Whoever cannot open a socket can ask nobody.
            outcome = (
                STARVED_RESULT
                if descriptors.are_exhausted()
                else _UNRESOLVED_RESULTS[found]
            )
            waited_ms = round((time.monotonic() - attempt.started_at) * 1000)
            self._report(attempt.key, outcome._replace(duration_ms=waited_ms))
            return
        attempt.addresses = tuple(found)
        attempt.resolved_at = time.monotonic()
        has_waited = attempt.waits_since > 0
        attempt.waits_since = attempt.waits_since or attempt.resolved_at
        self._queues.add(attempt, is_first=has_waited)

    def _send_back(self) -> None:
        """Give up those for which others of their tenants would wait for long."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + CROWD_CHECK_INTERVAL
        for attempt, pause in self._queues.take_crowded(now):
            self._report(attempt.key, CROWDED_RESULT._replace(pause=pause))

    def _begin(self, attempt: Transfer) -> None:
        now = time.monotonic()
        if now - attempt.resolved_at > MAX_ADDRESS_AGE and not attempt.url.is_address:
            self._queues.release(attempt)
            self._look_up(attempt)
            return
        attempt.started_at = now
        attempt.deadline = now + attempt.request.timeout
        if not self._may_start(attempt.key):
            self._finish(attempt, error=TURN_TOO_LATE, was_sent=False)
        else:
            self._transfer(attempt)

    def _transfer(self, attempt: Transfer) -> None:
        # One bad answer among good ones is how rebinding looks.
        if any(map(self._refusal, attempt.addresses)):
            self._finish(attempt, error=ADDRESS_NOT_ALLOWED)
            return
        try:
            curl = self._handles.acquire(attempt)
        except Exception as error:  # noqa: BLE001 (one request must not end the thread)
            if _is_out_of_memory(error):
                self._starve(attempt)
            else:
                _log_invalid(error)
                self._finish(attempt, error=INVALID_REQUEST)
            return
        self._active[curl] = attempt
        self._multi.add_handle(curl)

    def _collect(self) -> None:
        more = True
        while more:
            more, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._complete(curl, pycurl.E_OK, "")
            for curl, code, message in failed:
                self._complete(curl, code, message)

    def _complete(self, curl: Any, code: int, message: str) -> None:
        attempt = self._active.pop(curl)
        if attempt.is_lost(curl, code):
            self._repeat(curl, attempt)
            return
        is_starved = attempt.is_local_trouble(curl, code)
        error = attempt.error(curl, code, message)
        status = None if error else curl.getinfo(pycurl.RESPONSE_CODE)
        # Whoever has succeeded need not be asked again.
        retry_after = attempt.retry_after if status and status >= 300 else 0
        self._multi.remove_handle(curl)
        self._handles.release(curl, attempt)
        if is_starved:
            self._starve(attempt)
            return
        self._finish(attempt, status_code=status, retry_after=retry_after, error=error)

    def _repeat(self, curl: Any, attempt: Transfer) -> None:
        """Send it once more, on a connection of its own; its time goes on."""
        self._multi.remove_handle(curl)
        self._handles.release(curl, attempt)
        attempt.is_repeated = True
        self._transfer(attempt)

    def _starve(self, attempt: Transfer) -> None:
        self._finish(
            attempt, error=WORKER_STARVED, was_sent=False, trouble=Trouble.LOCAL
        )

    def _finish(
        self,
        attempt: Transfer,
        *,
        status_code: int | None = None,
        retry_after: int = 0,
        error: str,
        was_sent: bool = True,
        trouble: Trouble | None = None,
    ) -> None:
        self._queues.release(attempt)
        duration_ms = round((time.monotonic() - attempt.started_at) * 1000)
        answer = b"" if error else attempt.answer
        self._report(
            attempt.key,
            HttpResult(
                status_code,
                error,
                duration_ms,
                answer,
                retry_after,
                attempt.no_retry and not error,
                was_sent,
                trouble,
            ),
        )

    def _report(self, key: Key, outcome: HttpResult) -> None:
        self._answered += 1
        try:
            self._on_done(key, outcome)
        except Exception:
            logger.exception("on_done failed", extra={"action": "outcome.lost"})

    def _winds_down(self, stop_at: float) -> bool:
        """Withdraw what was not sent; whether to wait on for what was."""
        self._take_in()
        for attempt in (*self._queues.drain(), *self._names.drain()):
            self._report(
                attempt.key, HttpResult(None, SERVICE_STOPPING, 0, was_sent=False)
            )
        return bool(self._active) and time.monotonic() < stop_at

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
        self._winds_down(0.0)
        for curl, attempt in list(self._active.items()):
            self._multi.remove_handle(curl)
            curl.close()
            self._finish(attempt, error=REQUEST_ABORTED)
        self._handles.close()
        self._multi.close()
        self._sockets.close()


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a request was not made for want of memory."""
    lacks = (pycurl.E_OUT_OF_MEMORY, pycurl.E_FAILED_INIT)
    return isinstance(error, MemoryError) or (
        isinstance(error, pycurl.error) and error.args[:1] and error.args[0] in lacks
    )


def _log_invalid(error: Exception) -> None:
    logger.error("A request cannot be sent: %s", faults.summarize(error))
