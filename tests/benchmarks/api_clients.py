"""Clients of the API that call as fast as they can, or at a steady rate."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from tests.benchmarks.figures import Figures, percentile

# So many clients make changes at a rate that a slow answer delays no other change.
RATED_CLIENTS = 8


class ApiCall(NamedTuple):
    method: str
    path: str
    body: object = None


class ApiAnswer(NamedTuple):
    status: int
    body: bytes
    seconds: float


class ApiClient:
    """One kept connection of one user."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Authorization": f"Bearer {token}"}

    def __call__(self, call: ApiCall) -> ApiAnswer:
        text = None if call.body is None else json.dumps(call.body)
        began = time.perf_counter()
        self._connection.request(call.method, call.path, text, self._headers)
        response = self._connection.getresponse()
        body = response.read()
        return ApiAnswer(response.status, body, time.perf_counter() - began)


def call_in_parallel(
    clients: Sequence[ApiClient], calls: Sequence[ApiCall]
) -> list[ApiAnswer]:
    """Make the calls as fast as the clients can, in equal shares."""

    def work(client: ApiClient, share: Iterable[ApiCall]) -> list[ApiAnswer]:
        return [client(call) for call in share]

    shares = [calls[place :: len(clients)] for place in range(len(clients))]
    with ThreadPoolExecutor(len(clients)) as pool:
        return [answer for part in pool.map(work, clients, shares) for answer in part]


@contextmanager
def call_at_rate(change: Callable[[int], float], rate: float) -> Iterator[list[float]]:
    """Make so many numbered changes a second; yields the list of their durations."""
    durations: list[float] = []
    stop = threading.Event()
    start = time.monotonic()

    def work(first: int) -> None:
        number = first
        while not stop.wait(max(0.0, start + number / rate - time.monotonic())):
            durations.append(change(number))
            number += RATED_CLIENTS

    with ThreadPoolExecutor(RATED_CLIENTS) as pool:
        workers = [pool.submit(work, first) for first in range(RATED_CLIENTS)]
        try:
            yield durations
        finally:
            stop.set()
    for worker in workers:
        worker.result()


def response_times(seconds: Iterable[float], operation: str) -> Figures:
    ordered = sorted(seconds)
    return {
        f"{operation} p50 ms": percentile(ordered, 0.5) * 1000,
        f"{operation} p99 ms": percentile(ordered, 0.99) * 1000,
    }
