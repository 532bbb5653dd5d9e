"""Compares the CPU of one POST between HTTP clients: why the transport is libcurl's."""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Callable

import aiohttp
import requests
import uvloop

from tasks_api.delivery.request import Outcome, Request
from tasks_api.delivery.transport import Transport
from tests.acceptance.harness import free_port
from tests.benchmarks.harness import start_sink
from tests.benchmarks.report import render_table

BODY = b'{"hello": "world"}'
CONCURRENCY = 100


def post_with_transport(url: str, count: int) -> None:
    done = threading.Semaphore(0)

    def on_done(key: object, outcome: Outcome) -> None:
        assert outcome.status_code == 200, outcome
        done.release()

    transport = Transport(
        on_done=on_done,
        allow_private=True,
        max_in_flight=CONCURRENCY,
        max_per_host=CONCURRENCY,
    )
    transport.start()
    for key in range(count):
        transport.send(key, Request("POST", url, _headers(), BODY, 30))
    for _ in range(count):
        done.acquire()
    transport.close(grace=1)


def post_with_aiohttp(url: str, count: int) -> None:
    async def work(session: aiohttp.ClientSession, share: int) -> None:
        for _ in range(share):
            async with session.post(url, data=BODY, headers=dict(_headers())) as answer:
                await answer.read()

    async def main() -> None:
        connector = aiohttp.TCPConnector(limit=CONCURRENCY)
        async with aiohttp.ClientSession(connector=connector) as session:
            share = count // CONCURRENCY
            await asyncio.gather(*(work(session, share) for _ in range(CONCURRENCY)))

    uvloop.run(main())


def post_with_requests(url: str, count: int) -> None:
    with requests.Session() as session:
        for _ in range(count):
            session.post(url, data=BODY, headers=dict(_headers()), timeout=30)


def _headers() -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Type", "application/json"),
        ("X-Scheduled-For", "2026-11-22T12:00:00Z"),
    )


CLIENTS: dict[str, tuple[Callable[[str, int], None], int]] = {
    "transport (pycurl)": (post_with_transport, 10_000),
    "aiohttp + uvloop": (post_with_aiohttp, 5_000),
    "requests, one by one": (post_with_requests, 1_000),
}


def main() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"
    sink = start_sink(port)
    costs: dict[str, list[float]] = {name: [] for name in CLIENTS}
    for _ in range(3):
        for name, (client, count) in CLIENTS.items():
            before = time.process_time()
            client(url, count)
            costs[name].append((time.process_time() - before) / count * 1e6)
    sink.kill()
    sink.wait()
    medians = {name: statistics.median(found) for name, found in costs.items()}
    cheapest = min(medians.values())
    rows = [("client", "CPU µs per POST", "ratio")]
    rows += [(n, f"{m:.0f}", f"{m / cheapest:.1f}") for n, m in medians.items()]
    sys.stdout.write(f"{render_table(rows)}\n")


if __name__ == "__main__":
    main()
