"""A transport bounds every answer, in time and in size."""

from __future__ import annotations

import gzip
import socket
import threading
import time

import pytest

from tasks_api.delivery.request import HttpResult
from tasks_api.delivery.transfers import MAX_ANSWER_BYTES
from tasks_api.delivery.transport import Transport, TransportOptions
from tests.integration.support.transport_doubles import (
    OK,
    Outcomes,
    StartRawServer,
    StartTransport,
    drip_after,
    request_to,
)


@pytest.mark.parametrize(
    "prefix",
    [b"", b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"],
)
def test_a_dripping_server_does_not_stretch_the_deadline(
    start_transport: StartTransport,
    outcomes: Outcomes,
    start_server: StartRawServer,
    prefix: bytes,
) -> None:
    server = start_server(drip_after(prefix))

    start_transport().send(1, request_to(server.url, timeout=0.5))

    outcome = outcomes.wait_for(1)[1]
    assert outcome.status_code is None
    assert "timed out" in outcome.error or "not HTTP" in outcome.error
    assert outcome.duration_ms < 1500


def test_a_server_that_says_nothing_is_given_up(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    server = start_server(lambda connection: connection.recv(1))

    start_transport().send(1, request_to(server.url, timeout=0.3))

    assert outcomes.wait_for(1)[1].error.startswith("timed out")


def test_an_answer_counts_that_came_while_the_process_was_stopped(
    outcomes: Outcomes, start_server: StartRawServer
) -> None:
    is_stopped, is_answered = threading.Event(), threading.Event()

    def answer_late(connection: socket.socket) -> None:
        assert is_stopped.wait(20)
        connection.sendall(OK)
        is_answered.set()

    def stop(key: object, result: HttpResult) -> None:
        """Hold up the transport's thread beyond the timeout of the other request."""
        if key == "first":
            is_stopped.set()
            assert is_answered.wait(20)
            time.sleep(1.5)
        outcomes(key, result)

    late, quick = (
        start_server(answer_late),
        start_server(lambda connection: connection.sendall(OK)),
    )
    transport = Transport(stop, TransportOptions[str](allow_private=True))
    transport.start()
    transport.send("second", request_to(late.url, timeout=1))
    transport.send("first", request_to(quick.url))

    found = outcomes.wait_for(2)
    transport.close(grace=1)
    assert found["second"].status_code == 200
    assert found["second"].error == ""


def test_an_answer_is_read_up_to_a_cap(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    start_transport().send(1, request_to(start_server(endless).url))

    outcome = outcomes.wait_for(1)[1]
    assert outcome.status_code == 200
    assert outcome.answer == b"x" * MAX_ANSWER_BYTES


def test_an_answer_is_never_unpacked(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"

    start_transport().send(
        1, request_to(start_server(lambda c: c.sendall(head.encode() + bomb)).url)
    )

    assert outcomes.wait_for(1)[1].answer == bomb[:MAX_ANSWER_BYTES]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\1\2\3",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n" + b"X-Flood: y\r\n" * 100_000,
    ],
)
def test_an_incomplete_answer_is_an_error(
    start_transport: StartTransport,
    outcomes: Outcomes,
    start_server: StartRawServer,
    answer: bytes,
) -> None:
    start_transport().send(
        1, request_to(start_server(lambda c: c.sendall(answer)).url, timeout=2)
    )

    outcome = outcomes.wait_for(1)[1]
    assert outcome.status_code is None
    assert outcome.error


def test_a_refused_connection_says_so(
    start_transport: StartTransport, outcomes: Outcomes
) -> None:
    start_transport().send(1, request_to("http://127.0.0.1:9/"))

    assert outcomes.wait_for(1)[1].error == "connection refused"
