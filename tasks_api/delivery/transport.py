"""The only place that opens a socket to a target: one thread drives all requests under way."""

from __future__ import annotations

import errno
import heapq
import logging
import os
import selectors
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import certifi
import pycurl

from tasks_api.delivery import guard
from tasks_api.delivery.request import BODILESS, Outcome, Request

logger = logging.getLogger(__name__)

# What a target answers with, and true, that wants a run not to be tried again.
NO_RETRY = b"x-scheduler-no-retry"
MAX_ANSWER_BYTES = 16 * 1024
# Handles that were used and wait to be used again.
MAX_SPARE_HANDLES = 200
# Requests that an attempt may put on the wire, the first and one that repeats it.
MOST_SENDINGS = 2
# Long enough for a burst to ask once, too short for anybody to notice that a host moved.
NAME_LIFETIME = 5.0
# getaddrinfo blocks for as long as a name server likes; so many may hang at once.
MAX_LOOKUPS = 32

NOT_ALLOWED = "target address is not allowed"
NOT_FOUND = "could not resolve host"
TOO_LATE = "not sent: its turn came too late"
STOPPING = "not sent: the service is stopping"
ABORTED = "aborted: the service is stopping"

Key = TypeVar("Key", bound=Hashable)
Place = tuple[str, int]
Resolve = Callable[[str, int], list[str]]
Refusal = Callable[[str], str | None]

# libcurl's other defaults are the ones wanted: no redirects, no cookies, no .netrc,
# certificate and host name verified, a body that is never unpacked.
_OPTIONS = (
    (pycurl.NOSIGNAL, 1),
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
    (pycurl.PATH_AS_IS, 1),
    # Otherwise http_proxy and its kind in the environment decide where requests go.
    (pycurl.PROXY, ""),
    (pycurl.NOPROXY, "*"),
    # pycurl would name itself where the caller names nobody.
    (pycurl.USERAGENT, ""),
    (pycurl.MAXAGE_CONN, 60),
    # A busy connection is never idle, and would stay with an address its name has left.
    (pycurl.MAXLIFETIME_CONN, 60),
)
# A name without a value keeps libcurl from sending a header of its own.
_HEADERS = ["Accept-Encoding: identity", "Content-Type:", "Expect:"]

_TOO_LARGE = 100  # CURLE_TOO_LARGE, which pycurl has no name for
_ERRORS = {
    pycurl.E_COULDNT_RESOLVE_HOST: NOT_FOUND,
    pycurl.E_COULDNT_CONNECT: "could not connect",
    pycurl.E_GOT_NOTHING: "connection closed without an answer",
    pycurl.E_SEND_ERROR: "connection reset",
    pycurl.E_RECV_ERROR: "connection reset",
    pycurl.E_PARTIAL_FILE: "connection closed in the middle of the answer",
    pycurl.E_UNSUPPORTED_PROTOCOL: "answer is not HTTP",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "answer is not HTTP",
    _TOO_LARGE: "answer has too many headers",
}
_CONNECT_ERRORS = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
}
_TLS_ERRORS = (pycurl.E_SSL_CONNECT_ERROR, pycurl.E_PEER_FAILED_VERIFICATION)


