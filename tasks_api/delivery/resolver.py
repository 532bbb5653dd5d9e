"""Ask the machine's name servers for addresses: many names at once, in c-ares' own thread."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial

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

    def __call__(self, host: str, report: OnResult) -> None:
        self._channel.getaddrinfo(
            host,
            None,
            type=socket.SOCK_STREAM,
            callback=partial(_report_answer, report),
        )


def _report_answer(
    report: OnResult, result: pycares.AddrInfoResult | None, error: int | None
) -> None:
    if result is None:
        report(_UNRESOLVED.get(error or 0, Unresolved.BROKEN))
        return
    found = [node.addr[0].decode() for node in result.nodes]
    report(list(dict.fromkeys(found)) or Unresolved.MISSING)
