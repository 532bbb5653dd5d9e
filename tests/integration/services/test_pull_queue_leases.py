"""A lease of the pull queue: it is renewed, runs out, comes back, and ends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Tenant
from tasks_api.domain.exceptions import MessageNotFound
from tasks_api.models import Message
from tasks_api.services import pull_queue
from tests.integration.support.pull_messages import (
    QUEUE,
    SECOND,
    exhausted_count,
    expire_leases,
    lease_names,
    new_message,
    seconds_left,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_leased_message_is_nobody_elses(alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, timeout=30))

    assert lease_names(alpha) == ["a"]
    assert lease_names(alpha, 10) == []
    assert seconds_left() == pytest.approx(30, abs=5)


def test_a_message_comes_back_as_often_as_it_may(alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, max_retries=2))

    found = []
    for _ in range(4):
        found.append(lease_names(alpha))
        expire_leases()

    assert found == [["a"], ["a"], ["a"], []]
    assert not Message.objects.exists()
    assert exhausted_count(alpha) == 1


@pytest.mark.parametrize("max_retries", [-1, -(2**31), pull_queue.UNLIMITED_RETRIES])
def test_below_zero_there_is_no_end(alpha: Tenant, max_retries: int) -> None:
    pull_queue.enqueue(new_message(alpha, max_retries=max_retries))

    for _ in range(20):
        assert lease_names(alpha) == ["a"]
        expire_leases()

    assert exhausted_count(alpha) == 0


def test_a_timeout_of_zero_is_over_at_once(alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, timeout=0, max_retries=1))

    assert [lease_names(alpha) for _ in range(3)] == [["a"], ["a"], []]
    assert exhausted_count(alpha) == 1


def test_the_longest_timeout_can_be_leased(alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, timeout=2**31 - 1))

    assert lease_names(alpha) == ["a"]
    assert seconds_left() > 60 * 365 * 86400


def test_a_heartbeat_renews_the_lease(alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, timeout=100))
    lease_names(alpha)
    Message.objects.update(leased_until=timezone.now() + SECOND)

    pull_queue.extend(new_message(alpha).key)

    assert seconds_left() == pytest.approx(100, abs=5)


def test_the_state_survives_a_lost_consumer(alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, max_retries=5))
    key = new_message(alpha).key
    states: list[str | None] = []

    def seen() -> None:
        [taken] = pull_queue.lease(alpha.pk, QUEUE, 1)
        states.append(taken.state)

    seen()
    pull_queue.extend(key, keep_state=False, state='{"page": 1.0}')
    expire_leases()
    seen()
    pull_queue.extend(key)
    expire_leases()
    seen()
    pull_queue.extend(key, keep_state=False)
    expire_leases()
    seen()

    assert states == [None, '{"page": 1.0}', '{"page": 1.0}', None]


def test_a_lease_that_ran_out_cannot_be_renewed(alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, max_retries=1))
    lease_names(alpha)
    expire_leases()

    with pytest.raises(MessageNotFound):
        pull_queue.extend(new_message(alpha).key)
    with pytest.raises(MessageNotFound):
        pull_queue.reschedule(new_message(alpha), state=None)

    assert lease_names(alpha) == ["a"]


def test_a_rescheduled_message_begins_anew(alpha: Tenant) -> None:
    pull_queue.enqueue(new_message(alpha, max_retries=1))
    for _ in range(2):
        expire_leases()
        lease_names(alpha)
    pull_queue.extend(new_message(alpha).key, keep_state=False, state="7")

    again = new_message(alpha, payload='"new"', timeout=5, max_retries=1)
    pull_queue.reschedule(again, state=None)

    [taken] = pull_queue.lease(alpha.pk, QUEUE, 1)
    assert taken[:5] == ("a", 5, 1, '"new"', None)
    assert timezone.now() - taken.run_at < timedelta(minutes=1)
    expire_leases()
    assert lease_names(alpha) == ["a"]


@pytest.mark.parametrize("is_leased", [True, False])
def test_a_completed_message_is_gone(alpha: Tenant, is_leased: bool) -> None:
    pull_queue.enqueue(new_message(alpha))
    if is_leased:
        lease_names(alpha)

    pull_queue.complete(new_message(alpha).key)

    assert not Message.objects.exists()
    with pytest.raises(MessageNotFound):
        pull_queue.complete(new_message(alpha).key)
