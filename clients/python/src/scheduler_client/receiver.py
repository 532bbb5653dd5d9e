"""A receiver for tests of tasks: it verifies requests, reports them and responds."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from scheduler_client.errors import BadSignature
from scheduler_client.formatting import sanitize
from scheduler_client.webhooks import verify

MAX_BODY_SIZE = 32 * 1024 * 1024


@dataclass
class ResponsePolicy:
    """How a receiver responds to genuine requests: with `status`, after `delay` seconds.

    If `times` is given, that holds for so many requests; later ones get 200 at once.
    """

    status: int = 200
    delay: float = 0.0
    times: int | None = None


@dataclass(frozen=True)
class ReceivedRequest:
    """A request, and the status of its response. `late` is in seconds.

    `signature` is "ok", "unchecked" where the receiver has no secret, or the error.
    """

    at: str
    method: str
    path: str
    signature: str
    webhook_id: str | None
    late: float | None
    body: str
    status: int

    def to_line(self) -> str:
        late = "" if self.late is None else f" late={self.late:.3f}s"
        return (
            f"{self.at[11:23]} {self.method} {sanitize(self.path, 200)} "
            f"→ {self.status} signature={self.signature!r} "
            f"webhook-id={sanitize(str(self.webhook_id))}{late} "
            f"{sanitize(self.body, 2000)}"
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


class WebhookReceiver(ThreadingHTTPServer):
    """Verifies requests with `secrets`, and passes each one to `on_request`.

    A request whose signature is not valid gets 401, and any other one the response of
    the policy. `serve_forever` returns after `max_requests`.
    """

    daemon_threads = False

    def __init__(
        self,
        host: str,
        port: int,
        *,
        secrets: Sequence[str],
        policy: ResponsePolicy,
        on_request: Callable[[ReceivedRequest], None],
        max_requests: int | None = None,
    ) -> None:
        self.secrets = secrets
        self.policy = policy
        self.on_request = on_request
        self.max_requests = max_requests
        self.request_count = 0
        self.lock = threading.Lock()
        super().__init__((host, port), _Handler)
        self.url = f"http://{host}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: WebhookReceiver

    def _handle(self) -> None:
        size = self.headers.get("Content-Length", "0")
        if not size.isdigit() or int(size) > MAX_BODY_SIZE:
            self.send_error(413)
            return
        body = self.rfile.read(int(size))
        signature, late = self._verify(body)
        with self.server.lock:
            self.server.request_count += 1
            number = self.server.request_count
            status, delay = self._choose_response(signature, number)
            self.server.on_request(self._describe(body, signature, late, status))
        time.sleep(delay)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        if number == self.server.max_requests:
            # `shutdown` waits for the loop, and the loop for this thread.
            threading.Thread(target=self.server.shutdown).start()

    def _verify(self, body: bytes) -> tuple[str, float | None]:
        """Return the result of the check, and how many seconds late the request is."""
        if not self.server.secrets:
            return "unchecked", None
        now = datetime.now(UTC)
        try:
            delivery = verify(dict(self.headers.items()), body, self.server.secrets)
        except BadSignature as error:
            return str(error), None
        if not delivery.scheduled_for:
            return "ok", None
        return "ok", round((now - delivery.scheduled_for).total_seconds(), 3)

    def _choose_response(self, signature: str, number: int) -> tuple[int, float]:
        policy = self.server.policy
        if signature not in ("ok", "unchecked"):
            return 401, 0.0
        if policy.times is not None and number > policy.times:
            return 200, 0.0
        return policy.status, policy.delay

    def _describe(
        self, body: bytes, signature: str, late: float | None, status: int
    ) -> ReceivedRequest:
        return ReceivedRequest(
            at=datetime.now(UTC).isoformat(),
            method=self.command,
            path=self.path,
            signature=signature,
            webhook_id=self.headers.get("webhook-id"),
            late=late,
            body=body.decode(errors="replace"),
            status=status,
        )

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: `on_request` reports every request."""
