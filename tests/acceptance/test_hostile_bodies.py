"""Large bodies made to cost memory: web stays small, answers others, and stays small after."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

from tests.acceptance.harness import Harness, eventually

pytestmark = pytest.mark.timeout(300)

MIB = 1024 * 1024
# Each up to what some limit allows.
LARGE = {
    "objects": b"[" + b"{}," * (10 * MIB) + b"{}]",
    "as many values as may be": b"[" + b"[]," * 999_000 + b" " * (28 * MIB) + b"[]]",
    "deep": b"[" * (31 * MIB),
    "wide text": b'["' + b"x" * (28 * MIB) + "\N{PILE OF POO}".encode() + b'"]',
}
SMALL = b"[" + b"[]," * 340_000 + b"[]]"
TOO_LARGE = b" " * (33 * MIB)


def call(harness: Harness, path: str, body: bytes) -> int:
    headers = {"Authorization": str(harness.api.headers["Authorization"])}
    url = f"{harness.url}{path}"
    return requests.post(url, data=body, headers=headers, timeout=120).status_code


def resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss) // MIB


def test_memory_is_bounded_during_and_after_an_attack(harness: Harness) -> None:
    (process,) = harness.web_processes()
    before = resident(process)
    paths = ("/tasks/bulk/", "/tasks/apply/")
    with ThreadPoolExecutor(8) as clients:
        for _ in range(2):
            under_way = [
                clients.submit(call, harness, path, body)
                for body in (*LARGE.values(), TOO_LARGE)
                for path in paths
            ] + [clients.submit(call, harness, "/tasks/", SMALL) for _ in range(8)]
            while not all(one.done() for one in under_way):
                assert harness.api.get(f"{harness.url}/healthz", timeout=20).ok
                assert resident(process) < before + 700
            # 503 is for those that had waited for long enough.
            assert {one.result() for one in under_way} <= {400, 413, 503}

    eventually(lambda: resident(process) < before + 150)
