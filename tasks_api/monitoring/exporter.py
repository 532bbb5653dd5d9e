"""What a worker or a beat answers on METRICS_PORT: its metrics, and whether it is well."""

from __future__ import annotations

import json
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from django.conf import settings

from scheduler_service.process import logs
from tasks_api.metrics import registry

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Several processes of a machine share the setting: each takes the first port that is
# free.
MAX_PORTS_TRIED = 16
# To one process at once.
MAX_CONNECTIONS = 16

registry.register_gauge(
    "scheduler_log_lines_dropped",
    "Lines of log that nobody read in time, since the start of the process.",
    logs.count_dropped,
)


class MetricsServer(ThreadingMixIn, WSGIServer):
    """A thread for each connection, of which there are few: the oldest gives way, so
    that nobody keeps a scrape out by connecting and saying nothing."""

    daemon_threads = True
    # A port that somebody else listens on is not ours to share.
    allow_reuse_port = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The oldest first.
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        super().__init__(*args, **kwargs)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open[request] = None
            if len(self._open) > MAX_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up, or says nothing, is no event either."""
        logger.debug("A connection to the metrics broke.", exc_info=True)


class MetricsServerIPv6(MetricsServer):
    address_family = socket.AF_INET6


class QuietHandler(WSGIRequestHandler):
    # Seconds of silence, after which a connection is closed.
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: a scrape is no event."""


def serve(
    kind: str, complaint: Callable[[], str], remark: Callable[[], str] = str
) -> WSGIServer | None:
    """Answer from a thread of its own, if METRICS_PORT says where."""
    if not settings.METRICS_PORT:
        return None
    app, kind_of_server = MetricsApp(kind, complaint, remark), MetricsServer
    if ":" in settings.HOST:
        kind_of_server = MetricsServerIPv6
    for port in range(settings.METRICS_PORT, settings.METRICS_PORT + MAX_PORTS_TRIED):
        try:
            server = make_server(settings.HOST, port, app, kind_of_server, QuietHandler)
        except (OSError, OverflowError) as error:
            reason: Exception = error
            continue
        logger.info("Metrics are at port %d.", port)
        threading.Thread(
            target=server.serve_forever, name="metrics", daemon=True
        ).start()
        return server
    logger.warning("No port for metrics: %s", reason)
    return None


class MetricsApp:
    def __init__(
        self, kind: str, complaint: Callable[[], str], remark: Callable[[], str]
    ) -> None:
        self._kind = kind
        self._complaint = complaint
        self._remark = remark

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        status, content_type, body = self._answer(environ)
        headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
        if status.startswith("401"):
            headers.append(("WWW-Authenticate", "Bearer"))
        start_response(status, headers)
        return [body]

    def _answer(self, environ: WSGIEnvironment) -> tuple[str, str, bytes]:
        match environ.get("PATH_INFO"):
            case "/healthz":
                return self._health()
            case "/metrics" if is_allowed(environ.get("HTTP_AUTHORIZATION", "")):
                return "200 OK", CONTENT_TYPE, registry.exposition()
            case "/metrics":
                return "401 Unauthorized", "text/plain", b""
        return "404 Not Found", "text/plain", b""

    def _health(self) -> tuple[str, str, bytes]:
        reason = self._complaint()
        body = {"kind": self._kind, "status": "stuck" if reason else "ok"}
        body |= {"reason": reason} if reason else {}
        if remark := self._remark():
            body["remark"] = remark
        status = "503 Service Unavailable" if reason else "200 OK"
        return status, "application/json", json.dumps(body).encode()


def is_allowed(authorization: str) -> bool:
    """Whether METRICS_TOKEN is not set, or this header shows it."""
    scheme, _, token = authorization.partition(" ")
    return not settings.METRICS_TOKEN or secrets.compare_digest(
        f"{scheme.lower()} {token.strip(' ')}".encode("utf-8", "replace"),
        f"bearer {settings.METRICS_TOKEN}".encode(),
    )
