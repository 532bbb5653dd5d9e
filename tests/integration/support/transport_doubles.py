"""Servers of raw sockets, and what a transport reports to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from tasks_api.delivery.request import HttpResult, Request
from tasks_api.delivery.resolver import LookupResult, OnResult, Resolve
from tasks_api.delivery.transport import Transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


# What a server does with a connection, once it read the head of a request.
Script = Callable[[socket.socket], object]


class Outcomes:
    """What a transport reported, and a way to wait for it."""

    def __init__(self) -> None:
        self.by_key: dict[Any, HttpResult] = {}
        self.count = 0
        self._reported = threading.Condition()

    def __call__(self, key: object, outcome: HttpResult) -> None:
        with self._reported:
            self.by_key[key] = outcome
            self.count += 1
            self._reported.notify_all()

    def wait_for(self, count: int) -> dict[Any, HttpResult]:
        with self._reported:
            assert self._reported.wait_for(lambda: self.count >= count, timeout=20)
            return self.by_key


class RawServer:
    """Hands each accepted connection to a script, after it read the request's head."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                self._script(connection)
            except OSError:
                return

    def close(self) -> None:
        self._socket.close()


StartRawServer = Callable[[Script], RawServer]


StartTransport = Callable[..., Transport[Any]]


def resolver_of(answer: Callable[[str], LookupResult]) -> Resolve:
    def resolve(host: str, report: OnResult) -> None:
        report(answer(host))

    return resolve


def request_to(
    url: str, *, method: str = "POST", body: bytes = b"{}", timeout: float = 5
) -> Request:
    return Request(method, url, (("User-Agent", "test"),), body, timeout)


def drip_after(prefix: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(prefix)
        for _ in range(200):
            time.sleep(0.05)
            connection.sendall(b"x")

    return script


class Gate:
    """Answers nobody until it is told to, and knows how many waited at once."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self._changed = threading.Condition()
        self._is_open = False

    def __call__(self, connection: socket.socket) -> None:
        self.pause()
        connection.sendall(OK)

    def pause(self) -> None:
        with self._changed:
            self._now += 1
            self.most = max(self.most, self._now)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_open, timeout=20)
            self._now -= 1

    def wait_for(self, count: int, *, timeout: float = 20) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._now >= count, timeout)

    def open(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()


class CuttingServer:
    """Keeps connections open, until it is asked to cut: then it closes without a byte."""

    def __init__(self, warm: int) -> None:
        self.cut_requests = 0
        self._warm = threading.Barrier(warm)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while head := connection.recv(65536):
                if b" /cut " in head:
                    self.cut_requests += 1
                    return
                # All are under way at once, so that each has a connection of its own.
                self._warm.wait(timeout=20)
                connection.sendall(OK)

    def close(self) -> None:
        self._socket.close()


class DroppingServer:
    """Keeps connections open, and then closes some of them when a request comes on one."""

    def __init__(self, is_cut: Callable[[int], bool]) -> None:
        self.seen: list[bytes] = []
        self._is_cut = is_cut
        self._kept = 0
        self._lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        connection.sendall(OK)
        while head := connection.recv(65536):
            if head.startswith(b"xx"):
                continue  # The rest of a large body, which was answered before.
            with self._lock:
                self.seen.append(head.split()[1])
                self._kept += 1
                if self._is_cut(self._kept):
                    return
            connection.sendall(OK)
