"""The pull queue: consumers fetch messages, extend their leases, and complete them.

Each operation is one statement, by the database's clock. A message is available if it
waits and is due, or if its lease ran out with a retry left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from accounts.models import Tenant
from scheduler_service.db.arrays import columns
from scheduler_service.db.statements import fetch_all
from tasks_api.domain.exceptions import MessageExists, MessageNotFound, TenantFrozen
from tasks_api.services.message_statements import (
    DELETE_MESSAGE,
    ENQUEUE_MESSAGES,
    ENQUEUE_MESSAGES_OF_RUNS,
    EXTEND_LEASE,
    LEASE_MESSAGES,
    RESCHEDULE_MESSAGE,
)

# The value of max_retries for a message that returns until a consumer completes it.
UNLIMITED_RETRIES = -1
# The most messages in one lease().
MAX_LEASED_MESSAGES = 1000
# The most expired leases that one statement handles: some ten milliseconds, even if all
# of their messages are deleted.
EXPIRED_BATCH_SIZE = 1000
# The most statements in one lease() that only delete messages: about a second.
MAX_BATCHES = 100


class MessageKey(NamedTuple):
    """The key of a message; clients choose names, which are unique in a queue."""

    tenant_id: int
    queue: str
    name: str


class NewMessage(NamedTuple):
    """A message to store; its fields have the order of ENQUEUE_MESSAGES' columns."""

    tenant_id: int
    queue: str
    name: str
    payload: str
    timeout_seconds: int
    max_retries: int
    # None means now.
    run_at: datetime | None

    @property
    def key(self) -> MessageKey:
        return MessageKey(self.tenant_id, self.queue, self.name)


class LeasedMessage(NamedTuple):
    """A message that a consumer has leased; payload and state are JSON texts."""

    name: str
    timeout_seconds: int
    max_retries: int
    payload: str
    state: str | None
    run_at: datetime


class _LeaseRow(NamedTuple):
    """A row of LEASE_MESSAGES; without a name it has only the number of deletions."""

    deleted_count: int
    name: str | None
    timeout_seconds: int
    max_retries: int
    payload: str
    state: str | None
    run_at: datetime


def enqueue(message: NewMessage) -> None:
    """Store a message. Raises MessageExists if the name is taken in the queue.

    All operations raise TenantFrozen if the tenant moves; `lease` finds nothing then.
    """
    if not _insert([message]):
        _require_at_home(message.tenant_id)
        raise MessageExists(
            f"A job with the id {message.name} is in the queue {message.queue} already"
        )


def enqueue_many(messages: Sequence[NewMessage]) -> None:
    """Store the messages of a tenant whose names are free; of two with one name, the first."""
    first = _first_of_each_name(messages)
    if first and _insert(first) < len(first):
        _require_at_home(first[0].tenant_id)


def enqueue_of_runs(messages: Sequence[NewMessage]) -> None:
    """The same for messages of runs that are under way, of any tenants."""
    if first := _first_of_each_name(messages):
        _insert(first, ENQUEUE_MESSAGES_OF_RUNS)


def _first_of_each_name(messages: Sequence[NewMessage]) -> list[NewMessage]:
    first: dict[MessageKey, NewMessage] = {}
    for message in messages:
        first.setdefault(message.key, message)
    return list(first.values())


def _insert(messages: Sequence[NewMessage], statement: str = ENQUEUE_MESSAGES) -> int:
    """Store messages whose names differ; return how many were stored."""
    with connection.cursor() as cursor:
        cursor.execute(statement, columns(messages))
        [stored] = cursor.fetchone()
    return int(stored)


def lease(tenant_id: int, queue: str, count: int) -> list[LeasedMessage]:
    """Lease up to `count` available messages of a queue, the oldest `run_at` first.

    Also deletes messages whose last lease ran out.
    """
    if count <= 0:
        return []
    values = {
        "tenant_id": tenant_id,
        "queue": queue,
        "count": min(count, MAX_LEASED_MESSAGES),
        "batch_size": EXPIRED_BATCH_SIZE,
    }
    for _ in range(MAX_BATCHES):
        leased, deleted_count = _lease_batch(values)
        # Available messages may come after the deleted ones.
        if leased or not deleted_count:
            return leased
    return []


def _lease_batch(values: Mapping[str, Any]) -> tuple[list[LeasedMessage], int]:
    with connection.cursor() as cursor:
        cursor.execute(LEASE_MESSAGES, values)
        # The first result belongs to SET, which is in force in this transaction only.
        cursor.nextset()
        rows = fetch_all(cursor, _LeaseRow)
    leased = [
        LeasedMessage(
            row.name,
            row.timeout_seconds,
            row.max_retries,
            row.payload,
            row.state,
            row.run_at,
        )
        for row in rows
        if row.name is not None
    ]
    return leased, rows[0].deleted_count


def extend(
    key: MessageKey, *, keep_state: bool = True, state: str | None = None
) -> None:
    """Extend a lease by the message's timeout from now on, and store a state if given.

    Raises MessageNotFound if the message is not in flight.
    """
    values = {**key._asdict(), "keep_state": keep_state, "state": state}
    _change(EXTEND_LEASE, values, "No job with this id is in flight in this queue")


def reschedule(message: NewMessage, *, state: str | None) -> None:
    """Replace a message in flight by a new one.

    Raises MessageNotFound if the message is not in flight.
    """
    values = {**message._asdict(), "state": state}
    _change(
        RESCHEDULE_MESSAGE, values, "No job with this id is in flight in this queue"
    )


def complete(key: MessageKey) -> None:
    """Delete a message, in flight or not. Raises MessageNotFound."""
    _change(DELETE_MESSAGE, key._asdict(), "No job with this id is in this queue")


def _change(statement: str, values: Mapping[str, Any], not_found: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        changed = cursor.rowcount
    if not changed:
        _require_at_home(values["tenant_id"])
        raise MessageNotFound(not_found)


def _require_at_home(tenant_id: int) -> None:
    """Raise TenantFrozen if that is why nothing was changed."""
    if Tenant.objects.filter(pk=tenant_id, frozen_at__isnull=False).exists():
        raise TenantFrozen
