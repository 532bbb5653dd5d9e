"""What one POST costs with each HTTP client, in CPU: why the transport is libcurl's."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable

import aiohttp
import requests
import uvloop

from tasks_api.delivery.request import HttpResult, Request
from tasks_api.delivery.transport import Transport, TransportOptions
from tests.acceptance.stand import free_port
from tests.benchmarks.report import table
from tests.benchmarks.stand import start_sink

BODY = b'{"hello": "world"}'
AT_ONCE = 100


def with_transport(url: str, count: int) -> None:
    done = threading.Semaphore(0)

    def on_done(key: object, outcome: HttpResult) -> None:
        assert outcome.status_code == 200, outcome
        done.release()

    transport = Transport(
        on_done,
        TransportOptions(
            allow_private=True, max_in_flight=AT_ONCE, max_per_host=AT_ONCE
        ),
    )
    transport.start()
    for key in range(count):
        transport.send(key, Request("POST", url, _headers(), BODY, 30))
    for _ in range(count):
        done.acquire()
    transport.close(grace=1)


def with_aiohttp(url: str, count: int) -> None:
    async def work(session: aiohttp.ClientSession, share: int) -> None:
        for _ in range(share):
            async with session.post(url, data=BODY, headers=dict(_headers())) as answer:
                await answer.read()

    async def main() -> None:
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        async with aiohttp.ClientSession(connector=connector) as session:
            share = count // AT_ONCE
            await asyncio.gather(*(work(session, share) for _ in range(AT_ONCE)))

    uvloop.run(main())


def with_requests(url: str, count: int) -> None:
    with requests.Session() as session:
        for _ in range(count):
            session.post(url, data=BODY, headers=dict(_headers()), timeout=30)


def _headers() -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Type", "application/json"),
        ("X-Scheduled-For", "2026-11-22T12:00:00Z"),
    )


CLIENTS: dict[str, tuple[Callable[[str, int], None], int]] = {
    "transport (pycurl)": (with_transport, 10_000),
    "aiohttp + uvloop": (with_aiohttp, 5_000),
    "requests, one by one": (with_requests, 1_000),
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
    print(table(rows))


if __name__ == "__main__":
    main()
