"""One tenant's dead name servers hold up nobody else, and what they hold up was not sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from tasks_api.delivery.lookup_queue import MAX_PER_DOMAIN, MAX_PER_TENANT
from tasks_api.delivery.request import HttpResult, Request
from tasks_api.delivery.resolver import LookupResult, Resolver, Unresolved
from tasks_api.delivery.transfers import HOST_NOT_FOUND
from tasks_api.delivery.transport import Transport, TransportOptions
from tasks_api.domain.states import Trouble
from tests.integration.support.transport_doubles import Outcomes
from tests.name_server import NameServer
from tests.receiver import Receiver

EVIL, GOOD = "evil", "good"


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.close()


# Keys are (tenant, host).
HostTransport = Transport[tuple[str, str]]
Start = Callable[..., HostTransport]


@pytest.fixture
def start(name_server: NameServer, outcomes: Outcomes) -> Iterator[Start]:
    """A transport that resolves names with `name_server`."""
    made: list[HostTransport] = []

    def make(**options: Any) -> HostTransport:
        settings: dict[str, Any] = {"allow_private": True, "lookup_timeout": 60.0}
        transport: HostTransport = Transport(
            outcomes,
            TransportOptions(
                tenant_of=lambda key: key[0],
                resolve=Resolver([name_server.address]),
                **(settings | options),
            ),
        )
        made.append(transport)
        transport.start()
        return transport

    yield make
    for transport in made:
        transport.close(grace=0)


@pytest.fixture
def port(target: Receiver) -> str:
    return target.url.rpartition(":")[2]


def send_request(
    transport: HostTransport, tenant: str, host: str, port: str = "80"
) -> None:
    url = f"http://{host}:{port}/{tenant}"
    transport.send((tenant, host), Request("POST", url, (), b"{}", 5))


def test_dead_name_servers_of_a_tenant_hold_up_no_other(
    start: Start, name_server: NameServer, outcomes: Outcomes, port: str
) -> None:
    name_server.hangs("hang.t")
    for number in range(6):
        name_server.knows(f"quick{number}.test", "127.0.0.1")
    transport = start()
    for number in range(1000):
        send_request(transport, EVIL, f"h{number}.hang.t")
    name_server.wait_for("h0.hang.t")

    for number in range(6):
        send_request(transport, GOOD, f"quick{number}.test", port)

    assert {key[0] for key in outcomes.wait_for(6)} == {GOOD}
    assert {outcome.status_code for outcome in outcomes.by_key.values()} == {200}
    asked = {name for name in name_server.asked if name.endswith(".hang.t")}
    assert len(asked) == MAX_PER_DOMAIN


def test_dead_name_servers_of_a_domain_leave_its_tenant_other_names(
    start: Start, name_server: NameServer, outcomes: Outcomes, port: str
) -> None:
    name_server.hangs("hang.t")
    name_server.knows("quick.test", "127.0.0.1")
    transport = start()
    for number in range(100):
        send_request(transport, EVIL, f"h{number}.hang.t")
    send_request(transport, EVIL, "quick.test", port)

    assert outcomes.wait_for(1)[EVIL, "quick.test"].status_code == 200


def test_many_dead_domains_hold_up_their_own_tenant_only(
    start: Start, name_server: NameServer, outcomes: Outcomes, port: str
) -> None:
    name_server.hangs("t")
    name_server.knows("quick.test", "127.0.0.1")
    transport = start()
    for number in range(200):
        send_request(transport, EVIL, f"www.dead{number}.t")
    send_request(transport, EVIL, "quick.test", port)
    send_request(transport, GOOD, "quick.test", port)

    # Whoever asks for a name that waits in another tenant's row need not wait there.
    found = outcomes.wait_for(2)
    assert found[GOOD, "quick.test"].status_code == 200
    assert found[EVIL, "quick.test"].status_code == 200
    asked = {name for name in name_server.asked if name.endswith(".t")}
    assert len(asked) == MAX_PER_TENANT


def test_a_name_whose_servers_are_silent_was_not_sent(
    start: Start, name_server: NameServer, outcomes: Outcomes
) -> None:
    name_server.hangs("silent.t")
    transport = start(lookup_timeout=0.3)

    send_request(transport, GOOD, "silent.t")

    outcome = outcomes.wait_for(1)[GOOD, "silent.t"]
    assert not outcome.was_sent
    assert outcome.trouble is Trouble.SILENT_NAMES
    assert outcome.error == f"{HOST_NOT_FOUND}: its name servers do not answer"


def test_a_name_whose_turn_does_not_come_was_not_sent(
    start: Start, name_server: NameServer, outcomes: Outcomes
) -> None:
    name_server.hangs("hang.t")
    transport = start(turn_timeout=0.3)

    for number in range(MAX_PER_DOMAIN + 1):
        send_request(transport, EVIL, f"h{number}.hang.t")

    [(key, outcome)] = outcomes.wait_for(1).items()
    assert key == (EVIL, f"h{MAX_PER_DOMAIN}.hang.t")
    assert not outcome.was_sent
    assert outcome.trouble is Trouble.CROWDED


def found_no_address(outcome: HttpResult) -> bool:
    return outcome.was_sent and outcome.error == HOST_NOT_FOUND


def test_a_name_that_does_not_exist_is_a_failure_and_is_asked_for_once(
    start: Start, name_server: NameServer, outcomes: Outcomes
) -> None:
    transport = start()

    send_request(transport, GOOD, "missing.test")
    outcomes.wait_for(1)
    send_request(transport, EVIL, "missing.test")

    found = outcomes.wait_for(2)
    assert all(map(found_no_address, found.values()))
    assert name_server.asked == ["missing.test"]


def test_a_name_without_addresses_and_one_whose_server_fails_are_failures(
    start: Start, name_server: NameServer, outcomes: Outcomes
) -> None:
    name_server.knows("mail-only.test")
    name_server.fails("broken.test")
    transport = start()

    send_request(transport, GOOD, "mail-only.test")
    send_request(transport, GOOD, "broken.test")

    assert all(map(found_no_address, outcomes.wait_for(2).values()))


def test_names_without_addresses_never_stop_the_resolver(
    name_server: NameServer,
) -> None:
    names = [f"mail{number}.test" for number in range(5_000)]
    for name in names:
        name_server.knows(name)
    resolve = Resolver([name_server.address])
    found: SimpleQueue[LookupResult] = SimpleQueue()

    def ask() -> None:
        for name in names:
            resolve(name, found.put)

    # A daemon, so that one that is stuck does not hold up the end of the tests.
    threading.Thread(target=ask, daemon=True).start()

    assert {found.get(timeout=20) for _ in names} == {Unresolved.MISSING}


def test_a_name_exists_though_one_of_its_two_questions_failed(
    start: Start, name_server: NameServer, outcomes: Outcomes, port: str
) -> None:
    name_server.knows("half.test", "127.0.0.1")
    name_server.cuts_off("half.test")
    transport = start()

    send_request(transport, GOOD, "half.test", port)

    assert outcomes.wait_for(1)[GOOD, "half.test"].status_code == 200


def test_old_addresses_are_used_while_nobody_answers_for_a_name(
    start: Start, name_server: NameServer, outcomes: Outcomes, port: str
) -> None:
    name_server.knows("api.test", "127.0.0.1")
    transport = start(name_lifetime=0.0)
    send_request(transport, GOOD, "api.test", port)
    outcomes.wait_for(1)

    name_server.hangs("api.test")
    send_request(transport, EVIL, "api.test", port)

    assert outcomes.wait_for(2)[EVIL, "api.test"].status_code == 200
    assert name_server.asked.count("api.test") >= 2


def test_old_addresses_are_checked_like_new_ones(
    start: Start, name_server: NameServer, outcomes: Outcomes, port: str
) -> None:
    refused: set[str] = set()
    name_server.knows("api.test", "127.0.0.1")
    transport = start(
        name_lifetime=0.0,
        refuse_address=lambda address: "inside" if address in refused else None,
    )
    send_request(transport, GOOD, "api.test", port)
    outcomes.wait_for(1)

    refused.add("127.0.0.1")
    name_server.hangs("api.test")
    send_request(transport, EVIL, "api.test", port)

    assert (
        outcomes.wait_for(2)[EVIL, "api.test"].error == "target address is not allowed"
    )


def test_a_name_that_is_gone_loses_its_old_addresses(
    start: Start, name_server: NameServer, outcomes: Outcomes, port: str
) -> None:
    name_server.knows("api.test", "127.0.0.1")
    transport = start(name_lifetime=0.0)
    send_request(transport, GOOD, "api.test", port)
    outcomes.wait_for(1)

    name_server.forgets("api.test")
    send_request(transport, EVIL, "api.test", port)

    assert found_no_address(outcomes.wait_for(2)[EVIL, "api.test"])


@pytest.mark.parametrize(
    "addresses", [("93.184.216.34", "10.0.0.1"), ("93.184.216.34", "fd00::1")]
)
def test_a_name_with_one_address_inside_is_refused_whoever_answers(
    start: Start,
    name_server: NameServer,
    outcomes: Outcomes,
    addresses: tuple[str, ...],
) -> None:
    name_server.knows("mixed.test", *addresses)
    transport = start(allow_private=False)

    send_request(transport, EVIL, "mixed.test")

    outcome = outcomes.wait_for(1)[EVIL, "mixed.test"]
    assert outcome.error == "target address is not allowed"


def test_a_name_that_leads_where_the_operator_denies_is_refused(
    start: Start, name_server: NameServer, outcomes: Outcomes, port: str
) -> None:
    name_server.knows("denied.test", "127.0.0.1")
    transport = start(denied="127.0.0.0/8")

    send_request(transport, EVIL, "denied.test", port)

    outcome = outcomes.wait_for(1)[EVIL, "denied.test"]
    assert outcome.error == "target address is not allowed"


def test_names_of_the_hosts_file_are_known_without_a_name_server(
    start: Start, name_server: NameServer, outcomes: Outcomes, port: str
) -> None:
    name_server.hangs("localhost")
    transport = start()

    send_request(transport, GOOD, "localhost", port)

    assert outcomes.wait_for(1)[GOOD, "localhost"].status_code == 200


def test_stopping_returns_what_waits_for_a_name(
    start: Start, name_server: NameServer, outcomes: Outcomes
) -> None:
    name_server.hangs("hang.t")
    transport = start()
    for number in range(20):
        send_request(transport, EVIL, f"h{number}.hang.t")
    name_server.wait_for("h0.hang.t")

    transport.close(grace=0)

    assert {outcome.was_sent for outcome in outcomes.wait_for(20).values()} == {False}