def resolve_name(host: str, port: int) -> list[str]:
    """Every address of a name, in the order in which they should be tried."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


@dataclass(eq=False, slots=True)
class _Attempt:
    """One accepted request, with what libcurl reports about it."""

    key: Any
    request: Request
    url: guard.WireUrl
    refusal: Refusal
    started_at: float = 0.0
    deadline: float = 0.0
    answer: bytes = b""
    is_full: bool = False
    was_refused: bool = False
    sendings: int = 0
    no_retry: bool = False

    @property
    def place(self) -> Place:
        return self.url.target.host, self.url.target.port

    def open_socket(self, _purpose: int, address: tuple[Any, ...]) -> Any:
        """Connect to nothing but an address that was checked, here and now."""
        family, kind, protocol, sockaddr = address
        is_internet = family in (socket.AF_INET, socket.AF_INET6)
        if not is_internet or self.refusal(sockaddr[0]):
            self.was_refused = True
            return pycurl.SOCKET_BAD
        try:
            # Detached, because libcurl is the one to close it.
            return socket.socket(family, kind, protocol).detach()
        except OSError:
            logger.exception("no socket", extra={"action": "transport.starved"})
            return pycurl.SOCKET_BAD

    def on_sending(self, *_addresses: Any) -> int:
        """Let it leave once more at most, if a kept connection was closed under it.

        libcurl alone would try five more of them.
        """
        self.sendings += 1
        is_enough = self.sendings > MOST_SENDINGS
        return int(pycurl.PREREQFUNC_ABORT if is_enough else pycurl.PREREQFUNC_OK)

    def on_header(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name.lower() == NO_RETRY:
            self.no_retry = value.strip().lower() == b"true"

    def on_body(self, chunk: bytes) -> int | None:
        self.answer += chunk[: MAX_ANSWER_BYTES - len(self.answer)]
        self.is_full = len(self.answer) >= MAX_ANSWER_BYTES
        return -1 if self.is_full else None

    def error(self, curl: Any, code: int, message: str) -> str:
        """One short sentence that names no address."""
        if self.is_full or code == pycurl.E_OK:
            return ""
        if self.was_refused:
            return NOT_ALLOWED
        if self.sendings > MOST_SENDINGS:
            return _ERRORS[pycurl.E_RECV_ERROR]
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return self.timed_out
        if code in _TLS_ERRORS:
            return f"TLS: {message[:200]}"
        if code == pycurl.E_COULDNT_CONNECT:
            number = curl.getinfo(pycurl.OS_ERRNO)
            return _CONNECT_ERRORS.get(number, "could not connect")
        return _ERRORS.get(code, f"request failed (libcurl error {code})")

    @property
    def timed_out(self) -> str:
        return f"timed out after {self.request.timeout:g} s"


@dataclass(eq=False, slots=True)
class _Host:
    """The attempts to one host and port."""

    waiting: deque[_Attempt] = field(default_factory=deque)
    running: int = 0
    is_ready: bool = False


class _Queues:
    """Who is next: hosts take turns, and one at its limit holds up nobody else."""

    def __init__(self, *, max_in_flight: int, max_per_host: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_per_host = max_per_host
        self._running = 0
        self._hosts: dict[Place, _Host] = {}
        self._ready: deque[tuple[Place, _Host]] = deque()

    def add(self, attempt: _Attempt) -> None:
        place = attempt.place
        if (host := self._hosts.get(place)) is None:
            host = self._hosts[place] = _Host()
        host.waiting.append(attempt)
        self._line_up(place, host)

    def next(self) -> _Attempt | None:
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

    def release(self, attempt: _Attempt) -> None:
        place = attempt.place
        host = self._hosts[place]
        host.running -= 1
        self._running -= 1
        if host.waiting:
            self._line_up(place, host)
        elif not host.running:
            del self._hosts[place]

    def drain(self) -> list[_Attempt]:
        """Everything that waits, which will not be started any more."""
        self._ready.clear()
        drained: list[_Attempt] = []
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


@dataclass(eq=False, slots=True)
class _Lookup:
    """A question to the name servers, with the attempts that wait for its answer."""

    place: Place
    waiters: dict[_Attempt, None] = field(default_factory=dict)
    # Stays None if nobody waited any more when its turn came, so that nobody was asked.
    addresses: list[str] | None = None


class _Names:
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
        self._deadlines: list[tuple[float, int, _Attempt, _Lookup]] = []
        self._serial = count()

    def known(self, place: Place, now: float) -> list[str] | None:
        """The addresses of a name that was looked up a moment ago."""
        while self._known and next(iter(self._known.values()))[0] <= now:
            self._known.popitem(last=False)
        entry = self._known.get(place)
        return entry[1] if entry else None

    def ask(self, attempt: _Attempt) -> None:
        """Let an attempt wait for its addresses, together with others of its host."""
        place = attempt.place
        if (lookup := self._lookups.get(place)) is None:
            lookup = self._lookups[place] = _Lookup(place)
            self._put(lookup)
        lookup.waiters[attempt] = None
        entry = (attempt.deadline, next(self._serial), attempt, lookup)
        heapq.heappush(self._deadlines, entry)

    def take_answered(self) -> Iterator[tuple[_Attempt, list[str]]]:
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

    def take_expired(self) -> Iterator[_Attempt]:
        """The attempts that waited for a name until their time was up."""
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, attempt, lookup = heapq.heappop(self._deadlines)
            if attempt in lookup.waiters:
                del lookup.waiters[attempt]
                yield attempt

    def drain(self) -> list[_Attempt]:
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


class _Sockets:
    """The sockets libcurl waits for, and a bell that wakes the thread that waits."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, int] = {}
        self._idle: set[int] = set()
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._is_awake = False

    def ring(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            # A full bell rings all the same; a closed one has nobody to wake.
            with suppress(OSError):
                self._bell.send(b"\0")

    def wait(self, patience: Callable[[], float | None]) -> list[tuple[int, int]]:
        """The sockets that are ready, and for what."""
        for fd in self._idle:
            del self._watched[fd]
            self._selector.unregister(fd)
        self._idle.clear()

        # Whoever has work from here on rings; `patience` sees all work from before.
        self._is_awake = False
        ready = self._selector.select(patience())
        self._is_awake = True

        if any(key.fileobj is self._ear for key, _ in ready):
            self._ear.recv(4096)
        return [(key.fd, mask) for key, mask in ready if key.fileobj is not self._ear]

    def on_interest(self, event: int, fd: int, _multi: Any, _data: Any) -> None:
        # libcurl lets go of a socket after each request, and takes it up again for the
        # next one on that connection, mostly at once. So it stays registered until the
        # thread would sleep, which saves two system calls a request.
        if event in (pycurl.POLL_NONE, pycurl.POLL_REMOVE):
            self._idle.add(fd)
            return
        self._idle.discard(fd)
        # The numbers for reading and writing are those of `selectors`.
        if fd not in self._watched:
            self._selector.register(fd, event)
        elif self._watched[fd] != event:
            self._selector.modify(fd, event)
        self._watched[fd] = event

    def on_open(self, fd: int, _purpose: int) -> int:
        # This number may have belonged to a socket that was closed while idle.
        if self._watched.pop(fd, None) is not None:
            self._idle.discard(fd)
            self._selector.unregister(fd)
        # pycurl's duplicate of our socket would outlive us in child processes.
        os.set_inheritable(fd, False)
        return int(pycurl.SOCKOPT_OK)

    def close(self) -> None:
        self._selector.close()
        self._bell.close()
        self._ear.close()


class _Handles:
    """libcurl's easy handles, ready to be given to the multi handle.

    Connections belong to that one. A handle that was used for plain requests of a method
    is used for the next of them: what differs between two is then set again, and that
    is less than what a new handle needs. One that knew credentials, or was asked to read
    headers, is not kept.
    """

    def __init__(self, ca_file: str, on_open: Callable[[int, int], int]) -> None:
        self._template = pycurl.Curl()
        for option, value in _OPTIONS:
            self._template.setopt(option, value)
        self._template.setopt(pycurl.CAINFO, ca_file)
        self._template.setopt(pycurl.SOCKOPTFUNCTION, on_open)
        self._spare: dict[str, list[Any]] = {}

    def take(self, attempt: _Attempt, addresses: list[str]) -> Any:
        request, url = attempt.request, attempt.url
        spare = self._spare.get(request.method)
        if spare and _is_plain(attempt):
            curl = spare.pop()
        else:
            curl = self._make(request.method, url)
        curl.setopt(pycurl.URL, str(url))
        if not url.is_address:
            curl.setopt(pycurl.RESOLVE, [_pin(url.target, addresses)])
        curl.setopt(pycurl.HTTPHEADER, _header_lines(request.headers))
        if request.method not in BODILESS:
            curl.setopt(pycurl.POSTFIELDS, request.body)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, attempt.open_socket)
        curl.setopt(pycurl.PREREQFUNCTION, attempt.on_sending)
        curl.setopt(pycurl.WRITEFUNCTION, attempt.on_body)
        if request.may_be_told:
            curl.setopt(pycurl.HEADERFUNCTION, attempt.on_header)
        # Zero would mean for ever.
        left_ms = int((attempt.deadline - time.monotonic()) * 1000)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, left_ms))
        return curl

    def give_back(self, curl: Any, attempt: _Attempt) -> None:
        spare = self._spare.setdefault(attempt.request.method, [])
        if _is_plain(attempt) and len(spare) < MAX_SPARE_HANDLES:
            spare.append(curl)
        else:
            curl.close()

    def close(self) -> None:
        for spare in self._spare.values():
            for curl in spare:
                curl.close()
        self._spare.clear()

    def _make(self, method: str, url: guard.WireUrl) -> Any:
        curl = self._template.duphandle()
        if url.credentials is not None:
            curl.setopt(pycurl.USERNAME, url.credentials[0])
            curl.setopt(pycurl.PASSWORD, url.credentials[1])
        if method == "HEAD":
            curl.setopt(pycurl.NOBODY, 1)
        elif method not in {"GET", "POST"}:
            curl.setopt(pycurl.CUSTOMREQUEST, method)
        return curl


