"""Hosts and tenants share the places of a transport, and none takes all of them."""

from __future__ import annotations

import socket
import threading

from tasks_api.domain.states import Trouble
from tests.integration.support.transport_doubles import (
    OK,
    Gate,
    Outcomes,
    StartRawServer,
    StartTransport,
    request_to,
    resolver_of,
)
from tests.receiver import Receiver


def test_a_slow_host_takes_its_own_places_only(
    start_transport: StartTransport, outcomes: Outcomes, target: Receiver
) -> None:
    slow = Receiver("127.0.0.2")
    slow.start()
    slow.answer("/slow", delay=0.5)
    transport = start_transport(max_per_host=2)
    for number in range(6):
        transport.send(("slow", number), request_to(slow.url + "/slow"))
    transport.send("quick", request_to(target.url + "/x"))

    found = dict(outcomes.wait_for(1))
    assert "quick" in found
    outcomes.wait_for(7)
    slow.stop()
    assert all(outcome.status_code == 200 for outcome in outcomes.by_key.values())


def test_many_names_of_one_address_have_its_places_only(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    held = Gate()
    server = start_server(held)
    port = server.url.split(":")[2].strip("/")
    transport = start_transport(
        max_per_host=5, resolve=resolver_of(lambda host: ["127.0.0.1", "127.0.0.2"])
    )
    for number in range(40):
        transport.send(number, request_to(f"http://n{number % 10}.test:{port}/"))
    held.wait_for(5)
    held.open()

    found = outcomes.wait_for(40)
    assert {outcome.status_code for outcome in found.values()} == {200}
    assert held.most == 5


def test_a_tenant_that_waits_for_a_hanging_host_leaves_places_to_others(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    held = Gate()
    server = start_server(held)
    transport = start_transport(max_per_host=20, tenant_of=lambda key: key[0])
    for number in range(50):
        transport.send(("flood", number), request_to(server.url, timeout=20))
    held.wait_for(18)
    transport.send(("small", 0), request_to(server.url, timeout=20))

    held.wait_for(19)
    held.open()
    outcomes.wait_for(51)


def test_requests_that_wait_for_a_hanging_host_make_way_for_other_hosts(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    held = Gate()
    server = start_server(held)
    transport = start_transport(
        max_per_host=5, tenant_of=lambda _: "flood", tenant_limit=lambda _: 20
    )
    for number in range(20):
        transport.send(number, request_to(server.url, timeout=20))
    held.wait_for(5)

    sent_back = outcomes.wait_for(10)

    assert not any(outcome.was_sent for outcome in sent_back.values())
    assert {outcome.trouble for outcome in sent_back.values()} == {Trouble.CROWDED}
    assert all(outcome.pause >= 2 for outcome in sent_back.values())
    held.open()
    assert {o.was_sent for o in list(outcomes.wait_for(20).values())[10:]} == {True}


def test_a_request_whose_turn_is_refused_is_not_sent(
    start_transport: StartTransport, outcomes: Outcomes, target: Receiver
) -> None:
    transport = start_transport(may_start=lambda key: key != "late")

    transport.send("late", request_to(target.url + "/late"))
    transport.send("good", request_to(target.url + "/good"))

    found = outcomes.wait_for(2)
    assert not found["late"].was_sent
    assert [received.path for received in target.requests] == ["/good"]


def test_closing_finishes_what_runs_and_returns_what_waits(
    start_transport: StartTransport, outcomes: Outcomes, target: Receiver
) -> None:
    target.answer("/slow", delay=0.5)
    transport = start_transport(max_in_flight=2)
    for number in range(5):
        transport.send(number, request_to(target.url + "/slow"))
    target.wait_for(2)

    transport.close(grace=5)

    sent = [outcome.was_sent for outcome in outcomes.by_key.values()]
    assert sorted(sent) == [False, False, False, True, True]
    assert outcomes.count == 5
    assert transport.in_flight == 0


def test_hundreds_are_under_way_at_once(
    start_transport: StartTransport, outcomes: Outcomes, start_server: StartRawServer
) -> None:
    everybody = threading.Barrier(300, timeout=15)

    def serve(connection: socket.socket) -> None:
        everybody.wait()
        connection.sendall(OK)

    server = start_server(serve)
    transport = start_transport(max_in_flight=400, max_per_host=400)
    for number in range(300):
        transport.send(number, request_to(server.url, timeout=20))

    found = outcomes.wait_for(300)
    assert {outcome.status_code for outcome in found.values()} == {200}
