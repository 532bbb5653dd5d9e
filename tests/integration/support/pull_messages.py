"""Messages of a pull queue, and what became of their leases."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts.models import Tenant
from tasks_api.models import Message, QueueTally
from tasks_api.services import pull_queue

SECOND = timedelta(seconds=1)


QUEUE = "mail"


LONG_TIMEOUT = 3600


LONG_AGO = timezone.now() - timedelta(days=1)


def new_message(
    tenant: Tenant,
    name: str = "a",
    *,
    queue: str = QUEUE,
    payload: str = "null",
    timeout: int = LONG_TIMEOUT,
    max_retries: int = 0,
    run_at: datetime | None = None,
) -> pull_queue.NewMessage:
    return pull_queue.NewMessage(
        tenant.pk, queue, name, payload, timeout, max_retries, run_at
    )


def lease_names(tenant: Tenant, count: int = 1, queue: str = QUEUE) -> list[str]:
    return [taken.name for taken in pull_queue.lease(tenant.pk, queue, count)]


def expire_leases(**which: Any) -> None:
    past = timezone.now() - timedelta(hours=1)
    Message.objects.filter(leased_until__isnull=False, **which).update(
        leased_until=past
    )


def exhausted_count(tenant: Tenant, queue: str = QUEUE) -> int:
    found = QueueTally.objects.filter(tenant=tenant, queue=queue).first()
    return found.exhausted if found else 0


def seconds_left() -> float:
    """How many seconds the only lease has left."""
    until = Message.objects.get().leased_until
    assert until is not None
    return (until - timezone.now()).total_seconds()


# Many that nobody may have any more.


def store_messages(
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
