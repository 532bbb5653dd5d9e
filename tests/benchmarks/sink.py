"""A target that costs next to nothing: it notes when each request came, and says 200."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime
from typing import ClassVar

import uvloop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Sink(asyncio.Protocol):
    """Reads just enough HTTP for requests that come whole, one after the other."""

    arrivals: ClassVar[list[tuple[float, bytes]]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end or len(rest) < _length(head):
            return
        self.buffer = b""
        if head.startswith(b"GET /take"):
            self._hand_over()
            return
        self.arrivals.append((time.time(), head))
        self.transport.write(OK)

    def _hand_over(self) -> None:
        rows = [(at, *_read(head)) for at, head in self.arrivals]
        self.arrivals.clear()
        body = json.dumps(rows).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )


def _header(head: bytes, name: bytes) -> str:
    _, _, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0].decode()


def _length(head: bytes) -> int:
    return int(_header(head, b"Content-Length") or 0)


def _read(head: bytes) -> tuple[str, float]:
    planned = datetime.fromisoformat(_header(head, b"X-Scheduled-For"))
    return _header(head, b"webhook-id"), planned.timestamp()


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
