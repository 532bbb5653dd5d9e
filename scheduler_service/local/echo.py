"""A target on loopback that prints each request, for a first task to call."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scheduler_service.process.supervisor import OutputStream

RESPONSE_BODY = b'{"ok": true}'
# Characters of a body that are printed.
MAX_BODY_SHOWN = 200


class EchoHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open, as most targets do
    timeout = 60

    def __init__(self, out: OutputStream, *args: Any) -> None:
        self.out = out
        super().__init__(*args)

    def answer(self) -> None:
        arrived_at = datetime.now(UTC)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode("utf-8", "replace")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(RESPONSE_BODY)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(RESPONSE_BODY)
        self.out.write(f"{self._describe(body, arrived_at)}\n")
        self.out.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def _describe(self, body: str, arrived_at: datetime) -> str:
        parts = [self.command, self.path, body[:MAX_BODY_SHOWN]]
        if webhook_id := self.headers.get("webhook-id"):
            parts.append(f"webhook-id={webhook_id}")
        if (
            late := lateness(self.headers.get("X-Scheduled-For"), arrived_at)
        ) is not None:
            parts.append(f"late={late:.3f}s")
        # A body may hold control characters of the terminal.
        return " ".join(
            "".join(letter if letter.isprintable() else "?" for letter in part)
            for part in parts
            if part
        )

    def log_message(self, *args: Any) -> None:
        """Nothing: `answer` prints a line of its own."""


def lateness(scheduled_for: str | None, arrived_at: datetime) -> float | None:
    """Seconds after the planned moment; None without a valid header."""
    try:
        planned = datetime.fromisoformat(scheduled_for or "")
        return (arrived_at - planned).total_seconds()
    except (ValueError, TypeError):
        return None


class EchoServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # thousands of tasks may be due at once


def serve(port: int, out: OutputStream) -> None:
    with EchoServer(("127.0.0.1", port), partial(EchoHandler, out)) as server:
        server.serve_forever()
