"""Clients that announce a body and do not send it: no other client waits for them."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests

from tests.acceptance.harness import Harness, eventually, free_port

pytestmark = pytest.mark.timeout(120)

BODY_TIMEOUT = 2.0
RUN_PATH = "/runs/01a222f1-8f52-73f0-978e-356b1203eaa7/complete"
TASK = {
    "task_type": "one_time",
    "run_datetime": "2099-01-01T00:00:00Z",
    "url": "http://127.0.0.1:9/",
}
PROMPT_SECONDS = 8.0
# More than the threads of web's one process.
CLIENT_COUNT = 30


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    started = Harness(tmp_path_factory.mktemp("s"))
    started.environment["SCHEDULER_BODY_TIMEOUT"] = str(BODY_TIMEOUT)
    started.start()
    started.start_part("web")
    eventually(lambda: started.is_ready(workers=0, beats=0))
    yield started
    started.stop()


@pytest.fixture
def web_behind_a_proxy(harness: Harness) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"BEHIND_TLS_PROXY": "1", "SECURE_SSL_REDIRECT": "1", "PORT": str(port)}
    process = harness.start_part("web", **settings)
    eventually(lambda: is_up(f"{url}/healthz"))
    yield url
    harness.stop_process(process, signal.SIGTERM)


def is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


@contextmanager
def announced_request(harness: Harness, head: str) -> Iterator[socket.socket]:
    """A connection with the head of a request on it, and nothing of its body."""
    with socket.create_connection(("127.0.0.1", harness.port), timeout=30) as client:
        client.sendall(
            f"{head}\r\nHost: x\r\n".encode().replace(b"|", b"\r\n") + b"\r\n"
        )
        yield client


def read_status(client: socket.socket) -> int:
    return int(client.makefile("rb").readline().split()[1])


REQUEST_HEADS = [
    f"POST {RUN_PATH} HTTP/1.1|X-Scheduler-Run-Token: x|Content-Length: 10",
    f"POST {RUN_PATH} HTTP/1.1|Authorization: Bearer srt_0_x|Content-Length: 10",
    f"POST /admin/login/ HTTP/1.1|Cookie: csrftoken={'a' * 32}|Content-Length: 10",
    "POST /tasks/ HTTP/1.1|Authorization: Bearer TOKEN|Content-Length: 10",
    "POST /tasks/ HTTP/1.1|Authorization: Bearer TOKEN|Transfer-Encoding: chunked",
    "PUT /cron HTTP/1.1|Content-Length: 1000000",
    "GET /healthz HTTP/1.1|Content-Length: 10",
]


@pytest.mark.parametrize("head", REQUEST_HEADS)
def test_missing_bodies_block_no_other_client_and_time_out(
    harness: Harness, head: str
) -> None:
    token = str(harness.api.headers["Authorization"]).removeprefix("Bearer ")
    head = head.replace("TOKEN", token)
    with ExitStack() as stack:
        slow = [
            stack.enter_context(announced_request(harness, head))
            for _ in range(CLIENT_COUNT)
        ]

        # Far sooner than if each slow request held a thread until it times out.
        assert harness.api.get(f"{harness.url}/healthz", timeout=PROMPT_SECONDS).ok
        answer = harness.api.post(
            f"{harness.url}/tasks/", json=TASK, timeout=PROMPT_SECONDS
        )
        assert answer.status_code == 201

        assert {read_status(client) for client in slow} == {408}


def test_a_dripping_body_times_out(harness: Harness) -> None:
    head = f"POST {RUN_PATH} HTTP/1.1|X-Scheduler-Run-Token: x|Content-Length: 1000"
    with announced_request(harness, head) as client:
        client.settimeout(0.2)
        received = b""
        while not received:
            client.sendall(b" ")
            try:
                received = client.recv(1000)
            except TimeoutError:
                continue

        assert received.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_times_out_gets_a_json_error_and_is_disconnected(
    harness: Harness,
) -> None:
    with announced_request(
        harness, "POST /tasks/ HTTP/1.1|Content-Length: 10"
    ) as client:
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")

    assert b"connection: close" in head.lower()
    message = "The request body did not arrive in time"
    assert json.loads(body) == {"error": {"message": message}}


def test_a_format_in_text_reports_the_timeout_in_text(harness: Harness) -> None:
    with announced_request(harness, "POST / HTTP/1.1|Content-Length: 10") as client:
        _, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")

    assert body == b"The request body did not arrive in time"


def test_clients_that_time_out_or_hang_up_leave_no_open_files(harness: Harness) -> None:
    (process,) = harness.web_processes()
    before = process.num_fds()
    head = f"POST {RUN_PATH} HTTP/1.1|X-Scheduler-Run-Token: x|Content-Length: 10"
    for _ in range(3):
        with ExitStack() as stack:
            for _ in range(CLIENT_COUNT):
                stack.enter_context(announced_request(harness, head))

    eventually(lambda: process.num_fds() <= before + 2)


def test_more_idle_connections_than_requests_are_accepted_at_once(
    harness: Harness,
) -> None:
    with ExitStack() as stack:
        for _ in range(1200):
            address = ("127.0.0.1", harness.port)
            stack.enter_context(socket.create_connection(address, timeout=30))

        assert harness.api.get(f"{harness.url}/healthz", timeout=PROMPT_SECONDS).ok


def test_a_large_body_is_read_only_from_an_authenticated_client(
    harness: Harness,
) -> None:
    head = (
        "POST /tasks/bulk HTTP/1.1|Authorization: Bearer sch_x|Content-Length: 9000000"
    )
    with announced_request(harness, head) as client:
        assert read_status(client) == 401


def test_a_proxy_is_believed_and_not_its_client(
    harness: Harness, web_behind_a_proxy: str
) -> None:
    for headers, status in [
        ({"X-Forwarded-Proto": "https"}, 401),
        ({"X_Forwarded_Proto": "https"}, 301),
        ({"X-Forwarded-Proto": "http", "X_Forwarded_Proto": "https"}, 301),
        ({"X_Forwarded_Proto": "https", "X-Forwarded-Proto": "http"}, 301),
    ]:
        answer = requests.get(
            f"{web_behind_a_proxy}/tasks",
            headers=headers,
            timeout=10,
            allow_redirects=False,
        )
        assert answer.status_code == status
