"""A target that answers by script: the first part of a path says how. A process of its own.

Each arrival is a line of its log before anything is answered, so that nothing which
happens to the service, or to the answer, can make one unseen. When its work on a request
ended, and what it said of work that outlived the request, is another line.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
import sys
import time
import zlib
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
GARBAGE = bytes(range(256)) + b"\r\n\r\n"
# The shortest and the longest stall, and the pause before each byte of a slow answer.
STALL = (5.0, 20.0)
DRIP = 0.1
# The same of work that outlives its request, and the pause between two heartbeats.
WORK = (1.0, 10.0)
HEARTBEAT = 3.0
# How long it waits before it says again what nobody answered, and how often it does.
AGAIN, TRIES = 0.5, 200
# While a file of this name lies beside its log, it closes so many kept connections, without
# a word, when a request arrives there.
CLOSING, CLOSED = "closing", 0.3
# How far off receivers bear a signature to be, in seconds (Standard Webhooks).
TOLERANCE = 300.0
# How many times a flaky target is busy before it answers a request.
BUSY_AT_FIRST = 2


class Target:
    def __init__(self, log: Path) -> None:
        self._closing = log.with_name(CLOSING)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._seen: dict[str, int] = {}
        self._at_work: set[asyncio.Task[None]] = set()

    async def serve(self, port: int) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", port, backlog=512)
        await server.serve_forever()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        is_fresh = True
        try:
            while await self._answer(
                await reader.readuntil(b"\r\n\r\n"), reader, writer, is_fresh=is_fresh
            ):
                is_fresh = False
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_fresh: bool,
    ) -> bool:
        """Answer one request; whether the connection stays open."""
        at = time.time()
        path = head.split(b" ", 2)[1].decode()
        run_id = header(head, b"webhook-id")
        planned = datetime.fromisoformat(header(head, b"X-Scheduled-For"))
        row = (at, path, run_id, round(planned.timestamp() * 1000))
        self._note(*row)
        if abs(at - float(header(head, b"webhook-timestamp") or at)) > TOLERANCE:
            self._note(at, "stale", run_id, header(head, b"webhook-timestamp"))
        if not is_fresh and random.random() < CLOSED and self._closing.exists():
            self._note(at, "closed", run_id, 0)
            return False
        body = await reader.readexactly(int(header(head, b"Content-Length") or 0))
        self._seen[run_id] = seen = self._seen.get(run_id, 0) + 1
        how = path.split("/")[1]
        if how == "notice":
            self._note(at, "notice", run_id, json.loads(body)["data"]["task_id"])
        if how == "work":
            work = asyncio.create_task(self._work(head, run_id, seen))
            self._at_work.add(work)
            work.add_done_callback(self._at_work.discard)
        return await self._behave(how, run_id, seen, writer)

    def _note(self, *row: object) -> None:
        os.write(self._log, json.dumps(row).encode() + b"\n")

    async def _work(self, head: bytes, run_id: str, seen: int) -> None:
        """Work on after the answer, and say how it went; or never say a word."""
        ends = ("complete", "complete", "fail", "")
        word = ends[zlib.crc32(f"{run_id} {seen}".encode()) % len(ends)]
        if not word:
            return
        left = within(WORK, run_id)
        while left > HEARTBEAT:
            await asyncio.sleep(HEARTBEAT)
            left -= HEARTBEAT
            await self._say(head, run_id, "heartbeat")
        await asyncio.sleep(left)
        await self._say(head, run_id, word)

    async def _say(self, head: bytes, run_id: str, word: str) -> None:
        url = urlsplit(header(head, b"X-Scheduler-Run-Url"))
        token = header(head, b"X-Scheduler-Run-Token")
        request = (
            f"POST {url.path}/{word} HTTP/1.0\r\nHost: {url.netloc}\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        )
        at = time.time()
        for _ in range(TRIES):
            try:
                async with asyncio.timeout(5):
                    reader, writer = await asyncio.open_connection(
                        url.hostname, url.port
                    )
                    writer.write(request.encode())
                    status = int((await reader.readline()).split()[1])
                    writer.close()
            except (OSError, TimeoutError, IndexError, ValueError):
                status = 0
            if 0 < status < 500:
                self._note(at, word, run_id, status)
                return
            await asyncio.sleep(AGAIN)

    async def _behave(
        self, how: str, run_id: str, seen: int, writer: asyncio.StreamWriter
    ) -> bool:
        match how:
            case "fail":
                writer.write(FAILED)
            case "busy":
                writer.write(BUSY)
            case "flaky":
                writer.write(BUSY if seen <= BUSY_AT_FIRST else OK)
            case "stall":
                await asyncio.sleep(within(STALL, run_id))
                self._note(time.time(), "answer", run_id, 200)
                writer.write(OK)
            case "work":
                writer.write(ACCEPTED)
            case "drip":
                await _drip(writer)
            case "garbage":
                writer.write(GARBAGE)
            case "reset":
                reset(writer)
            case _:
                writer.write(OK)
        if how in {"garbage", "reset"}:
            return False
        await writer.drain()
        return True


def header(head: bytes, name: bytes) -> str:
    _, _, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0].decode()


def within(span: tuple[float, float], run_id: str) -> float:
    """Seconds, the same whenever the run comes."""
    shortest, longest = span
    return shortest + zlib.crc32(run_id.encode()) % 1000 / 1000 * (longest - shortest)


async def _drip(writer: asyncio.StreamWriter) -> None:
    for byte in OK:
        if writer.is_closing():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(DRIP)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close without a goodbye: the peer reads a reset."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, linger
    )
    writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(Target(Path(sys.argv[2])).serve(int(sys.argv[1])))
