"""A receiver for trying: it verifies what arrives, prints it, and answers as told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scheduler_client.errors import BadSignature
from scheduler_client.formatting import printable
from scheduler_client.webhooks import verify

LARGEST_BODY = 32 * 1024 * 1024


@dataclass
class Manner:
    """How to answer: with `status` after `delay` seconds, the first `times` only if given."""

    secrets: Sequence[str]
    status: int = 200
    delay: float = 0.0
    times: int | None = None
    # Requests after which to stop; None is never.
    count: int | None = None
    seen: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def serve(
    host: str,
    port: int,
    manner: Manner,
    tell: Callable[[dict[str, Any]], None],
    ready: Callable[[str], None],
) -> None:
    """Serve until interrupted, or until `manner.count` requests came."""
    with _Server((host, port), manner, tell) as server:
        ready(f"http://{host}:{server.server_address[1]}")
        server.serve_forever(poll_interval=0.05)


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(
        self,
        address: tuple[str, int],
        manner: Manner,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self.manner = manner
        self.tell = tell
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _handle(self) -> None:
        manner = self.server.manner
        size = self.headers.get("Content-Length", "0")
        if not size.isdigit() or int(size) > LARGEST_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(int(size))
        problem, told = self._judge(body)
        with manner.lock:
            manner.seen += 1
            number = manner.seen
            is_scripted = manner.times is None or number <= manner.times
            status = 401 if problem else manner.status if is_scripted else 200
            self.server.tell({**told, "status": status})
        if is_scripted and not problem:
            time.sleep(manner.delay)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        if manner.count is not None and number >= manner.count:
            # From another thread: the loop that ends waits for this one.
            threading.Thread(target=self.server.shutdown).start()

    def _judge(self, body: bytes) -> tuple[str, dict[str, Any]]:
        """What is wrong with the signature, if anything, and what to tell."""
        problem, run_id, late = "", self.headers.get("webhook-id"), None
        now = datetime.now(UTC)
        if self.server.manner.secrets:
            headers = dict(self.headers.items())
            try:
                delivery = verify(headers, body, self.server.manner.secrets)
            except BadSignature as error:
                problem = str(error)
            else:
                if delivery.scheduled_for:
                    late = round((now - delivery.scheduled_for).total_seconds(), 3)
        signature = "unchecked" if not self.server.manner.secrets else problem or "ok"
        return problem, {
            "at": now.isoformat(),
            "method": self.command,
            "path": self.path,
            "signature": signature,
            "webhook_id": run_id,
            "late": late,
            "body": body.decode(errors="replace"),
        }

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: what arrives is told in full."""


def as_line(told: dict[str, Any]) -> str:
    late = "" if told["late"] is None else f" late={told['late']:.3f}s"
    return (
        f"{told['at'][11:23]} {told['method']} {printable(told['path'], 200)} "
        f"→ {told['status']} signature={told['signature']!r} "
        f"webhook-id={printable(str(told['webhook_id']))}{late} "
        f"{printable(told['body'], 2000)}"
    )


def as_json(told: dict[str, Any]) -> str:
    return json.dumps(told, ensure_ascii=False)
