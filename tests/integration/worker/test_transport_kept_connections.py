"""A transport uses connections again, and repeats what a kept one lost."""

from __future__ import annotations

import socket

import pytest

from tests.integration.support.transport_doubles import (
    OK,
    CuttingServer,
    DroppingServer,
    Gate,
    Outcomes,
    StartRawServer,
    StartTransport,
    request_to,
)


def test_connections_are_used_again(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(OK)
        while connection.recv(65536):
            connection.sendall(OK)

    server = start_server(serve)
    transport = start_transport()
    for number in range(5):
        transport.send(number, request_to(server.url))
        outcomes.wait_for(number + 1)

    assert server.connections == 1


def test_a_request_cut_on_kept_connections_is_sent_once_more_at_most(
    start_transport: StartTransport, outcomes: Outcomes
) -> None:
    transport, server = start_transport(), CuttingServer(warm=5)
    for number in range(5):
        transport.send(number, request_to(f"{server.url}/warm"))
    outcomes.wait_for(5)

    transport.send("cut", request_to(f"{server.url}/cut"))

    assert outcomes.wait_for(6)["cut"].error
    assert server.cut_requests == 2
    server.close()


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("size", [2, 1_000_000])
def test_a_request_that_a_kept_connection_lost_is_repeated_on_a_fresh_one(
    start_transport: StartTransport,
    outcomes: Outcomes,
    start_server: StartRawServer,
    method: str,
    size: int,
) -> None:
    held, forgetful = Gate(), DroppingServer(lambda _: True)

    def serve(connection: socket.socket) -> None:
        # All are under way at once, so that each has a connection of its own.
        held.pause()
        forgetful(connection)

    server = start_server(serve)
    transport = start_transport()
    for number in range(5):
        transport.send(number, request_to(server.url))
    held.wait_for(5)
    held.open()
    outcomes.wait_for(5)

    body = b"x" * size if method == "POST" else b""
    transport.send("lost", request_to(server.url + "lost", method=method, body=body))

    assert outcomes.wait_for(6)["lost"].status_code == 200
    # Not on another kept one, that would have been lost like the first.
    assert forgetful.seen == [b"/lost"]
    assert server.connections == 6


def test_a_target_that_closes_a_third_of_its_kept_connections_loses_nothing(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    server = start_server(DroppingServer(lambda number: number % 3 == 0))
    transport = start_transport()
    for number in range(300):
        transport.send(number, request_to(server.url))

    found = outcomes.wait_for(300)
    assert {(o.status_code, o.error) for o in found.values()} == {(200, "")}


def test_a_request_of_which_an_answer_has_begun_is_not_repeated(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    seen = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(OK)
        seen.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")

    transport = start_transport()
    server = start_server(serve)
    transport.send(1, request_to(server.url))
    outcomes.wait_for(1)
    transport.send(2, request_to(server.url))

    assert outcomes.wait_for(2)[2].error
    assert (len(seen), server.connections) == (1, 1)


def test_a_request_lost_on_a_fresh_connection_is_not_repeated(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    server = start_server(lambda connection: None)

    start_transport().send(1, request_to(server.url))

    assert outcomes.wait_for(1)[1].error
    assert server.connections == 1
