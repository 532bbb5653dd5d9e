"""Web as real processes: how it stops, and what it does when some of them are killed."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
import pytest

from tests.acceptance.harness import Harness, eventually

pytestmark = pytest.mark.timeout(120)

TASK_BODY = json.dumps(
    {
        "task_type": "one_time",
        "run_datetime": "2099-01-01T00:00:00Z",
        "url": "http://127.0.0.1:9/",
    }
).encode()


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    started = Harness(tmp_path_factory.mktemp("s"))
    started.start()
    yield started
    started.stop()


@pytest.fixture
def web(harness: Harness) -> subprocess.Popen[bytes]:
    """Web, which is started again only after a test that ended it."""
    process = harness.find_running("web") or harness.start_part("web")
    eventually(lambda: harness.is_ready(workers=0, beats=0))
    return process


@contextmanager
def open_connection(harness: Harness) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", harness.port, timeout=20)
    connection.connect()
    with closing(connection):
        yield connection


def send_all_but_last_byte(
    harness: Harness, connection: http.client.HTTPConnection
) -> None:
    """Send all of a request but the last byte of its body."""
    connection.putrequest("POST", "/tasks/")
    connection.putheader("Authorization", str(harness.api.headers["Authorization"]))
    connection.putheader("Content-Length", str(len(TASK_BODY)))
    connection.endheaders()
    connection.send(TASK_BODY[:-1])


def test_web_that_stops_answers_running_requests_and_closes_idle_connections(
    harness: Harness, web: subprocess.Popen[bytes]
) -> None:
    with open_connection(harness) as idle, open_connection(harness) as busy:
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        send_all_but_last_byte(harness, busy)
        # Web accepts connections in order, so it has accepted the busy one, too.
        harness.api.get(f"{harness.url}/healthz", timeout=10)

        web.send_signal(signal.SIGTERM)

        assert idle.sock.recv(1) == b""
        busy.send(TASK_BODY[-1:])
        with busy.getresponse() as answer:
            assert answer.status == 201
    assert web.wait(timeout=20) == 0


def test_killed_processes_are_replaced_however_soon_again(
    harness: Harness, web: subprocess.Popen[bytes]
) -> None:
    parent = psutil.Process(web.pid)
    count = len(parent.children())
    for _ in range(3):
        for process in parent.children():
            process.kill()
            process.wait()

        eventually(lambda: len(parent.children()) == count)
        eventually(lambda: harness.is_ready(workers=0, beats=0))

    assert web.poll() is None


def test_processes_end_when_their_parent_is_killed(
    harness: Harness, web: subprocess.Popen[bytes]
) -> None:
    processes = psutil.Process(web.pid).children()

    harness.stop_process(web, signal.SIGKILL)

    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive


def test_a_body_may_come_in_chunks_and_head_has_none(
    harness: Harness, web: subprocess.Popen[bytes]
) -> None:
    answer = harness.api.post(
        f"{harness.url}/tasks/", data=iter([TASK_BODY]), timeout=10
    )
    assert answer.status_code == 201

    with open_connection(harness) as connection:
        for method in ("HEAD", "GET"):
            connection.request(method, "/healthz")
            response = connection.getresponse()
            assert response.status == 200
            assert bool(response.read()) == (method == "GET")


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("size", [2_000_000, 12_000_000])
def test_a_client_that_sends_a_body_that_is_too_large_reads_why_it_is_refused(
    harness: Harness, web: subprocess.Popen[bytes], size: int, in_chunks: bool
) -> None:
    body = json.dumps({"url": "x" * size}).encode()

    with open_connection(harness) as connection:
        headers = {"Authorization": str(harness.api.headers["Authorization"])}
        connection.request(
            "POST",
            "/tasks/",
            [body] if in_chunks else body,
            headers,
            encode_chunked=in_chunks,
        )
        response = connection.getresponse()

        assert response.status == 413
        assert b"larger than 1048576 bytes" in response.read()
