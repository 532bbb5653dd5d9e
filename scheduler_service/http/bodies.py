"""Read request bodies, each within a deadline and all of them within a memory limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from typing import Any

# The deadline of a body moves by a second for this many bytes that have arrived.
MIN_BYTES_PER_SECOND = 256 * 1024
# Bodies that a process receives at once. An honest one arrives within milliseconds, so
# the oldest is given up first.
MAX_ARRIVING = 256
# Of a body that is too large, so many bytes more are read and thrown away, for at most so
# many seconds, and while each part arrives within so many.
MAX_DISCARDED = 16 * 1024 * 1024
DISCARD_TIMEOUT = 10.0
DISCARD_PAUSE = 1.0
# Seconds that a large body waits for another one, and the Retry-After of its refusal.
LARGE_BODY_TIMEOUT = 20.0
RETRY_AFTER = 10

TOO_SLOW = "The request body did not arrive in time"
TOO_MANY = "Too many request bodies at once; try again"

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class RequestRefused(Exception):
    """The request is refused before it is read; the text says why."""

    def __init__(self, status: int, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


class ClientDisconnected(Exception):
    """The client closed the connection."""


class RequestBody:
    """The part of a body that has arrived, and the deadline for the rest."""

    def __init__(self) -> None:
        self.content = BytesIO()
        self.size = 0
        self._since = 0.0

    def until(self, timeout: float) -> asyncio.Timeout:
        self._since = asyncio.get_running_loop().time() + timeout
        self._limit = asyncio.timeout_at(self._since)
        return self._limit

    def take(self, chunk: bytes) -> None:
        self.content.write(chunk)
        self.size += len(chunk)
        self._move(self._since + self.size / MIN_BYTES_PER_SECOND)

    def give_way(self) -> None:
        self._move(self._since - LARGE_BODY_TIMEOUT)

    def rewound(self) -> BytesIO:
        self.content.seek(0)
        return self.content

    def _move(self, moment: float) -> None:
        if not self._limit.expired():
            self._limit.reschedule(moment)


class BodyReader:
    """The bodies that a process holds, from the first byte to the response.

    Bodies of up to `small` bytes share the memory of `capacity`. A larger one is read only if
    its request allows it, and alone. For one event loop, so there are no locks.
    """

    def __init__(self, *, small: int, capacity: int, timeout: float) -> None:
        self.small = small
        self._capacity = capacity
        self._timeout = timeout
        self._held = 0
        # The oldest first.
        self._arriving: dict[RequestBody, None] = {}
        self._large = asyncio.Semaphore(1)

    @asynccontextmanager
    async def read(
        self,
        receive: Receive,
        *,
        announced: int,
        find_limit: Callable[[], Awaitable[int]],
        waits_to_send: bool = False,
    ) -> AsyncIterator[RequestBody]:
        """A body, or the first part of one that is too large, which the caller must check.

        `find_limit()` returns the bytes allowed; it is called for large bodies only. A
        client that `waits_to_send` its body until that is read need not send all of it.
        Raises RequestRefused and ClientDisconnected.
        """
        body = RequestBody()
        if announced <= self.small:
            async with self._shared(body, receive) as complete:
                if complete:
                    yield body
                    return
        limit = await find_limit()
        if max(announced, body.size) > limit or limit <= self.small:
            yield body
            if not waits_to_send and announced - body.size <= MAX_DISCARDED:
                await _discard_rest(receive)
            return
        async with self._alone():
            await self._fill(body, receive, limit)
            yield body

    @asynccontextmanager
    async def _shared(self, body: RequestBody, receive: Receive) -> AsyncIterator[bool]:
        try:
            yield await self._fill(body, receive, self.small, self._make_room)
        finally:
            self._held -= body.size

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(LARGE_BODY_TIMEOUT):
                await self._large.acquire()
        except TimeoutError:
            raise RequestRefused(503, TOO_MANY, RETRY_AFTER) from None
        try:
            yield
        finally:
            self._large.release()

    async def _fill(
        self,
        body: RequestBody,
        receive: Receive,
        limit: int,
        on_chunk: Callable[[RequestBody, int], None] = lambda body, size: None,
    ) -> bool:
        """Whether the body is complete; reads at most one chunk beyond the limit."""
        try:
            async with body.until(self._timeout):
                self._arriving[body] = None
                self._limit_arriving()
                while body.size <= limit:
                    chunk, more = await _next(receive)
                    body.take(chunk)
                    on_chunk(body, len(chunk))
                    if not more:
                        return True
                return False
        except TimeoutError:
            raise RequestRefused(408, TOO_SLOW) from None
        finally:
            self._arriving.pop(body, None)

    def _limit_arriving(self) -> None:
        if len(self._arriving) > MAX_ARRIVING:
            oldest = next(iter(self._arriving))
            del self._arriving[oldest]
            oldest.give_way()

    def _make_room(self, body: RequestBody, size: int) -> None:
        """Give up older bodies that are still arriving, to make room for this chunk."""
        self._held += size
        missing = self._held - self._capacity
        for other in list(self._arriving):
            if missing <= 0:
                return
            if other is not body:
                del self._arriving[other]
                other.give_way()
                missing -= other.size
        if missing > 0:
            raise RequestRefused(503, TOO_MANY, RETRY_AFTER)


async def _discard_rest(receive: Receive) -> None:
    """Read on, because many a client reads the answer only after it has sent its body.

    If we closed the connection first, the answer would be lost (RFC 9112, section 9.6).
    """
    size, more = 0, True
    with suppress(TimeoutError, ClientDisconnected):
        async with asyncio.timeout(DISCARD_TIMEOUT):
            while more and size <= MAX_DISCARDED:
                async with asyncio.timeout(DISCARD_PAUSE):
                    chunk, more = await _next(receive)
                size += len(chunk)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnected
    return message.get("body", b""), message.get("more_body", False)
