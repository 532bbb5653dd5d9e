"""What the tests of the client share: the service behind a door that loses answers."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from tests.receiver import LoopbackServer

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}


class Door(LoopbackServer):
    """Hands requests on to the service, and the next answers not back."""

    def __init__(self, url: str) -> None:
        self.service = url
        # Answers to lose, and answers to give before the service is asked.
        self.lose = 0
        self.instead: list[tuple[int, dict[str, str]]] = []
        self.seen: list[tuple[str, str]] = []
        super().__init__(_Server(self))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, door: Door) -> None:
        self.door = door
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _handle(self) -> None:
        door = self.server.door
        door.seen.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if door.instead:
            status, headers = door.instead.pop(0)
            self._answer(status, headers, b"")
            return
        answer = requests.request(
            self.command,
            door.service + self.path,
            data=body,
            headers=dict(self.headers.items()),
            timeout=20,
        )
        if door.lose:
            door.lose -= 1
            self.close_connection = True
            return
        self._answer(answer.status_code, dict(answer.headers), answer.content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
