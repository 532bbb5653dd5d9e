"""A target that answers by script, as a process of its own: the path says how.

It logs each arrival before it answers, so that nothing that happens to the service or to
the answer can hide an arrival. It logs another line when its work on a request ends, and
for each call that it makes about long work.
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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
# The answers of behaviours that do nothing else.
ANSWERS = {"fail": FAILED, "busy": BUSY}
GARBAGE = bytes(range(256)) + b"\r\n\r\n"
# The shortest and the longest stall, and the pause before each byte of a slow answer.
STALL_SECONDS = (5.0, 20.0)
DRIP_INTERVAL = 0.1
# How long a target takes that is neither prompt nor slow.
BRIEF_SECONDS = (0.1, 0.8)
# The shortest and the longest work that outlives its request, and its heartbeats.
WORK_SECONDS = (1.0, 10.0)
HEARTBEAT_INTERVAL = 3.0
# It repeats an unanswered call about work after so long, and so many times.
RETRY_DELAY, MAX_TRIES = 0.5, 200
# While a file of this name lies beside its log, it closes this share of the kept
# connections without an answer when a request arrives there.
CLOSING_FLAG, CLOSED_SHARE = "closing", 0.3
# Receivers accept signatures that are so many seconds off (Standard Webhooks).
SIGNATURE_TOLERANCE = 300.0
# A flaky target is busy so many times before it answers a request.
FLAKY_FAILURES = 2


class TargetRequest(NamedTuple):
    """The head of a request, and when it arrived."""

    arrived_at: float
    head: bytes

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def behaviour(self) -> str:
        return self.path.split("/")[1]

    @property
    def run_id(self) -> str:
        return header(self.head, b"webhook-id")

    @property
    def scheduled_ms(self) -> int:
        scheduled_for = datetime.fromisoformat(header(self.head, b"X-Scheduled-For"))
        return (scheduled_for - EPOCH) // timedelta(milliseconds=1)

    @property
    def signed_at(self) -> str:
        return header(self.head, b"webhook-timestamp")


class ScriptedTarget:
    def __init__(self, log: Path) -> None:
        self._closing_flag = log.with_name(CLOSING_FLAG)
        self._log_file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._times_seen: dict[str, int] = {}
        self._work_tasks: set[asyncio.Task[None]] = set()

    async def serve(self, port: int) -> None:
        server = await asyncio.start_server(
            self._handle_connection, "127.0.0.1", port, backlog=512
        )
        await server.serve_forever()

    async def _handle_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        is_fresh = True
        try:
            while await self._handle_request(reader, writer, is_fresh=is_fresh):
                is_fresh = False
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _handle_request(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_fresh: bool,
    ) -> bool:
        """Answer one request; returns whether the connection stays open."""
        head = await reader.readuntil(b"\r\n\r\n")
        request = TargetRequest(time.time(), head)
        at, run_id = request.arrived_at, request.run_id
        self._log_event(at, request.path, run_id, request.scheduled_ms)
        if abs(at - float(request.signed_at or at)) > SIGNATURE_TOLERANCE:
            self._log_event(at, "stale", run_id, request.signed_at)
        if not is_fresh and self._closes_kept_connection():
            self._log_event(at, "closed", run_id, 0)
            return False
        body = await reader.readexactly(int(header(head, b"Content-Length") or 0))
        if request.behaviour == "notice":
            self._log_event(at, "notice", run_id, json.loads(body)["data"]["task_id"])
        return await self._behave(request, writer)

    def _closes_kept_connection(self) -> bool:
        return random.random() < CLOSED_SHARE and self._closing_flag.exists()

    def _log_event(self, *row: object) -> None:
        os.write(self._log_file, json.dumps(row).encode() + b"\n")

    async def _behave(
        self, request: TargetRequest, writer: asyncio.StreamWriter
    ) -> bool:
        run_id = request.run_id
        self._times_seen[run_id] = seen = self._times_seen.get(run_id, 0) + 1
        match request.behaviour:
            case "reset":
                reset(writer)
                return False
            case "garbage":
                writer.write(GARBAGE)
                return False
            case "drip":
                await _drip(writer)
            case "brief":
                await asyncio.sleep(seconds_for(run_id, BRIEF_SECONDS))
                writer.write(OK)
            case "stall":
                await asyncio.sleep(seconds_for(run_id, STALL_SECONDS))
                self._log_event(time.time(), "answer", run_id, 200)
                writer.write(OK)
            case "flaky":
                writer.write(BUSY if seen <= FLAKY_FAILURES else OK)
            case "work":
                self._start_work(request, seen)
                writer.write(ACCEPTED)
            case behaviour:
                writer.write(ANSWERS.get(behaviour, OK))
        await writer.drain()
        return True

    def _start_work(self, request: TargetRequest, seen: int) -> None:
        work = asyncio.create_task(self._work(request, seen))
        self._work_tasks.add(work)
        work.add_done_callback(self._work_tasks.discard)

    async def _work(self, request: TargetRequest, seen: int) -> None:
        """Work after the answer, then report completion or failure, or nothing at all."""
        ends = ("complete", "complete", "fail", "")
        end = ends[zlib.crc32(f"{request.run_id} {seen}".encode()) % len(ends)]
        if not end:
            return
        left = seconds_for(request.run_id, WORK_SECONDS)
        while left > HEARTBEAT_INTERVAL:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            left -= HEARTBEAT_INTERVAL
            await self._report_work(request, "heartbeat")
        await asyncio.sleep(left)
        await self._report_work(request, end)

    async def _report_work(self, request: TargetRequest, report: str) -> None:
        """Call the service until it answers."""
        at = time.time()
        for _ in range(MAX_TRIES):
            status = await _post_report(request.head, report)
            if 0 < status < 500:
                self._log_event(at, report, request.run_id, status)
                return
            # It may have been taken all the same.
            self._log_event(at, report, request.run_id, 0)
            await asyncio.sleep(RETRY_DELAY)


async def _post_report(head: bytes, report: str) -> int:
    """The status of the answer; 0 where none came."""
    url = urlsplit(header(head, b"X-Scheduler-Run-Url"))
    token = header(head, b"X-Scheduler-Run-Token")
    request = (
        f"POST {url.path}/{report} HTTP/1.0\r\nHost: {url.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
    )
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
            writer.write(request.encode())
            status = int((await reader.readline()).split()[1])
            writer.close()
    except (OSError, TimeoutError, IndexError, ValueError):
        return 0
    return status


def header(head: bytes, name: bytes) -> str:
    _, _, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0].decode()


def seconds_for(run_id: str, bounds: tuple[float, float]) -> float:
    """Seconds within bounds, the same for each attempt of a run."""
    shortest, longest = bounds
    return shortest + zlib.crc32(run_id.encode()) % 1000 / 1000 * (longest - shortest)


async def _drip(writer: asyncio.StreamWriter) -> None:
    for byte in OK:
        if writer.is_closing():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(DRIP_INTERVAL)


def reset(writer: asyncio.StreamWriter) -> None:
    """Abort the connection, so that the peer reads a reset."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, linger
    )
    writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(ScriptedTarget(Path(sys.argv[2])).serve(int(sys.argv[1])))
