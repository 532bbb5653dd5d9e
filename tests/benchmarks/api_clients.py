"""Clients of the API: as fast as they can, or at a steady pace."""

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

# How many clients make changes at a pace, so that a slow answer delays no other call.
PACED_CLIENTS = 8


class Call(NamedTuple):
    method: str
    path: str
    body: object = None


class Answer(NamedTuple):
    status: int
    body: bytes
    seconds: float


class Client:
    """One connection of one user, kept alive."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Authorization": f"Bearer {token}"}

    def __call__(self, call: Call) -> Answer:
        text = None if call.body is None else json.dumps(call.body)
        began = time.perf_counter()
        self._connection.request(call.method, call.path, text, self._headers)
        answer = self._connection.getresponse()
        read = answer.read()
        return Answer(answer.status, read, time.perf_counter() - began)


def shared(clients: Sequence[Client], calls: Sequence[Call]) -> list[Answer]:
    """Calls made as fast as the clients can, in equal shares."""

    def work(client: Client, share: Iterable[Call]) -> list[Answer]:
        return [client(call) for call in share]

    shares = [calls[place :: len(clients)] for place in range(len(clients))]
    with ThreadPoolExecutor(len(clients)) as pool:
        return [answer for part in pool.map(work, clients, shares) for answer in part]


@contextmanager
def paced(change: Callable[[int], float], rate: float) -> Iterator[list[float]]:
    """Make a numbered change so many times a second; the list gets how long each took."""
    took: list[float] = []
    stop = threading.Event()
    start = time.monotonic()

    def work(first: int) -> None:
        number = first
        while not stop.wait(max(0.0, start + number / rate - time.monotonic())):
            took.append(change(number))
            number += PACED_CLIENTS

    with ThreadPoolExecutor(PACED_CLIENTS) as pool:
        working = [pool.submit(work, first) for first in range(PACED_CLIENTS)]
        try:
            yield took
        finally:
            stop.set()
    for each in working:
        each.result()


def waits(seconds: Iterable[float], whose: str = "answer") -> Figures:
    ordered = sorted(seconds)
    return {
        f"{whose} p50 ms": percentile(ordered, 0.5) * 1000,
        f"{whose} p99 ms": percentile(ordered, 0.99) * 1000,
    }
