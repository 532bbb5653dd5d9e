"""Large bodies made to cost memory: web stays small, answers others, and stays small after."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

from tests.acceptance.harness import Harness, eventually

pytestmark = pytest.mark.timeout(300)

MIB = 1024 * 1024
# Each is as large as some limit allows.
LARGE_BODIES = {
    "objects": b"[" + b"{}," * (10 * MIB) + b"{}]",
    "as many values as may be": b"[" + b"[]," * 999_000 + b" " * (28 * MIB) + b"[]]",
    "deep": b"[" * (31 * MIB),
    "wide text": b'["' + b"x" * (28 * MIB) + "\N{PILE OF POO}".encode() + b'"]',
}
SMALL_BODY = b"[" + b"[]," * 340_000 + b"[]]"
TOO_LARGE_BODY = b" " * (33 * MIB)


def post_body(harness: Harness, path: str, body: bytes) -> int:
    headers = {"Authorization": str(harness.api.headers["Authorization"])}
    url = f"{harness.url}{path}"
    return requests.post(url, data=body, headers=headers, timeout=120).status_code


def resident_mib(process: psutil.Process) -> int:
    return int(process.memory_info().rss) // MIB


def test_memory_is_bounded_during_and_after_an_attack(harness: Harness) -> None:
    (process,) = harness.web_processes()
    before = resident_mib(process)
    paths = ("/tasks/bulk/", "/tasks/apply/")
    with ThreadPoolExecutor(8) as clients:
        for _ in range(2):
            requests_sent = [
                clients.submit(post_body, harness, path, body)
                for body in (*LARGE_BODIES.values(), TOO_LARGE_BODY)
                for path in paths
            ] + [
                clients.submit(post_body, harness, "/tasks/", SMALL_BODY)
                for _ in range(8)
            ]
            while not all(each.done() for each in requests_sent):
                assert harness.api.get(f"{harness.url}/healthz", timeout=20).ok
                assert resident_mib(process) < before + 700
            # Requests that waited too long for memory get 503.
            assert {each.result() for each in requests_sent} <= {400, 413, 503}

    # Some 100 stay, and more if small objects lie above large ones in both arenas.
    eventually(lambda: resident_mib(process) < before + 200)
