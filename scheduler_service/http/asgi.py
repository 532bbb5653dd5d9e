"""An ASGI application around Django that reads a body before a thread handles the request."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment

from django.http import HttpResponse

from scheduler_service.http.bodies import (
    BodyReader,
    ClientDisconnected,
    Receive,
    RequestRefused,
)
from scheduler_service.process import gc_tuning

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
# Bytes; after a larger body the memory is freed at once.
SMALL_BODY = 64 * 1024
# Seconds after the last large body until its memory is no longer in use.
RELEASE_DELAY = 1.0


class WSGIResponse(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


class BufferedApplication:
    """Reads whole bodies in its event loop, and handles requests in a few threads.

    `max_body_bytes` returns the limit of a request, and may block; `render_refusal`
    renders the response to a request that was not read.
    """

    def __init__(
        self,
        application: WSGIApplication,
        bodies: BodyReader,
        *,
        threads: int,
        max_body_bytes: Callable[[WSGIEnvironment], int],
        render_refusal: Callable[[WSGIEnvironment, RequestRefused], HttpResponse],
    ) -> None:
        self._application = application
        self._bodies = bodies
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="web")
        self._max_body_bytes = max_body_bytes
        self._render_refusal = render_refusal
        self._release_timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        environ = build_environ(scope)
        try:
            status, headers, content = await self._answer(environ, receive)
        except ClientDisconnected:
            return
        except RequestRefused as refused:
            status, headers, content = _encode_refusal(
                self._render_refusal(environ, refused), refused
            )
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, environ: WSGIEnvironment, receive: Receive) -> WSGIResponse:
        in_chunks = "HTTP_TRANSFER_ENCODING" in environ
        announced = 0 if in_chunks else _parse_length(environ.get("CONTENT_LENGTH", ""))
        if not announced and not in_chunks:
            return await self._respond(environ, BytesIO())
        try:
            return await self._answer_body(environ, receive, announced)
        finally:
            if in_chunks or announced > self._bodies.small:
                self._schedule_release()

    async def _answer_body(
        self, environ: WSGIEnvironment, receive: Receive, announced: int
    ) -> WSGIResponse:
        find_limit = partial(self._in_thread, self._max_body_bytes, environ)
        async with self._bodies.read(
            receive,
            announced=announced,
            find_limit=find_limit,
            # For a status of 100 (RFC 9110, section 10.1.1).
            waits_to_send="HTTP_EXPECT" in environ,
        ) as body:
            # Of a body that is too large not all is read, and the view must notice it.
            environ["CONTENT_LENGTH"] = str(max(announced, body.size))
            answer = await self._respond(environ, body.rewound())
            if body.size < announced:
                # The rest of the body must not be taken for the next request.
                answer.headers.append((b"Connection", b"close"))
        if body.size > SMALL_BODY:
            body.content.close()
            large = body.size > self._bodies.small
            await self._in_thread(
                gc_tuning.release_memory if large else gc_tuning.collect_young_objects
            )
        return answer

    def _schedule_release(self) -> None:
        """Release memory again once no large body is in use any more."""
        if self._release_timer is not None:
            self._release_timer.cancel()
        loop = asyncio.get_running_loop()
        self._release_timer = loop.call_later(
            RELEASE_DELAY, self._threads.submit, gc_tuning.release_memory
        )

    async def _respond(
        self, environ: WSGIEnvironment, content: BytesIO
    ) -> WSGIResponse:
        environ["wsgi.input"] = content
        return await self._in_thread(_call_wsgi, self._application, environ)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)


def _call_wsgi(application: WSGIApplication, environ: WSGIEnvironment) -> WSGIResponse:
    begun: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], error: Any = None, /
    ) -> Any:
        begun.append((status, headers))

    chunks = application(environ, start_response)
    try:
        content = b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    status, headers = begun[-1]
    return WSGIResponse(
        int(status.partition(" ")[0]), _encode_headers(headers), content
    )


def _encode_refusal(response: HttpResponse, refused: RequestRefused) -> WSGIResponse:
    # The rest of the body must not be taken for the next request.
    response["Connection"] = "close"
    if refused.retry_after:
        response["Retry-After"] = str(refused.retry_after)
    headers = _encode_headers(list(response.items()))
    return WSGIResponse(response.status_code, headers, response.content)


def _encode_headers(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), text.encode("latin-1")) for name, text in headers]


def build_environ(scope: Scope) -> WSGIEnvironment:
    """The WSGI environ of a request, without its body."""
    server, port = scope["server"]
    return _header_variables(scope["headers"]) | {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server,
        "SERVER_PORT": str(port),
        "REMOTE_ADDR": scope["client"][0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def _header_variables(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """The variables of the headers, without headers that have an underscore.

    Those would pass for headers with a hyphen, which a proxy in front of us controls.
    """
    environ: dict[str, Any] = {}
    for name, value in headers:
        if b"_" in name:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def _parse_length(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
