"""What libcurl waits for, watched by the thread that drives it."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pycurl


class SocketSelector:
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
