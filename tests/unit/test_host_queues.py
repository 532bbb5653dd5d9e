"""Hosts, addresses and tenants share out what there is, and none takes all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from tasks_api.delivery.host_queues import MAX_PAUSE, SLOW_HOST_WAIT, HostQueues
from tasks_api.delivery.request import Request
from tasks_api.delivery.transfers import Transfer
from tasks_api.domain.guard import read_url

FLOOD, SMALL = "flood", "small"


def attempt(tenant: str, host: str = "a.test", *addresses: str) -> Transfer:
    request = Request("POST", f"http://{host}/", (), b"", 1)
    url = read_url(request.url, allow_private=True)
    made = Transfer(tenant, request, url, lambda _: None, tenant)
    made.addresses = addresses or ("192.0.2.1",)
    return made


def queues(
    per_host: int = 100, in_flight: int = 1000, places: int = 1000
) -> HostQueues:
    return HostQueues(
        max_in_flight=in_flight, max_per_host=per_host, tenant_limit=lambda _: places
    )


def filled(queues: HostQueues, attempts: Iterable[Transfer]) -> HostQueues:
    for each in attempts:
        queues.add(each)
    return queues


def start_all(queues: HostQueues) -> list[Transfer]:
    """All that may start as long as none is over."""
    return list(iter(queues.pop, None))


def test_at_a_host_tenants_take_turns() -> None:
    queue = filled(queues(per_host=1), [attempt(FLOOD) for _ in range(50)])
    [first] = start_all(queue)
    queue.add(attempt(SMALL))
    queue.release(first)

    # The next place was promised before; the one after that is the newcomer's.
    turns = []
    for _ in range(3):
        [begun] = start_all(queue)
        turns.append(begun.tenant)
        queue.release(begun)
    assert SMALL in turns[:2]


def test_a_tenant_whose_requests_hang_leaves_places_at_their_host() -> None:
    queue = filled(queues(per_host=100), [attempt(FLOOD) for _ in range(300)])
    assert len(start_all(queue)) == 90

    queue.add(attempt(SMALL))

    assert [begun.tenant for begun in start_all(queue)] == [SMALL]


def test_many_names_of_one_address_share_its_limit() -> None:
    names = [f"n{number}.test" for number in range(10)]
    queue = filled(
        queues(per_host=20), [attempt(FLOOD, name) for name in names for _ in range(50)]
    )

    begun = start_all(queue)

    assert len(begun) == 18
    # Hosts take turns at it.
    assert set(Counter(each.host_port for each in begun).values()) <= {1, 2}


def test_every_address_of_a_name_counts_wherever_it_connects_to() -> None:
    queue = queues(per_host=1)
    for number in range(5):
        decoy = f"192.0.2.{number + 10}"
        queue.add(attempt(FLOOD, f"n{number}.test", decoy, "198.51.100.7"))

    assert len(start_all(queue)) == 1


def test_a_request_that_waits_for_an_address_goes_on_when_it_has_room() -> None:
    names = [f"n{number}.test" for number in range(40)]
    queue = filled(queues(per_host=2), [attempt(FLOOD, name) for name in names])
    seen = []
    while begun := start_all(queue):
        assert len(begun) <= 2
        seen += [each.host_port[0] for each in begun]
        for each in begun:
            queue.release(each)

    assert sorted(seen) == sorted(names)


def test_a_host_that_moves_waits_no_longer_for_its_old_address() -> None:
    queue = filled(
        queues(per_host=1), [attempt(FLOOD, "a.test"), attempt(FLOOD, "b.test")]
    )
    assert len(start_all(queue)) == 1

    queue.add(attempt(FLOOD, "b.test", "192.0.2.99"))

    [moved] = start_all(queue)
    assert (moved.host_port[0], moved.addresses) == ("b.test", ("192.0.2.99",))


def test_no_host_has_all_tenant_limit_its_tenant() -> None:
    queue = filled(queues(places=20), [attempt(FLOOD, "hangs.test") for _ in range(20)])
    assert len(start_all(queue)) == 18

    queue.add(attempt(FLOOD, "sound.test", "192.0.2.2"))

    assert [begun.host_port[0] for begun in start_all(queue)] == ["sound.test"]


def test_what_waits_for_a_slow_host_makes_way_for_its_tenants_others() -> None:
    slow = [attempt(FLOOD, "hangs.test") for _ in range(500)]
    queue = filled(queues(places=500), slow)
    begun = start_all(queue)
    others = attempt(SMALL, "hangs.test")
    queue.add(others)

    assert list(queue.pop_crowded(SLOW_HOST_WAIT / 2)) == []
    sent_back = list(queue.pop_crowded(SLOW_HOST_WAIT))

    assert len(sent_back) == 250
    assert {each.tenant for each, _ in sent_back} == {FLOOD}
    assert {pause for _, pause in sent_back} == {SLOW_HOST_WAIT}
    # The first stay, and there is nothing to do twice.
    assert slow[len(begun)] not in {each for each, _ in sent_back}
    assert list(queue.pop_crowded(SLOW_HOST_WAIT)) == []
    assert queue.waiting == 500 - 90 - 250 + 1


def test_what_waits_long_comes_back_after_long() -> None:
    queue = filled(queues(places=500), [attempt(FLOOD) for _ in range(500)])
    start_all(queue)

    assert {pause for _, pause in queue.pop_crowded(1000.0)} == {MAX_PAUSE}


def test_a_slow_host_keeps_what_waits_while_nobody_is_in_want_of_places() -> None:
    queue = filled(queues(places=500), [attempt(FLOOD) for _ in range(400)])
    start_all(queue)

    assert list(queue.pop_crowded(1000.0)) == []


@pytest.mark.parametrize("tenants", [1, 3])
def test_nothing_is_kept_of_what_is_over(tenants: int) -> None:
    queue = filled(
        queues(per_host=2),
        [
            attempt(f"t{tenant}", f"n{number}.test", "192.0.2.1", f"192.0.2.{number}")
            for tenant in range(tenants)
            for number in range(2, 30)
        ],
    )
    count = 0
    while begun := start_all(queue):
        count += len(begun)
        for each in begun:
            queue.release(each)

    assert count == tenants * 28
    assert (queue.waiting, queue._hosts, queue._pools) == (0, {}, {})


def test_what_was_drained_is_not_started() -> None:
    queue = filled(queues(per_host=1), [attempt(FLOOD) for _ in range(3)])
    [begun] = start_all(queue)

    assert len(queue.withdraw(lambda _transfer: True)) == 2
    queue.release(begun)
    assert start_all(queue) == []
