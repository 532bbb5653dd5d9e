"""A transport connects to no address inside, whatever name or spelling leads to it."""

from __future__ import annotations

import pytest

from tests.corpus import INSIDE, REFUSED_URLS
from tests.integration.support.transport_doubles import (
    OK,
    Outcomes,
    StartRawServer,
    StartTransport,
    request_to,
    resolver_of,
)
from tests.receiver import Receiver


def test_proxies_of_the_environment_are_ignored(
    start_transport: StartTransport,
    outcomes: Outcomes,
    target: Receiver,
    start_server: StartRawServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = start_server(lambda connection: connection.sendall(OK))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("ALL_PROXY", proxy.url)

    start_transport().send(1, request_to(target.url + "/x"))

    assert outcomes.wait_for(1)[1].answer == b'{"ok": true}'
    assert proxy.connections == 0


def test_nothing_inside_is_connected_to_however_it_is_spelled(
    start_transport: StartTransport, outcomes: Outcomes, target: Receiver
) -> None:
    port = target.url.rpartition(":")[2]
    urls = [*REFUSED_URLS, target.url]
    urls += [
        f"http://[{a}]:{port}/" if ":" in a else f"http://{a}:{port}/" for a in INSIDE
    ]
    transport = start_transport(allow_private=False)

    for url in urls:
        transport.send(url, request_to(url))

    found = outcomes.wait_for(len(urls))
    assert {outcome.status_code for outcome in found.values()} == {None}
    assert target.requests == []


@pytest.mark.parametrize(
    "answers", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"]]
)
def test_a_name_with_one_answer_inside_is_refused(
    start_transport: StartTransport,
    outcomes: Outcomes,
    target: Receiver,
    answers: list[str],
) -> None:
    port = target.url.rpartition(":")[2]
    transport = start_transport(
        allow_private=False, resolve=resolver_of(lambda host: answers)
    )

    transport.send(1, request_to(f"http://rebinding.example:{port}/"))

    assert outcomes.wait_for(1)[1].error == "target address is not allowed"
    assert target.requests == []


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    start_transport: StartTransport, outcomes: Outcomes, target: Receiver
) -> None:
    asked: list[str] = []

    def answer(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    port = target.url.rpartition(":")[2]
    transport = start_transport(resolve=resolver_of(answer))

    transport.send(1, request_to(f"http://no-such-name.example:{port}/x"))

    # No other resolver knows this name, so nobody else was asked.
    assert outcomes.wait_for(1)[1].status_code == 200
    assert asked == ["no-such-name.example"]
    assert target.requests[0].headers["host"] == f"no-such-name.example:{port}"


def test_a_name_that_moves_inside_is_refused_from_then_on(
    start_transport: StartTransport, outcomes: Outcomes, target: Receiver
) -> None:
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    transport = start_transport(
        allow_private=False,
        refuse_address=lambda address: "inside" if address.startswith("10.") else None,
        resolve=resolver_of(lambda host: next(answers)),
        name_lifetime=0.0,
    )
    port = target.url.rpartition(":")[2]

    transport.send(1, request_to(f"http://moving.example:{port}/"))
    outcomes.wait_for(1)
    transport.send(2, request_to(f"http://moving.example:{port}/"))

    found = outcomes.wait_for(2)
    assert found[1].status_code == 200
    assert found[2].error == "target address is not allowed"
