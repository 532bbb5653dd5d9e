"""A proxy in front of the service that loses responses, for tests of the client."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from tests.receiver import LoopbackServer

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}


class LossyProxy(LoopbackServer):
    """Forwards requests to the service, and closes some connections without a response."""

    def __init__(self, url: str) -> None:
        self.service = url
        self.responses_to_lose = 0
        # Every one of these replaces one forwarded request.
        self.scripted_responses: list[tuple[int, dict[str, str]]] = []
        self.requests: list[tuple[str, str]] = []
        super().__init__(_Server(self))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: LossyProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _handle(self) -> None:
        proxy = self.server.proxy
        proxy.requests.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if proxy.scripted_responses:
            status, headers = proxy.scripted_responses.pop(0)
            self._respond(status, headers, b"")
            return
        response = requests.request(
            self.command,
            proxy.service + self.path,
            data=body,
            headers=dict(self.headers.items()),
            timeout=20,
        )
        if proxy.responses_to_lose:
            proxy.responses_to_lose -= 1
            self.close_connection = True
            return
        self._respond(response.status_code, dict(response.headers), response.content)

    def _respond(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
