"""One request in flight: its socket to an address that was checked, and how it ends."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pycurl

from tasks_api.delivery import descriptors, retry
from tasks_api.delivery.request import Request
from tasks_api.domain import guard

# The header, with the value `true`, by which a target refuses further attempts.
NO_RETRY = b"x-scheduler-no-retry"
RETRY_AFTER = b"retry-after"
DATE = b"date"
MAX_ANSWER_BYTES = 16 * 1024
ADDRESS_NOT_ALLOWED = "target address is not allowed"
HOST_NOT_FOUND = "could not resolve host"

HostPort = tuple[str, int]
RefuseAddress = Callable[[str], str | None]

_TOO_LARGE = 100  # CURLE_TOO_LARGE, which pycurl has no name for
_ERRORS = {
    pycurl.E_COULDNT_RESOLVE_HOST: HOST_NOT_FOUND,
    pycurl.E_COULDNT_CONNECT: "could not connect",
    pycurl.E_GOT_NOTHING: "connection closed without an answer",
    pycurl.E_SEND_ERROR: "connection reset",
    pycurl.E_RECV_ERROR: "connection reset",
    pycurl.E_ABORTED_BY_CALLBACK: "connection reset",
    pycurl.E_PARTIAL_FILE: "connection closed in the middle of the answer",
    pycurl.E_UNSUPPORTED_PROTOCOL: "answer is not HTTP",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "answer is not HTTP",
    _TOO_LARGE: "answer has too many headers",
}
# The last is our own refusal to try another kept connection.
_CONNECTION_LOST = frozenset(
    {
        pycurl.E_GOT_NOTHING,
        pycurl.E_SEND_ERROR,
        pycurl.E_RECV_ERROR,
        pycurl.E_ABORTED_BY_CALLBACK,
    }
)
_CONNECT_ERRORS = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
}
# Where libcurl may have lacked a descriptor or memory without saying so.
_MAYBE_LOCAL_ERRORS = {
    pycurl.E_FAILED_INIT,
    pycurl.E_COULDNT_RESOLVE_HOST,
    pycurl.E_COULDNT_CONNECT,
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_SSL_CACERT_BADFILE,
}
_TLS_ERRORS = (pycurl.E_SSL_CONNECT_ERROR, pycurl.E_PEER_FAILED_VERIFICATION)


@dataclass(eq=False, slots=True)
class Transfer:
    """One accepted request, with what libcurl reports about it."""

    key: Any
    request: Request
    url: guard.WireUrl
    refusal: RefuseAddress
    tenant: Hashable = None
    # The time of the monotonic clock before which it does not start.
    not_before: float = 0.0
    # The addresses of its host, and when they were found.
    addresses: tuple[str, ...] = ()
    resolved_at: float = 0.0
    waits_since: float = 0.0
    started_at: float = 0.0
    deadline: float = 0.0
    # What libcurl was told: milliseconds from the begin of the transfer.
    timeout_ms: int = 0
    answer: bytes = b""
    is_full: bool = False
    was_refused: bool = False
    # This machine had no socket for it.
    is_starved: bool = False
    has_tried_ipv6: bool = False
    # Connections that were opened for it, and requests put on the wire.
    openings: int = 0
    sendings: int = 0
    is_repeated: bool = False
    # The answer's headers, as far as they are asked for.
    headers: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def host_port(self) -> HostPort:
        return self.url.target.host, self.url.target.port

    def open_socket(self, _purpose: int, address: tuple[Any, ...]) -> Any:
        """Open a socket, but only to an address that is allowed."""
        family, kind, protocol, sockaddr = address
        is_internet = family in (socket.AF_INET, socket.AF_INET6)
        if not is_internet or self.refusal(sockaddr[0]):
            self.was_refused = True
            return pycurl.SOCKET_BAD
        self.openings += 1
        self.has_tried_ipv6 |= family == socket.AF_INET6
        try:
            # Detached, because libcurl is the one to close it.
            return socket.socket(family, kind, protocol).detach()
        except OSError as error:
            self.is_starved = error.errno in descriptors.LOCAL_ERRNOS
            return pycurl.SOCKET_BAD

    def on_sending(self, *_addresses: Any) -> int:
        """Let it leave once, and once more if a kept connection was closed under it.

        The second time must be on a fresh connection: libcurl alone would try five more
        kept ones, of a target that may have closed them all.
        """
        self.sendings += 1
        if self.sendings == 1 or (self.sendings == 2 and self.openings):
            return int(pycurl.PREREQFUNC_OK)
        self.sendings -= 1
        return int(pycurl.PREREQFUNC_ABORT)

    def is_lost(self, curl: Any, code: int) -> bool:
        """Whether a kept connection was closed under it before anything came back.

        Most likely the target closed it while the request was on its way, and has not seen
        the request (RFC 9112, 9.3.1). A target that has seen it recognises it by its
        Idempotency-Key, so it may be repeated whatever its method (RFC 9110, 9.2.2).
        """
        return (
            code in _CONNECTION_LOST
            and self.sendings == 1
            and not (self.openings or self.is_repeated)
            and not curl.getinfo(pycurl.HEADER_SIZE)
        )

    def on_header(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in (NO_RETRY, RETRY_AFTER, DATE):
            self.headers[name] = value.strip()
        elif name.startswith(b"http/"):
            # Another answer begins, after an interim one.
            self.headers.clear()

    @property
    def no_retry(self) -> bool:
        return self.headers.get(NO_RETRY, b"").lower() == b"true"

    @property
    def retry_after(self) -> int:
        """Seconds. Not as libcurl reads it, which never says more than six hours."""
        asked = self.headers.get(RETRY_AFTER)
        if not asked:
            return 0
        date = self.headers.get(DATE, b"")
        return retry.parse_retry_after(asked, date, now=datetime.now(UTC))

    def on_body(self, chunk: bytes) -> int | None:
        self.answer += chunk[: MAX_ANSWER_BYTES - len(self.answer)]
        self.is_full = len(self.answer) >= MAX_ANSWER_BYTES
        return -1 if self.is_full else None

    def is_local_trouble(self, curl: Any, code: int) -> bool:
        """Whether nothing was sent because of what this machine lacks."""
        if code == pycurl.E_OK or self.sendings or self.was_refused:
            return False
        if self.is_starved or code == pycurl.E_OUT_OF_MEMORY:
            return True
        number = curl.getinfo(pycurl.OS_ERRNO)
        # Without IPv6 it is what every IPv6 address answers, and for good.
        if number == errno.EADDRNOTAVAIL and self.has_tried_ipv6:
            return False
        if code == pycurl.E_COULDNT_CONNECT and number in descriptors.LOCAL_ERRNOS:
            return True
        return code in _MAYBE_LOCAL_ERRORS and descriptors.are_exhausted()

    def error(self, curl: Any, code: int, message: str) -> str:
        """One short sentence that names no address."""
        if self.is_full or code == pycurl.E_OK:
            return ""
        if self.was_refused:
            return ADDRESS_NOT_ALLOWED
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return f"timed out after {self.request.timeout:g} s"
        if code in _TLS_ERRORS:
            return f"TLS: {message[:200]}"
        if code == pycurl.E_COULDNT_CONNECT:
            number = curl.getinfo(pycurl.OS_ERRNO)
            return _CONNECT_ERRORS.get(number, "could not connect")
        return _ERRORS.get(code, f"request failed (libcurl error {code})")
