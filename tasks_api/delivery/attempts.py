"""One request under way: its socket to an address that was checked, and how it ends."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pycurl

from tasks_api.delivery import descriptors, guard
from tasks_api.delivery.request import Request

# What a target answers with, and true, that wants a run not to be tried again.
NO_RETRY = b"x-scheduler-no-retry"
MAX_ANSWER_BYTES = 16 * 1024
# Requests that an attempt may put on the wire, the first and one that repeats it.
MOST_SENDINGS = 2

NOT_ALLOWED = "target address is not allowed"
NOT_FOUND = "could not resolve host"

Place = tuple[str, int]
Refusal = Callable[[str], str | None]

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
# Where libcurl may have lacked a descriptor or memory without saying so.
_MAYBE_LOCAL = {
    pycurl.E_FAILED_INIT,
    pycurl.E_COULDNT_RESOLVE_HOST,
    pycurl.E_COULDNT_CONNECT,
    pycurl.E_SSL_CONNECT_ERROR,
    pycurl.E_SSL_CACERT_BADFILE,
}
_TLS_ERRORS = (pycurl.E_SSL_CONNECT_ERROR, pycurl.E_PEER_FAILED_VERIFICATION)


@dataclass(eq=False, slots=True)
class Attempt:
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
    # This machine had no socket for it.
    is_starved: bool = False
    has_tried_ipv6: bool = False
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
        self.has_tried_ipv6 |= family == socket.AF_INET6
        try:
            # Detached, because libcurl is the one to close it.
            return socket.socket(family, kind, protocol).detach()
        except OSError as error:
            self.is_starved = error.errno in descriptors.LOCAL
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
        if code == pycurl.E_COULDNT_CONNECT and number in descriptors.LOCAL:
            return True
        return code in _MAYBE_LOCAL and descriptors.are_out()

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
