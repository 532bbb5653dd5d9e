"""The sockets that libcurl waits for, and a way to wake the thread that drives it."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pycurl


class SocketSelector:
    """Waits for libcurl's sockets. Any thread may end the wait by `wake`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, int] = {}
        self._idle: set[int] = set()
        self._wake_sender, self._wake_receiver = socket.socketpair()
        self._wake_sender.setblocking(False)
        self._wake_receiver.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._is_awake = False

    def wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            # A full buffer wakes the thread all the same. If it is closed, no thread waits.
            with suppress(OSError):
                self._wake_sender.send(b"\0")

    def wait(self, patience: Callable[[], float]) -> list[tuple[int, int]]:
        """The sockets that are ready, each with what it is ready for."""
        for fd in self._idle:
            del self._watched[fd]
            self._selector.unregister(fd)
        self._idle.clear()

        # A thread that brings work from here on wakes us; `patience` sees all work from before.
        self._is_awake = False
        ready = self._selector.select(patience())
        self._is_awake = True

        if any(key.fileobj is self._wake_receiver for key, _ in ready):
            self._wake_receiver.recv(4096)
        return [
            (key.fd, mask)
            for key, mask in ready
            if key.fileobj is not self._wake_receiver
        ]

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
        self._wake_sender.close()
        self._wake_receiver.close()
