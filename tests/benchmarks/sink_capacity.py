"""How much the target can take, so that nobody measures it by mistake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import uvloop

from tests.acceptance.harness import free_port
from tests.benchmarks import resource_usage
from tests.benchmarks.figures import TARGET, Figures
from tests.benchmarks.harness import start_sink

CONNECTIONS = 100
REQUESTS = 100_000
# As long as the service's own, with the same header that is read.
BODY = b'{"hello": "world"}'
REQUEST = b"\r\n".join(
    (
        b"POST /hook HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Accept: */*",
        b"Accept-Encoding: identity",
        b"Content-Type: application/json",
        b"User-Agent: scheduler-service/1.0",
        b"webhook-id: 01a1fc25-dbf0-73fe-a3eb-c67ddf45f5ca",
        b"webhook-timestamp: 1795231794",
        b"webhook-signature: v1,5ZHfN2kqGz0dGk1n2m9Vn8yq3C0cCOaYt0J3nO0x0kE=",
        b"Idempotency-Key: 01a1fc25-dbf0-73fe-a3eb-c67ddf45f5ca",
        b"X-Scheduled-For: 2026-11-21T03:29:54.138945Z",
        b"Content-Length: %d" % len(BODY),
        b"",
        BODY,
    )
)


class _Client(asyncio.Protocol):
    """Sends the same bytes again as soon as an answer has come: a floor for any client."""

    def __init__(self, done: asyncio.Event, left: list[int]) -> None:
        self.done, self.left = done, left

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self.left[1] -= 1
        if not self.left[1]:
            self.done.set()
        self._send()

    def _send(self) -> None:
        if self.left[0]:
            self.left[0] -= 1
            self.transport.write(REQUEST)


async def _load(port: int) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    left = [REQUESTS, REQUESTS]
    made = [
        await loop.create_connection(lambda: _Client(done, left), "127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]
    await done.wait()
    for transport, _ in made:
        transport.close()


def sink(*, rounds: int) -> Iterator[Figures]:
    """What the target itself takes from a hundred connections of the leanest client."""
    port = free_port()
    process = start_sink(port)
    try:
        for _ in range(rounds):
            before = resource_usage.read({TARGET: process})
            began = time.perf_counter()
            uvloop.run(_load(port))
            duration = time.perf_counter() - began
            used = resource_usage.between(
                before, resource_usage.read({TARGET: process})
            )
            yield {
                "requests per s": REQUESTS / duration,
                "CPU µs per request": used.cpu[TARGET] / REQUESTS * 1e6,
                **used.trust(),
            }
    finally:
        process.kill()
        process.wait()
