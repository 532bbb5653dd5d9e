"""A target on loopback that keeps the requests it receives, and answers by script."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float


@dataclass(frozen=True)
class ScriptedAnswer:
    status: int = 200
    body: bytes = b'{"ok": true}'
    delay: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


class LoopbackServer:
    """A server with a thread of its own, found at `url`."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self.url = "http://{}:{}".format(*server.server_address[:2])
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Receiver(LoopbackServer):
    def __init__(self, address: str = "127.0.0.1") -> None:
        self.requests: list[ReceivedRequest] = []
        self._arrived = threading.Condition()
        self._answers: dict[str, ScriptedAnswer] = {}
        super().__init__(_ReceiverServer(self, address))

    def answer(
        self,
        path: str,
        *,
        status: int = 200,
        body: bytes = b"{}",
        delay: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Set how requests for a path are answered from now on; `delay` is in seconds."""
        extra = tuple((headers or {}).items())
        self._answers[path] = ScriptedAnswer(status, body, delay, extra)

    def wait_for(self, count: int, *, timeout: float = 20) -> list[ReceivedRequest]:
        """The requests so far, once there are so many."""
        with self._arrived:
            assert self._arrived.wait_for(
                lambda: len(self.requests) >= count, timeout
            ), f"{len(self.requests)} of {count} requests arrived"
            return list(self.requests)

    def take(self, request: ReceivedRequest) -> ScriptedAnswer:
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
        return self._answers.get(request.path, ScriptedAnswer())


class _ReceiverServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, receiver: Receiver, address: str) -> None:
        self.receiver = receiver
        super().__init__((address, 0), _ReceiverHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers that gave up before they were answered."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _ReceiverHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _ReceiverServer

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(6, 1, 1)  # TCP_NODELAY: answers leave at once

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.receiver.take(
            ReceivedRequest(self.command, self.path, headers, body, time.time())
        )
        # The only sleep: it plays a slow target.
        time.sleep(answer.delay)
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
