"""Ask the machine's name servers for addresses: many names at once, in c-ares' own thread."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto

import pycares
from pycares import errno


class Unresolved(Enum):
    """Why a name has no addresses."""

    MISSING = auto()  # the name servers say that there are none
    BROKEN = auto()  # they answer that they cannot say
    SILENT = auto()  # they have not answered
    CROWDED = auto()  # they were not asked, because others were


LookupResult = list[str] | Unresolved
OnResult = Callable[[LookupResult], None]
_Result = pycares.AddrInfoResult | None
# Looks a name up, and reports at once or later, from any thread.
Resolve = Callable[[str, OnResult], None]

# Seconds for the first try of a server, and the number of tries.
FIRST_TRY_TIMEOUT = 2.0
MAX_TRIES = 4

_UNRESOLVED = {
    errno.ARES_ENOTFOUND: Unresolved.MISSING,
    errno.ARES_ENODATA: Unresolved.MISSING,
    errno.ARES_EBADNAME: Unresolved.MISSING,
    # No server listens where /etc/resolv.conf points, or this machine has no socket left.
    errno.ARES_ECONNREFUSED: Unresolved.SILENT,
    errno.ARES_EFILE: Unresolved.SILENT,
    errno.ARES_ENOMEM: Unresolved.SILENT,
    errno.ARES_ETIMEOUT: Unresolved.SILENT,
}


class Resolver:
    """Looks names up as the system does: /etc/hosts, then the servers of resolv.conf."""

    def __init__(self, servers: Sequence[str] = ()) -> None:
        """`servers` stand in for those of resolv.conf, each with its port."""
        self._channel = pycares.Channel(
            timeout=FIRST_TRY_TIMEOUT, tries=MAX_TRIES, servers=servers or None
        )
        # Who asks takes the channel's lock, then c-ares'. A callback has c-ares' already: it
        # and a thread that asks at the same moment would wait for each other for ever.
        self._follow_ups = ThreadPoolExecutor(1, "names")

    def __call__(self, host: str, report: OnResult) -> None:
        """Report addresses of both families.

        Asked for both, c-ares says "no data" too if only one question was answered so and
        the other was lost, as while name servers come back. So each is asked alone then.
        """

        def take_both(result: _Result, error: int | None) -> None:
            if error == errno.ARES_ENODATA:
                self._follow_ups.submit(self._ask, host, socket.AF_INET, take_ipv4)
            else:
                report(_read_answer(result, error))

        def take_ipv4(result: _Result, error: int | None) -> None:
            if error == errno.ARES_ENODATA:
                self._follow_ups.submit(self._ask, host, socket.AF_INET6, take_ipv6)
            else:
                report(_read_answer(result, error))

        def take_ipv6(result: _Result, error: int | None) -> None:
            report(_read_answer(result, error))

        self._ask(host, socket.AF_UNSPEC, take_both)

    def _ask(
        self, host: str, family: socket.AddressFamily, take: Callable[..., None]
    ) -> None:
        self._channel.getaddrinfo(
            host, None, family=family, type=socket.SOCK_STREAM, callback=take
        )


def _read_answer(result: _Result, error: int | None) -> LookupResult:
    if result is None:
        return _UNRESOLVED.get(error or 0, Unresolved.BROKEN)
    found = [node.addr[0].decode() for node in result.nodes]
    return list(dict.fromkeys(found)) or Unresolved.MISSING
