"""Serve the metrics and the health of a worker or a beat on METRICS_PORT."""

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
# Processes of a machine share the setting: each takes the first port that is free.
MAX_PORTS_TRIED = 16
MAX_CONNECTIONS = 16

registry.register_gauge(
    "scheduler_log_lines_dropped",
    "Log lines dropped since the start, because their reader was too slow.",
    logs.count_dropped,
)


class MetricsServer(ThreadingMixIn, WSGIServer):
    """Serve each connection from a thread, and close the oldest beyond MAX_CONNECTIONS.

    So idle connections cannot block a scrape.
    """

    daemon_threads = True
    # A process must not share the port of another one.
    allow_reuse_port = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # In the order of their arrival.
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
        """Log at debug level: clients that hang up are no trouble of the service."""
        logger.debug("A connection to the metrics broke.", exc_info=True)


class MetricsServerIPv6(MetricsServer):
    address_family = socket.AF_INET6


class QuietHandler(WSGIRequestHandler):
    # Seconds of silence, after which a connection is closed.
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: scrapes are frequent."""


def serve(
    kind: str, complaint: Callable[[], str], remark: Callable[[], str] = str
) -> WSGIServer | None:
    """Start the server in its own thread, if METRICS_PORT is set and a port is free."""
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
    """Return whether METRICS_TOKEN is not set, or the header contains it."""
    scheme, _, token = authorization.partition(" ")
    return not settings.METRICS_TOKEN or secrets.compare_digest(
        f"{scheme.lower()} {token.strip(' ')}".encode("utf-8", "replace"),
        f"bearer {settings.METRICS_TOKEN}".encode(),
    )
