"""The pull queue: consumers lease messages, and say when they are done with them.

Each operation is one statement, by the database's clock. A queue's message is available
when it waits and is due, or when its lease ran out with a retry left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from scheduler_service.db.arrays import columns
from scheduler_service.db.statements import fetch_all
from tasks_api.domain.exceptions import MessageExists, MessageNotFound
from tasks_api.services.message_statements import (
    DELETE_MESSAGE,
    ENQUEUE_MESSAGES,
    EXTEND_LEASE,
    LEASE_MESSAGES,
    RESCHEDULE_MESSAGE,
)

# As max_retries: the message comes back until a consumer completes it.
UNLIMITED_RETRIES = -1
# Messages in one lease().
MAX_LEASED_MESSAGES = 1000
# Leases that ran out and are looked at in one statement: some ten milliseconds, even if
# all of them are to be deleted.
EXPIRED_BATCH_SIZE = 1000
# Statements in one lease() that find nothing but messages to delete: about a second.
MAX_BATCHES = 100


class MessageKey(NamedTuple):
    """Which message: clients choose the names, and each queue of a tenant has its own."""

    tenant_id: int
    queue: str
    name: str


class NewMessage(NamedTuple):
    """A message to be stored, in the order of the columns of ENQUEUE_MESSAGES."""

    tenant_id: int
    queue: str
    name: str
    payload: str
    timeout_seconds: int
    max_retries: int
    # None is now.
    run_at: datetime | None

    @property
    def key(self) -> MessageKey:
        return MessageKey(self.tenant_id, self.queue, self.name)


class LeasedMessage(NamedTuple):
    """A message in the hands of a consumer; payload and state are JSON texts."""

    name: str
    timeout_seconds: int
    max_retries: int
    payload: str
    state: str | None
    run_at: datetime


class _LeaseRow(NamedTuple):
    """A row of LEASE_MESSAGES; without a name it says only how many were deleted."""

    deleted_count: int
    name: str | None
    timeout_seconds: int
    max_retries: int
    payload: str
    state: str | None
    run_at: datetime


def enqueue(message: NewMessage) -> None:
    """Store a message. Raises MessageExists if its queue has one of that name."""
    if not _insert([message]):
        raise MessageExists(
            f"A job with the id {message.name} is in the queue {message.queue} already"
        )


def enqueue_many(messages: Sequence[NewMessage]) -> None:
    """Store those messages whose names are free; of two with one name, the first."""
    first: dict[MessageKey, NewMessage] = {}
    for message in messages:
        first.setdefault(message.key, message)
    if first:
        _insert(list(first.values()))


def _insert(messages: Sequence[NewMessage]) -> int:
    """Store messages whose names differ; returns how many were stored."""
    with connection.cursor() as cursor:
        cursor.execute(ENQUEUE_MESSAGES, columns(messages))
        [stored] = cursor.fetchone()
    return int(stored)


def lease(tenant_id: int, queue: str, count: int) -> list[LeasedMessage]:
    """Lease up to `count` available messages of a queue, the oldest `run_at` first.

    Deletes those on its way whose last lease ran out.
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
        # Behind those that were deleted there may be others.
        if leased or not deleted_count:
            return leased
    return []


def _lease_batch(values: Mapping[str, Any]) -> tuple[list[LeasedMessage], int]:
    with connection.cursor() as cursor:
        cursor.execute(LEASE_MESSAGES, values)
        # The first result is that of SET, which holds for this transaction only.
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
    """Lease a message for its timeout from now on, and store a state if one is given.

    Raises MessageNotFound unless it is in flight.
    """
    values = {**key._asdict(), "keep_state": keep_state, "state": state}
    _change(EXTEND_LEASE, values, "No job with this id is in flight in this queue")


def reschedule(message: NewMessage, *, state: str | None) -> None:
    """Put a message back in the place of one in flight, as if it were a new one.

    Raises MessageNotFound unless it is in flight.
    """
    values = {**message._asdict(), "state": state}
    _change(
        RESCHEDULE_MESSAGE, values, "No job with this id is in flight in this queue"
    )


def complete(key: MessageKey) -> None:
    """Delete a message, whether it is in flight or not. Raises MessageNotFound."""
    _change(DELETE_MESSAGE, key._asdict(), "No job with this id is in this queue")


def _change(statement: str, values: Mapping[str, Any], not_found: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        if not cursor.rowcount:
            raise MessageNotFound(not_found)
