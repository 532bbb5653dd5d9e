"""The pull queue: messages are leased once each, come back, and end."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Tenant
from tasks_api.domain.exceptions import MessageExists, MessageNotFound
from tasks_api.models import Message, QueueTally
from tasks_api.services import pull_queue
from tasks_api.services.message_statements import LEASE_MESSAGES
from tests.conftest import NOON
from tests.integration.test_dispatch import in_threads

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)
QUEUE = "mail"
LONG = 3600
LONG_AGO = timezone.now() - timedelta(days=1)


def message(
    tenant: Tenant,
    name: str = "a",
    *,
    queue: str = QUEUE,
    payload: str = "null",
    timeout: int = LONG,
    max_retries: int = 0,
    run_at: datetime | None = None,
) -> pull_queue.NewMessage:
    return pull_queue.NewMessage(
        tenant.pk, queue, name, payload, timeout, max_retries, run_at
    )


def names(tenant: Tenant, count: int = 1, queue: str = QUEUE) -> list[str]:
    return [taken.name for taken in pull_queue.lease(tenant.pk, queue, count)]


def let_leases_run_out(**which: Any) -> None:
    past = timezone.now() - timedelta(hours=1)
    Message.objects.filter(leased_until__isnull=False, **which).update(
        leased_until=past
    )


def tally(tenant: Tenant, queue: str = QUEUE) -> int:
    found = QueueTally.objects.filter(tenant=tenant, queue=queue).first()
    return found.exhausted if found else 0


# In what order.


def test_the_oldest_come_first(alpha: Tenant) -> None:
    hours = {"b": 2, "c": 1, "a": 3}
    for name, ago in hours.items():
        run_at = timezone.now() - timedelta(hours=ago)
        pull_queue.enqueue(message(alpha, name, run_at=run_at))

    assert names(alpha, 2) + names(alpha, 2) == ["a", "b", "c"]


def test_messages_of_one_moment_come_in_the_order_of_their_batch(alpha: Tenant) -> None:
    wanted = ["10", "9", "b", "a", "1"]
    pull_queue.enqueue_many([message(alpha, name) for name in wanted])

    assert names(alpha, 5) == wanted


def test_a_message_waits_for_its_moment(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, run_at=timezone.now() + timedelta(hours=1)))

    assert names(alpha) == []
    Message.objects.update(run_at=timezone.now() - SECOND)
    assert names(alpha) == ["a"]


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_what_comes_back_takes_its_place_among_what_waits(
    alpha: Tenant, limit: int
) -> None:
    for ago, name in enumerate(["e", "d", "c", "b", "a"]):
        run_at = timezone.now() - timedelta(hours=1 + ago)
        pull_queue.enqueue(message(alpha, name, run_at=run_at, max_retries=1))
    assert names(alpha, 4) == ["a", "b", "c", "d"]
    pull_queue.reschedule(
        message(alpha, "c", run_at=NOON - timedelta(days=400)), state=None
    )
    let_leases_run_out()

    found: list[str] = []
    while taken := names(alpha, limit):
        found += taken

    assert found == ["c", "a", "b", "d", "e"]


# Leases.


def test_a_leased_message_is_nobody_elses(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, timeout=30))

    assert names(alpha) == ["a"]
    assert names(alpha, 10) == []
    assert remaining() == pytest.approx(30, abs=5)


def remaining() -> float:
    """How many seconds the only lease has left."""
    until = Message.objects.get().leased_until
    assert until is not None
    return (until - timezone.now()).total_seconds()


def test_a_message_comes_back_as_often_as_it_may(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, max_retries=2))

    found = []
    for _ in range(4):
        found.append(names(alpha))
        let_leases_run_out()

    assert found == [["a"], ["a"], ["a"], []]
    assert not Message.objects.exists()
    assert tally(alpha) == 1


@pytest.mark.parametrize("max_retries", [-1, -(2**31), pull_queue.UNLIMITED_RETRIES])
def test_below_zero_there_is_no_end(alpha: Tenant, max_retries: int) -> None:
    pull_queue.enqueue(message(alpha, max_retries=max_retries))

    for _ in range(20):
        assert names(alpha) == ["a"]
        let_leases_run_out()

    assert tally(alpha) == 0


def test_a_timeout_of_zero_is_over_at_once(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, timeout=0, max_retries=1))

    assert [names(alpha) for _ in range(3)] == [["a"], ["a"], []]
    assert tally(alpha) == 1


def test_the_longest_timeout_can_be_leased(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, timeout=2**31 - 1))

    assert names(alpha) == ["a"]
    assert remaining() > 60 * 365 * 86400


def test_a_heartbeat_renews_the_lease(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, timeout=100))
    names(alpha)
    Message.objects.update(leased_until=timezone.now() + SECOND)

    pull_queue.extend(message(alpha).key)

    assert remaining() == pytest.approx(100, abs=5)


def test_the_state_survives_a_lost_consumer(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, max_retries=5))
    key = message(alpha).key
    states: list[str | None] = []

    def seen() -> None:
        [taken] = pull_queue.lease(alpha.pk, QUEUE, 1)
        states.append(taken.state)

    seen()
    pull_queue.extend(key, keep_state=False, state='{"page": 1.0}')
    let_leases_run_out()
    seen()
    pull_queue.extend(key)
    let_leases_run_out()
    seen()
    pull_queue.extend(key, keep_state=False)
    let_leases_run_out()
    seen()

    assert states == [None, '{"page": 1.0}', '{"page": 1.0}', None]


def test_whoever_is_late_may_not_renew(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, max_retries=1))
    names(alpha)
    let_leases_run_out()

    with pytest.raises(MessageNotFound):
        pull_queue.extend(message(alpha).key)
    with pytest.raises(MessageNotFound):
        pull_queue.reschedule(message(alpha), state=None)

    assert names(alpha) == ["a"]


def test_what_is_put_back_begins_anew(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, max_retries=1))
    for _ in range(2):
        let_leases_run_out()
        names(alpha)
    pull_queue.extend(message(alpha).key, keep_state=False, state="7")

    again = message(alpha, payload='"new"', timeout=5, max_retries=1)
    pull_queue.reschedule(again, state=None)

    [taken] = pull_queue.lease(alpha.pk, QUEUE, 1)
    assert taken[:5] == ("a", 5, 1, '"new"', None)
    assert timezone.now() - taken.run_at < timedelta(minutes=1)
    let_leases_run_out()
    assert names(alpha) == ["a"]


@pytest.mark.parametrize("is_leased", [True, False])
def test_a_completed_message_is_gone(alpha: Tenant, is_leased: bool) -> None:
    pull_queue.enqueue(message(alpha))
    if is_leased:
        names(alpha)

    pull_queue.complete(message(alpha).key)

    assert not Message.objects.exists()
    with pytest.raises(MessageNotFound):
        pull_queue.complete(message(alpha).key)


# Names.


def test_a_name_is_taken_while_its_message_is_there(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, payload="1", max_retries=1))

    def refused() -> None:
        with pytest.raises(MessageExists):
            pull_queue.enqueue(message(alpha, payload="2"))
        pull_queue.enqueue_many([message(alpha, payload="2")])

    refused()
    names(alpha)
    refused()
    # It comes back, so it is not gone.
    let_leases_run_out()
    refused()

    assert Message.objects.get().payload == "1"
    assert tally(alpha) == 0


@pytest.mark.parametrize("many", [True, False])
def test_a_message_nobody_may_have_any_more_does_not_hold_its_name(
    alpha: Tenant, many: bool
) -> None:
    pull_queue.enqueue(message(alpha, payload="1"))
    names(alpha)
    pull_queue.extend(message(alpha).key, keep_state=False, state="7")
    let_leases_run_out()

    if many:
        pull_queue.enqueue_many([message(alpha, payload="2"), message(alpha, "b")])
    else:
        pull_queue.enqueue(message(alpha, payload="2"))

    assert tally(alpha) == 1
    taken = pull_queue.lease(alpha.pk, QUEUE, 1)[0]
    assert (taken.name, taken.payload, taken.state) == ("a", "2", None)
    assert Message.objects.get(name="a").retry_count == 0


def test_each_queue_and_each_tenant_has_its_own_names(
    alpha: Tenant, beta: Tenant
) -> None:
    places = [(alpha, QUEUE), (alpha, "other"), (beta, QUEUE)]

    pull_queue.enqueue_many([message(tenant, queue=queue) for tenant, queue in places])

    found = [names(tenant, 10, queue) for tenant, queue in places]
    assert found == [["a"], ["a"], ["a"]]


def test_the_first_of_a_batch_wins(alpha: Tenant) -> None:
    pull_queue.enqueue_many([message(alpha, payload="1"), message(alpha, payload="2")])

    assert Message.objects.get().payload == "1"


def test_nothing_can_be_put(alpha: Tenant) -> None:
    pull_queue.enqueue_many([])

    assert not Message.objects.exists()


def test_what_was_put_goes_with_the_transaction_around_it(alpha: Tenant) -> None:
    pull_queue.enqueue(message(alpha, "there"))

    with transaction.atomic():
        pull_queue.enqueue_many([message(alpha, "there"), message(alpha, "new")])
        transaction.set_rollback(True)

    assert Message.objects.get().name == "there"


@pytest.mark.parametrize(
    "text", ['"', "\\", "{}", "NULL", "a,b", "é", "路", "😀", " ", "'; --", "%s", "\n"]
)
def test_any_text_is_a_name(alpha: Tenant, text: str) -> None:
    pull_queue.enqueue_many(
        [message(alpha, text, queue=text, payload=json.dumps(text))]
    )

    [taken] = pull_queue.lease(alpha.pk, text, 1)
    assert (taken.name, taken.payload) == (text, json.dumps(text))
    pull_queue.extend(
        pull_queue.MessageKey(alpha.pk, text, text), keep_state=False, state='"%s"'
    )
    pull_queue.complete(pull_queue.MessageKey(alpha.pk, text, text))


def test_the_longest_names_fit(alpha: Tenant) -> None:
    longest = "😀" * 255

    pull_queue.enqueue(message(alpha, longest, queue=longest))

    assert names(alpha, queue=longest) == [longest]


@pytest.mark.parametrize("year", [1, 9999])
def test_any_moment_fits(alpha: Tenant, year: int) -> None:
    run_at = NOON.replace(year=year)

    pull_queue.enqueue_many([message(alpha, run_at=run_at)])

    assert Message.objects.get().run_at == run_at


# Many that nobody may have any more.


def fill(
    tenant: Tenant,
    count: int,
    *,
    queue: str = QUEUE,
    leased_until: datetime | None = None,
    max_retries: int = 0,
) -> None:
    """Store many messages as a bulk insert would, without anybody counting them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO tasks_api_message (tenant_id, queue, name, timeout_seconds,
                max_retries, retry_count, payload, run_at, leased_until, created_at)
            SELECT %s, %s, 'n' || n, 3600, %s, 0, 'null',
                %s + n * interval '1 millisecond', %s, now()
            FROM generate_series(1, %s) n
            """,
            [tenant.pk, queue, max_retries, LONG_AGO, leased_until, count],
        )


def test_the_exhausted_are_deleted_and_counted_until_there_is_another(
    alpha: Tenant,
) -> None:
    fill(alpha, 3 * pull_queue.EXPIRED_BATCH_SIZE, leased_until=LONG_AGO)
    pull_queue.enqueue(message(alpha, max_retries=1))
    names(alpha)
    let_leases_run_out(name="a")

    assert names(alpha) == ["a"]
    assert Message.objects.count() == 1
    assert tally(alpha) == 3 * pull_queue.EXPIRED_BATCH_SIZE


def test_a_take_ends_before_it_has_deleted_very_many(alpha: Tenant) -> None:
    fill(
        alpha,
        pull_queue.MAX_BATCHES * pull_queue.EXPIRED_BATCH_SIZE + 1,
        leased_until=LONG_AGO,
    )

    assert names(alpha) == []
    assert Message.objects.count() == 1
    assert tally(alpha) == pull_queue.MAX_BATCHES * pull_queue.EXPIRED_BATCH_SIZE


def test_the_exhausted_hold_up_nobody(alpha: Tenant) -> None:
    fill(alpha, 3 * pull_queue.EXPIRED_BATCH_SIZE, leased_until=LONG_AGO)
    pull_queue.enqueue(message(alpha))

    assert names(alpha) == ["a"]
    assert tally(alpha) == pull_queue.EXPIRED_BATCH_SIZE


def test_the_exhausted_are_counted_once_by_many(alpha: Tenant) -> None:
    count = 5 * pull_queue.EXPIRED_BATCH_SIZE
    fill(alpha, count, leased_until=LONG_AGO)

    in_threads(8, lambda: names(alpha))

    assert tally(alpha) + Message.objects.count() == count
    assert names(alpha) == []
    assert tally(alpha) == count


# Many at once.


@pytest.mark.parametrize("is_second_time", [False, True])
def test_many_consumers_get_each_message_once(
    alpha: Tenant, is_second_time: bool
) -> None:
    count = 2000
    leased_until = LONG_AGO if is_second_time else None
    fill(alpha, count, leased_until=leased_until, max_retries=1)
    sizes = iter([1, 2, 3, 5, 8, 13, 50, 100] * 2)
    lock = threading.Lock()

    def drain() -> list[str]:
        with lock:
            size = next(sizes)
        found: list[str] = []
        while taken := names(alpha, size):
            found += taken
        return found

    answers = in_threads(16, drain)

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
            batch = [message(alpha, f"{n}", max_retries=-1) for n in range(200)]
            for turn in range(5):
                pull_queue.enqueue_many(batch[number * turn :] + batch[: number * turn])
            return
        for _ in range(40):
            for name in names(alpha, 10):
                pull_queue.extend(message(alpha, name).key)
                pull_queue.complete(message(alpha, name).key)
                done.append(name)

    in_threads(16, work)

    assert set(done) | set(Message.objects.values_list("name", flat=True)) == {
        f"{n}" for n in range(200)
    }


def test_one_of_many_enqueues_wins(alpha: Tenant) -> None:
    def enqueue() -> bool:
        try:
            pull_queue.enqueue(message(alpha))
        except MessageExists:
            return False
        return True

    assert sum(in_threads(20, enqueue)) == 1


def test_a_message_somebody_holds_is_stepped_over(alpha: Tenant) -> None:
    pull_queue.enqueue_many([message(alpha, "a"), message(alpha, "b")])
    found: list[str] = []

    def take() -> None:
        found.extend(names(alpha))
        connection.close()

    with transaction.atomic():
        list(Message.objects.select_for_update().filter(name="a"))
        other = threading.Thread(target=take)
        other.start()
        other.join(timeout=10)

    assert found == ["b"]


# As fast with many as with few.


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def explain(tenant: Tenant, count: int) -> list[dict[str, Any]]:
    """How the database took messages, node by node."""
    settings, statement = LEASE_MESSAGES.split(";", 1)
    values = {
        "tenant_id": tenant.pk,
        "queue": QUEUE,
        "count": count,
        "batch_size": pull_queue.EXPIRED_BATCH_SIZE,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(settings)
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
        [[plan]] = cursor.fetchone()
    return list(nodes(plan["Plan"]))


def counted(statement: str = "VACUUM ANALYZE tasks_api_message") -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def nobody_counted(tenant: Tenant) -> None:
    fill(tenant, 20_000)


def counted_while_empty(tenant: Tenant) -> None:
    fill(tenant, 1, queue="other")
    counted()
    fill(tenant, 20_000)


def counted_while_all_were_leased(tenant: Tenant) -> None:
    fill(tenant, 1, leased_until=timezone.now() + timedelta(days=1))
    counted()
    Message.objects.all().delete()
    fill(tenant, 20_000)


def counted_while_another_queue_was_full(tenant: Tenant) -> None:
    fill(tenant, 20_000, queue="other")
    counted()
    fill(tenant, 20_000)


def counted_since(tenant: Tenant) -> None:
    fill(tenant, 20_000)
    counted()


@pytest.mark.parametrize("count", [1, 1000])
@pytest.mark.parametrize(
    "stored",
    [
        nobody_counted,
        counted_while_empty,
        counted_while_all_were_leased,
        counted_while_another_queue_was_full,
        counted_since,
    ],
)
def test_only_what_is_taken_is_read_whatever_the_planner_believes(
    alpha: Tenant, stored: Callable[[Tenant], None], count: int
) -> None:
    stored(alpha)

    plan = explain(alpha, count)

    table = [node for node in plan if node.get("Relation Name") == "tasks_api_message"]
    reading = [node for node in table if "Scan" in node["Node Type"]]
    assert {node["Node Type"] for node in reading} <= {"Index Scan", "Index Only Scan"}
    assert {node["Index Name"] for node in reading} == {
        "message_waits",
        "message_leased",
        "tasks_api_message_pkey",
    }
    assert all(node["Actual Rows"] <= count for node in reading)
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in reading)
    sorts = [node for node in plan if node["Node Type"] == "Sort"]
    assert all(node["Actual Rows"] <= count for node in sorts)


def test_of_many_leases_that_ran_out_a_few_are_looked_at(alpha: Tenant) -> None:
    counted_while_empty(alpha)
    Message.objects.update(leased_until=LONG_AGO, max_retries=1)
    counted()

    plan = explain(alpha, 10)

    reading = [node for node in plan if "Index Name" in node]
    assert all(node["Actual Rows"] <= pull_queue.EXPIRED_BATCH_SIZE for node in reading)
    assert all(
        node.get("Rows Removed by Filter", 0) <= pull_queue.EXPIRED_BATCH_SIZE
        for node in reading
    )


@pytest.mark.parametrize("verb", [pull_queue.extend, pull_queue.complete])
def test_one_message_is_found_by_its_name_among_many(
    alpha: Tenant, verb: Callable[[pull_queue.MessageKey], None]
) -> None:
    fill(alpha, 1, queue="other")
    counted()
    fill(alpha, 20_000, leased_until=timezone.now() + timedelta(days=1))

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        before = read_so_far()
        verb(pull_queue.MessageKey(alpha.pk, QUEUE, "n20000"))
        cursor.execute("SELECT pg_stat_force_next_flush()")

    assert read_so_far() - before < 20


def read_so_far() -> int:
    """Rows that were fetched from the table, by whatever index or none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) "
            "FROM pg_stat_user_tables WHERE relname = 'tasks_api_message'"
        )
        [rows] = cursor.fetchone()
    return int(rows)


def test_dead_rows_are_swept_before_they_slow_anybody_down() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reloptions FROM pg_class WHERE relname = 'tasks_api_message'"
        )
        [options] = cursor.fetchone()

    assert set(options) == {
        "autovacuum_vacuum_threshold=1000",
        "autovacuum_vacuum_scale_factor=0.01",
        "vacuum_index_cleanup=on",
    }
