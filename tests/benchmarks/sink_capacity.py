"""Measures what the target can take, so that no scenario measures the target by mistake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop

from tests.acceptance.harness import free_port
from tests.benchmarks import resource_usage
from tests.benchmarks.figures import TARGET, Figures
from tests.benchmarks.harness import start_sink
from tests.benchmarks.sink import Writer

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


@dataclass
class _Flood:
    """What the connections have yet to send and to be answered, together."""

    done: asyncio.Event
    unsent: int = REQUESTS
    unanswered: int = REQUESTS


class _FloodClient(asyncio.Protocol):
    """Sends the same bytes again as soon as it is answered: no client costs less."""

    def __init__(self, flood: _Flood) -> None:
        self._flood = flood

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Writer)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._flood.unanswered -= 1
        if not self._flood.unanswered:
            self._flood.done.set()
        self._send()

    def _send(self) -> None:
        if self._flood.unsent:
            self._flood.unsent -= 1
            self._transport.write(REQUEST)


async def _send_flood(port: int) -> None:
    loop, flood = asyncio.get_running_loop(), _Flood(asyncio.Event())
    connections = [
        await loop.create_connection(lambda: _FloodClient(flood), "127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]
    await flood.done.wait()
    for transport, _ in connections:
        transport.close()


def measure_sink(*, rounds: int) -> Iterator[Figures]:
    """What the target itself takes from a hundred connections of the leanest client."""
    port = free_port()
    process = start_sink(port)
    try:
        for _ in range(rounds):
            before = resource_usage.read_usage({TARGET: process})
            began = time.perf_counter()
            uvloop.run(_send_flood(port))
            duration = time.perf_counter() - began
            used = resource_usage.usage_between(
                before, resource_usage.read_usage({TARGET: process})
            )
            yield {
                "requests per s": REQUESTS / duration,
                "CPU µs per request": used.cpu[TARGET] / REQUESTS * 1e6,
                **used.other_load(),
            }
    finally:
        process.kill()
        process.wait()
