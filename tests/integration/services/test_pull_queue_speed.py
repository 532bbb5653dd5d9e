"""The pull queue reads what it takes and no more, however much is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Tenant
from tasks_api.models import Message
from tasks_api.services import pull_queue
from tasks_api.services.message_statements import LEASE_MESSAGES
from tests.integration.support.pull_messages import LONG_AGO, QUEUE, store_messages

pytestmark = pytest.mark.django_db(transaction=True)


def plan_nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from plan_nodes(part)


def explain_lease(tenant: Tenant, count: int) -> list[dict[str, Any]]:
    """How the database took messages, node by node."""
    settings, statement = LEASE_MESSAGES.split(";", 1)
    values: dict[str, int | str] = {
        "tenant_id": tenant.pk,
        "queue": QUEUE,
        "count": count,
        "batch_size": pull_queue.EXPIRED_BATCH_SIZE,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(settings)
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
        [[plan]] = cursor.fetchone()
    return list(plan_nodes(plan["Plan"]))


def update_statistics(statement: str = "VACUUM ANALYZE tasks_api_message") -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def without_statistics(tenant: Tenant) -> None:
    store_messages(tenant, 20_000)


def counted_while_empty(tenant: Tenant) -> None:
    store_messages(tenant, 1, queue="other")
    update_statistics()
    store_messages(tenant, 20_000)


def counted_while_all_were_leased(tenant: Tenant) -> None:
    store_messages(tenant, 1, leased_until=timezone.now() + timedelta(days=1))
    update_statistics()
    Message.objects.all().delete()
    store_messages(tenant, 20_000)


def counted_while_another_queue_was_full(tenant: Tenant) -> None:
    store_messages(tenant, 20_000, queue="other")
    update_statistics()
    store_messages(tenant, 20_000)


def counted_since(tenant: Tenant) -> None:
    store_messages(tenant, 20_000)
    update_statistics()


@pytest.mark.parametrize("count", [1, 1000])
@pytest.mark.parametrize(
    "stored",
    [
        without_statistics,
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

    plan = explain_lease(alpha, count)

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
    update_statistics()

    plan = explain_lease(alpha, 10)

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
    store_messages(alpha, 1, queue="other")
    update_statistics()
    store_messages(alpha, 20_000, leased_until=timezone.now() + timedelta(days=1))

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        before = rows_read()
        verb(pull_queue.MessageKey(alpha.pk, QUEUE, "n20000"))
        cursor.execute("SELECT pg_stat_force_next_flush()")

    assert rows_read() - before < 20


def rows_read() -> int:
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
