"""A target that costs next to nothing: it notes when each request arrives, and answers 200.

It answers requests to a path that begins with /slow after 20 seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime
from typing import ClassVar, Protocol, runtime_checkable

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SLOW_SECONDS = 20.0


@runtime_checkable
class Writer(Protocol):
    """The transports of uvloop have it, and are no subclasses of asyncio's."""

    def write(self, data: bytes, /) -> None: ...


class Sink(asyncio.Protocol):
    """Reads just enough HTTP for requests that arrive one after the other."""

    arrivals: ClassVar[list[tuple[float, bytes]]] = []
    slow: ClassVar[list[tuple[float, bytes]]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Writer)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        # Every body is a JSON object and no header ends like one, so that the last
        # byte says whether a request is whole.
        if data[-1:] == b"}" and data[:7] != b"POST /s" and not self.buffer:
            self.arrivals.append((time.time(), data))
            self.transport.write(OK)
            return
        self.buffer += data
        if self.buffer.endswith((b"}", b"\r\n\r\n")) and _is_whole(self.buffer):
            request, self.buffer = self.buffer, b""
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET /count"):
            self._respond(str(len(self.arrivals)))
        elif request.startswith(b"GET /take"):
            rows = [(at, *_parse(head)) for at, head in self.arrivals + self.slow]
            self.arrivals.clear()
            self.slow.clear()
            self._respond(json.dumps(rows))
        elif request.startswith(b"POST /slow"):
            self.slow.append((time.time(), request))
            loop = asyncio.get_running_loop()
            loop.call_later(SLOW_SECONDS, self.transport.write, OK)
        else:
            self.arrivals.append((time.time(), request))
            self.transport.write(OK)

    def _respond(self, text: str) -> None:
        body = text.encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )


def _is_whole(request: bytes) -> bool:
    head, end, rest = request.partition(b"\r\n\r\n")
    # Only the case of this name differs between clients.
    length = _header(head.lower(), b"content-length")
    return bool(end) and len(rest) >= int(length or 0)


def _header(head: bytes, name: bytes) -> str:
    _, _, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0].decode()


def _parse(head: bytes) -> tuple[str, float, str]:
    planned = datetime.fromisoformat(_header(head, b"X-Scheduled-For"))
    path = head.split(b" ", 2)[1].decode()
    return _header(head, b"webhook-id"), planned.timestamp(), path


async def serve(port: int, addresses: int) -> None:
    """Listen on 127.0.0.1 and the addresses after it: one process is many hosts."""
    hosts = [f"127.0.0.{number}" for number in range(1, addresses + 1)]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, hosts, port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