def _is_plain(attempt: _Attempt) -> bool:
    return attempt.url.credentials is None and not attempt.request.may_be_told


class Transport(Generic[Key]):
    """Sends requests and reports each outcome exactly once, in its own thread."""

    def __init__(
        self,
        *,
        on_done: Callable[[Key, Outcome], None],
        allow_private: bool,
        may_start: Callable[[Key], bool] | None = None,
        max_in_flight: int = 1000,
        max_per_host: int = 100,
        resolve: Resolve = resolve_name,
        refusal: Refusal | None = None,
        name_lifetime: float = NAME_LIFETIME,
        ca_file: str | None = None,
    ) -> None:
        """`may_start` is asked when a request's turn has come; no means not to send it.

        `refusal` replaces the guard's opinion of an address.
        """
        self._on_done = on_done
        self._may_start = may_start or (lambda _key: True)
        self._allow_private = allow_private
        self._refusal = refusal or (_never if allow_private else guard.address_refusal)
        self._lock = threading.Lock()
        self._inbox: deque[tuple[Key, Request]] = deque()
        self._accepted = 0
        self._answered = 0
        self._stop_at: float | None = None
        self._is_over = False

        self._sockets = _Sockets()
        self._queues = _Queues(max_in_flight=max_in_flight, max_per_host=max_per_host)
        self._names = _Names(resolve, lifetime=name_lifetime, wake=self._sockets.ring)
        self._active: dict[Any, _Attempt] = {}
        self._handles = _Handles(ca_file or certifi.where(), self._sockets.on_open)
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
        self._thread.join()

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
        for attempt, addresses in self._names.take_answered():
            self._transfer(attempt, addresses)
        for expired in self._names.take_expired():
            self._finish(expired, error=expired.timed_out)
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
                url = guard.read_url(request.url, allow_private=self._allow_private)
            except guard.RefusedTarget as refusal:
                self._report(key, Outcome(None, str(refusal), 0))
                continue
            attempt = _Attempt(key, request, url, self._refusal)
            self._queues.add(attempt)

    def _begin(self, attempt: _Attempt) -> None:
        now = time.monotonic()
        attempt.started_at = now
        attempt.deadline = now + attempt.request.timeout
        if not self._may_start(attempt.key):
            self._finish(attempt, error=TOO_LATE, was_sent=False)
        elif attempt.url.is_address:
            self._transfer(attempt, [attempt.url.target.host])
        elif addresses := self._names.known(attempt.place, now):
            self._transfer(attempt, addresses)
        else:
            self._names.ask(attempt)

    def _transfer(self, attempt: _Attempt, addresses: list[str]) -> None:
        if not addresses:
            self._finish(attempt, error=NOT_FOUND)
            return
        # One bad answer among good ones is how rebinding looks.
        if any(self._refusal(address) for address in addresses):
            self._finish(attempt, error=NOT_ALLOWED)
            return
        try:
            curl = self._handles.take(attempt, addresses)
        except (pycurl.error, TypeError, ValueError, OverflowError):
            logger.exception("request unfit", extra={"action": "attempt.unfit"})
            self._finish(attempt, error="request cannot be sent as it is")
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
        error = attempt.error(curl, code, message)
        status = None if error else curl.getinfo(pycurl.RESPONSE_CODE)
        retry_after = (
            curl.getinfo(pycurl.RETRY_AFTER) if status and status >= 300 else 0
        )
        self._multi.remove_handle(curl)
        self._handles.give_back(curl, attempt)
        self._finish(attempt, status_code=status, retry_after=retry_after, error=error)

    def _finish(
        self,
        attempt: _Attempt,
        *,
        status_code: int | None = None,
        retry_after: int = 0,
        error: str,
        was_sent: bool = True,
    ) -> None:
        self._queues.release(attempt)
        duration_ms = round((time.monotonic() - attempt.started_at) * 1000)
        answer = b"" if error else attempt.answer
        self._report(
            attempt.key,
            Outcome(
                status_code,
                error,
                duration_ms,
                answer,
                retry_after,
                attempt.no_retry and not error,
                was_sent,
            ),
        )

    def _report(self, key: Key, outcome: Outcome) -> None:
        self._answered += 1
        try:
            self._on_done(key, outcome)
        except Exception:
            logger.exception("on_done failed", extra={"action": "outcome.lost"})

    def _winds_down(self, stop_at: float) -> bool:
        """Withdraw what was not sent; whether to wait on for what was."""
        self._take_in()
        for attempt in self._queues.drain():
            self._report(attempt.key, Outcome(None, STOPPING, 0, was_sent=False))
        for attempt in self._names.drain():
            self._finish(attempt, error=STOPPING, was_sent=False)
        return bool(self._active) and time.monotonic() < stop_at

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
        self._winds_down(0.0)
        for curl, attempt in list(self._active.items()):
            self._multi.remove_handle(curl)
            curl.close()
            self._finish(attempt, error=ABORTED)
        self._handles.close()
        self._names.close()
        self._multi.close()
        self._sockets.close()


def _never(_address: str) -> None:
    return None


def _pin(target: guard.Target, addresses: list[str]) -> str:
    """An entry for libcurl's own table of names, so that it asks nobody else."""
    listed = ",".join(f"[{a}]" if ":" in a else a for a in addresses)
    # The plus lets the entry expire, or every name ever called would stay in memory.
    return f"+{target.host}:{target.port}:{listed}"


def _header_lines(headers: tuple[tuple[str, str], ...]) -> list[str]:
    # Without a value, a colon would mean "leave this header out".
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers]
    whole = "".join(lines)
    if "\n" in whole or "\r" in whole:
        raise ValueError("A header contains a line break.")
    return lines + _HEADERS
