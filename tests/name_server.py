"""A name server on loopback that answers by script, and keeps the names it was asked for."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

A, AAAA = 1, 28
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
RESPONSE, TRUNCATED = 0x8180, 0x0200
HEADER = struct.Struct("!HHHHHH")
# How much later than the answer that is cut off the others come.
LATE_SECONDS = 0.5


class NameServer:
    """Knows only the names that it is given; questions for names that hang get no answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._known: dict[str, list[str]] = {}
        self._failing: set[str] = set()
        self._hanging: set[str] = set()
        self._cut_off: set[str] = set()
        self._late: set[str] = set()
        self._domains: dict[str, str] = {}
        self._delay = 0.0
        self._changed = threading.Condition()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def knows(self, name: str, *addresses: str) -> None:
        with self._changed:
            self._known[name] = list(addresses)
            self._hanging.discard(name)

    def knows_all_of(self, domain: str, address: str) -> None:
        """Every name right below a domain."""
        self._domains[domain] = address

    def takes(self, seconds: float) -> None:
        """Delay each answer from now on."""
        self._delay = seconds

    def forgets(self, name: str) -> None:
        with self._changed:
            del self._known[name]

    def answers_again(self) -> None:
        self._hanging.clear()
        self._delay = 0.0

    def fails(self, name: str) -> None:
        self._failing.add(name)

    def hangs(self, *names: str) -> None:
        """For each of these names, and for all names below it; "" is all names."""
        self._hanging.update(names)

    def cuts_off(self, name: str) -> None:
        """Answer once as if the IPv4 addresses needed TCP, on which nobody listens here.

        All later answers for the name come after that question has failed.
        """
        self._cut_off.add(name)

    def wait_for(self, name: str, times: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: self.asked.count(name) >= times, timeout=20
            ), f"{name} was asked for {self.asked.count(name)} times"

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                question, sender = self._socket.recvfrom(4096)
            except OSError:
                return
            labels = list(_labels(question))
            is_late = ".".join(labels) in self._late
            if answer := self._answer(question, labels):
                self._send(answer, sender, self._delay or is_late * LATE_SECONDS)

    def _send(self, answer: bytes, asker: Any, delay: float) -> None:
        if not delay:
            self._socket.sendto(answer, asker)
            return
        later = threading.Timer(delay, self._send_late, (answer, asker))
        later.daemon = True
        later.start()

    def _send_late(self, answer: bytes, asker: Any) -> None:
        with suppress(OSError):
            self._socket.sendto(answer, asker)

    def _answer(self, question: bytes, labels: Sequence[str]) -> bytes | None:
        name = ".".join(labels)
        end = HEADER.size + sum(len(label) + 1 for label in labels) + 1
        (kind,) = struct.unpack_from("!H", question, end)
        with self._changed:
            if kind == A:
                self.asked.append(name)
                self._changed.notify_all()
            # The last of all domains is the empty one.
            above = [".".join(labels[i:]) for i in range(len(labels) + 1)]
            if not self._hanging.isdisjoint(above):
                return None
            known = self._known.get(name)
            if domain := self._domains.get(".".join(labels[1:])):
                known = [domain]
        code = SERVER_FAILURE if name in self._failing else NO_ERROR
        if known is None and not code:
            code = NO_SUCH_NAME
        records = [_record(a) for a in known or () if (":" in a) == (kind == AAAA)]
        (number,) = struct.unpack_from("!H", question)
        flags = RESPONSE | code
        if kind == A and name in self._cut_off:
            self._cut_off.discard(name)
            self._late.add(name)
            flags |= TRUNCATED
        head = HEADER.pack(number, flags, 1, len(records), 0, 0)
        return head + question[HEADER.size : end + 4] + b"".join(records)


def _labels(question: bytes) -> Iterator[str]:
    at = HEADER.size
    while length := question[at]:
        yield question[at + 1 : at + 1 + length].decode().lower()
        at += length + 1


def _record(address: str) -> bytes:
    family, kind = (socket.AF_INET6, AAAA) if ":" in address else (socket.AF_INET, A)
    data = socket.inet_pton(family, address)
    # For the name in the question, with a lifetime of 0, so that no resolver caches it.
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(data)) + data
