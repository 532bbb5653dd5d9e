"""The pull queue: order, names, and many consumers at once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Tenant
from tasks_api.domain.exceptions import MessageExists
from tasks_api.models import Message
from tasks_api.services import pull_queue
from tests.conftest import NOON
from tests.integration.support.pull_messages import (
    LONG_AGO,
    QUEUE,
    SECOND,
    exhausted_count,
    expire_leases,
    lease_names,
    new_message,
    store_messages,
)
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_oldest_come_first(alpha: Tenant) -> None:
    hours = {"b": 2, "c": 1, "a": 3}
    for name, ago in hours.items():
        run_at = timezone.now() - timedelta(hours=ago)
        pull_queue.enqueue(new_message(alpha, name, run_at=run_at))

    assert lease_names(alpha, 2) + lease_names(alpha, 2) == ["a", "b", "c"]


def test_messages_of_one_moment_come_in_the_order_of_their_batch(alpha: Tenant) -> None:
    wanted = ["10", "9", "b", "a", "1"]
    pull_queue.enqueue_many([new_message(alpha, name) for name in wanted])

    assert lease_names(alpha, 5) == wanted


def test_a_message_waits_for_its_moment(alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, run_at=timezone.now() + timedelta(hours=1)))

    assert lease_names(alpha) == []
    Message.objects.update(run_at=timezone.now() - SECOND)
    assert lease_names(alpha) == ["a"]


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_a_returned_message_takes_its_place_among_those_that_wait(
    alpha: Tenant, limit: int
) -> None:
    for ago, name in enumerate(["e", "d", "c", "b", "a"]):
        run_at = timezone.now() - timedelta(hours=1 + ago)
        pull_queue.enqueue(new_message(alpha, name, run_at=run_at, max_retries=1))
    assert lease_names(alpha, 4) == ["a", "b", "c", "d"]
    pull_queue.reschedule(
        new_message(alpha, "c", run_at=NOON - timedelta(days=400)), state=None
    )
    expire_leases()

    found: list[str] = []
    while taken := lease_names(alpha, limit):
        found += taken

    assert found == ["c", "a", "b", "d", "e"]


# Names.


def test_a_name_is_taken_while_its_message_is_there(alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, payload="1", max_retries=1))

    def refused() -> None:
        with pytest.raises(MessageExists):
            pull_queue.enqueue(new_message(alpha, payload="2"))
        pull_queue.enqueue_many([new_message(alpha, payload="2")])

    refused()
    lease_names(alpha)
    refused()
    # It comes back, so it is not gone.
    expire_leases()
    refused()

    assert Message.objects.get().payload == "1"
    assert exhausted_count(alpha) == 0


@pytest.mark.parametrize("many", [True, False])
def test_a_message_nobody_may_have_any_more_does_not_hold_its_name(
    alpha: Tenant, many: bool
) -> None:
    pull_queue.enqueue(new_message(alpha, payload="1"))
    lease_names(alpha)
    pull_queue.extend(new_message(alpha).key, keep_state=False, state="7")
    expire_leases()

    if many:
        pull_queue.enqueue_many(
            [new_message(alpha, payload="2"), new_message(alpha, "b")]
        )
    else:
        pull_queue.enqueue(new_message(alpha, payload="2"))

    assert exhausted_count(alpha) == 1
    taken = pull_queue.lease(alpha.pk, QUEUE, 1)[0]
    assert (taken.name, taken.payload, taken.state) == ("a", "2", None)
    assert Message.objects.get(name="a").retry_count == 0


def test_each_queue_and_each_tenant_has_its_own_names(
    alpha: Tenant, beta: Tenant
) -> None:
    places = [(alpha, QUEUE), (alpha, "other"), (beta, QUEUE)]

    pull_queue.enqueue_many(
        [new_message(tenant, queue=queue) for tenant, queue in places]
    )

    found = [lease_names(tenant, 10, queue) for tenant, queue in places]
    assert found == [["a"], ["a"], ["a"]]


def test_the_first_of_a_batch_wins(alpha: Tenant) -> None:
    pull_queue.enqueue_many(
        [new_message(alpha, payload="1"), new_message(alpha, payload="2")]
    )

    assert Message.objects.get().payload == "1"


def test_an_empty_list_of_messages_is_enqueued(alpha: Tenant) -> None:
    pull_queue.enqueue_many([])

    assert not Message.objects.exists()


def test_messages_are_rolled_back_with_the_transaction_around_them(
    alpha: Tenant,
) -> None:
    pull_queue.enqueue(new_message(alpha, "there"))

    with transaction.atomic():
        pull_queue.enqueue_many(
            [new_message(alpha, "there"), new_message(alpha, "new")]
        )
        transaction.set_rollback(True)

    assert Message.objects.get().name == "there"


@pytest.mark.parametrize(
    "text", ['"', "\\", "{}", "NULL", "a,b", "é", "路", "😀", " ", "'; --", "%s", "\n"]
)
def test_any_text_is_a_name(alpha: Tenant, text: str) -> None:
    pull_queue.enqueue_many(
        [new_message(alpha, text, queue=text, payload=json.dumps(text))]
    )

    [taken] = pull_queue.lease(alpha.pk, text, 1)
    assert (taken.name, taken.payload) == (text, json.dumps(text))
    pull_queue.extend(
        pull_queue.MessageKey(alpha.pk, text, text), keep_state=False, state='"%s"'
    )
    pull_queue.complete(pull_queue.MessageKey(alpha.pk, text, text))


def test_the_longest_names_fit(alpha: Tenant) -> None:
    longest = "😀" * 255

    pull_queue.enqueue(new_message(alpha, longest, queue=longest))

    assert lease_names(alpha, queue=longest) == [longest]


@pytest.mark.parametrize("year", [1, 9999])
def test_any_moment_fits(alpha: Tenant, year: int) -> None:
    run_at = NOON.replace(year=year)

    pull_queue.enqueue_many([new_message(alpha, run_at=run_at)])

    assert Message.objects.get().run_at == run_at


def test_the_exhausted_are_deleted_and_counted_until_there_is_another(
    alpha: Tenant,
) -> None:
    store_messages(alpha, 3 * pull_queue.EXPIRED_BATCH_SIZE, leased_until=LONG_AGO)
    pull_queue.enqueue(new_message(alpha, max_retries=1))
    lease_names(alpha)
    expire_leases(name="a")

    assert lease_names(alpha) == ["a"]
    assert Message.objects.count() == 1
    assert exhausted_count(alpha) == 3 * pull_queue.EXPIRED_BATCH_SIZE


def test_a_take_ends_before_it_has_deleted_very_many(alpha: Tenant) -> None:
    store_messages(
        alpha,
        pull_queue.MAX_BATCHES * pull_queue.EXPIRED_BATCH_SIZE + 1,
        leased_until=LONG_AGO,
    )

    assert lease_names(alpha) == []
    assert Message.objects.count() == 1
    assert (
        exhausted_count(alpha) == pull_queue.MAX_BATCHES * pull_queue.EXPIRED_BATCH_SIZE
    )


def test_the_exhausted_hold_up_nobody(alpha: Tenant) -> None:
    store_messages(alpha, 3 * pull_queue.EXPIRED_BATCH_SIZE, leased_until=LONG_AGO)
    pull_queue.enqueue(new_message(alpha))

    assert lease_names(alpha) == ["a"]
    assert exhausted_count(alpha) == pull_queue.EXPIRED_BATCH_SIZE


def test_the_exhausted_are_counted_once_by_many(alpha: Tenant) -> None:
    count = 5 * pull_queue.EXPIRED_BATCH_SIZE
    store_messages(alpha, count, leased_until=LONG_AGO)

    run_in_threads(8, lambda: lease_names(alpha))

    assert exhausted_count(alpha) + Message.objects.count() == count
    assert lease_names(alpha) == []
    assert exhausted_count(alpha) == count


# Many at once.


@pytest.mark.parametrize("is_second_time", [False, True])
def test_many_consumers_get_each_message_once(
    alpha: Tenant, is_second_time: bool
) -> None:
    count = 2000
    leased_until = LONG_AGO if is_second_time else None
    store_messages(alpha, count, leased_until=leased_until, max_retries=1)
    sizes = iter([1, 2, 3, 5, 8, 13, 50, 100] * 2)
    lock = threading.Lock()

    def drain() -> list[str]:
        with lock:
            size = next(sizes)
        found: list[str] = []
        while taken := lease_names(alpha, size):
            found += taken
        return found

    answers = run_in_threads(16, drain)

    found = Counter(name for answer in answers for name in answer)
    assert len(found) == count
    assert set(found.values()) == {1}
    assert set(Message.objects.values_list("retry_count", flat=True)) == {
        int(is_second_time)
    }


def test_consumers_and_producers_get_along(alpha: Tenant) -> None:
    numbers = iter(range(16))
    lock = threading.Lock()
    done: list[str] = []

    def work() -> None:
        with lock:
            number = next(numbers)
        if number % 2:
            # Each in another order, over the same names.
            batch = [new_message(alpha, f"{n}", max_retries=-1) for n in range(200)]
            for turn in range(5):
                pull_queue.enqueue_many(batch[number * turn :] + batch[: number * turn])
            return
        for _ in range(40):
            for name in lease_names(alpha, 10):
                pull_queue.extend(new_message(alpha, name).key)
                pull_queue.complete(new_message(alpha, name).key)
                done.append(name)

    run_in_threads(16, work)

    assert set(done) | set(Message.objects.values_list("name", flat=True)) == {
        f"{n}" for n in range(200)
    }


def test_one_of_many_enqueues_wins(alpha: Tenant) -> None:
    def enqueue() -> bool:
        try:
            pull_queue.enqueue(new_message(alpha))
        except MessageExists:
            return False
        return True

    assert sum(run_in_threads(20, enqueue)) == 1


def test_a_locked_message_is_skipped(alpha: Tenant) -> None:
    pull_queue.enqueue_many([new_message(alpha, "a"), new_message(alpha, "b")])
    found: list[str] = []

    def take() -> None:
        found.extend(lease_names(alpha))
        connection.close()

    with transaction.atomic():
        list(Message.objects.select_for_update().filter(name="a"))
        other = threading.Thread(target=take)
        other.start()
        other.join(timeout=10)

    assert found == ["b"]
