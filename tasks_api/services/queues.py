"""Pull queues as people see them: how many messages wait, which ones, and for how long.

All users of a tenant share its queues.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

from django.db import connection, transaction

from accounts import audit
from accounts.models import Tenant
from scheduler_service.db.statements import fetch_all, with_limit
from tasks_api.domain.ids import EPOCH
from tasks_api.domain.message_states import MessageState
from tasks_api.services import pull_queue, queue_statements
from tasks_api.services.pull_queue import MessageKey

# A number of messages is counted up to this, and up to less in a list of queues.
MAX_COUNTED, MAX_COUNTED_IN_LIST = 10_000, 1000
# The most messages that one call requeues or deletes: some hundred milliseconds.
MAX_CHANGED = 10_000
# The characters of a payload that a list of messages has.
MAX_PAYLOAD_SHOWN = 4000


MICROSECOND = timedelta(microseconds=1)
MAX_ID = 2**63 - 1


class Queue(NamedTuple):
    """A queue and the numbers of its messages, each counted up to `most`."""

    queue: str
    ready: int
    later: int
    in_flight: int
    returning: int
    exhausted: int
    most: int
    # The `run_at` of the first ready message.
    oldest: datetime | None
    # The number of messages that were deleted without a retry left.
    lost: int

    def count(self, state: MessageState) -> int:
        return int(getattr(self, state.replace("-", "_")))

    def is_cut_off(self, state: MessageState) -> bool:
        """Whether there may be more messages than `count` says."""
        if state in (MessageState.RETURNING, MessageState.EXHAUSTED):
            return self.returning + self.exhausted == self.most
        return self.count(state) == self.most

    @property
    def is_empty(self) -> bool:
        return not any(map(self.count, MessageState))


class QueuePage(NamedTuple):
    queues: list[Queue]
    # The name after which the next page begins.
    after: str | None


class PeekedMessage(NamedTuple):
    id: int
    name: str
    run_at: datetime
    leased_until: datetime | None
    timeout_seconds: int
    max_retries: int
    retry_count: int
    created_at: datetime
    # What the list is in the order of.
    position: datetime
    # The beginning of the JSON text.
    payload: str
    payload_length: int
    state: str | None

    @property
    def is_cut_off(self) -> bool:
        return self.payload_length > len(self.payload)


class MessageCursor(NamedTuple):
    """The last message of a page."""

    position: datetime
    id: int

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote. Raises ValueError."""
        micros, _, message_id = text.partition("-")
        if not (text.isascii() and micros.isdigit() and message_id.isdigit()):
            raise ValueError("It is no cursor.")
        try:
            position = EPOCH + int(micros) * MICROSECOND
        except OverflowError as error:
            raise ValueError("It is no moment.") from error
        return cls(position, min(int(message_id), MAX_ID))

    def to_text(self) -> str:
        return f"{(self.position - EPOCH) // MICROSECOND}-{self.id}"


class MessagePage(NamedTuple):
    messages: list[PeekedMessage]
    after: MessageCursor | None


def list_queues(tenant: Tenant, *, after: str = "", limit: int) -> QueuePage:
    """Return the queues that have messages or have lost some, by their names."""
    values: dict[str, Any] = {
        "tenant": tenant.pk,
        "after": after,
        "most": MAX_COUNTED_IN_LIST,
    }
    statement = with_limit(queue_statements.LIST_QUEUES, limit + 1)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found = fetch_all(cursor, Queue)
    if len(found) <= limit:
        return QueuePage(found, None)
    return QueuePage(found[:limit], found[limit - 1].queue)


def read_queue(tenant: Tenant, queue: str) -> Queue:
    """Return a queue, which exists without messages, too."""
    values: dict[str, Any] = {"tenant": tenant.pk, "queue": queue, "most": MAX_COUNTED}
    with connection.cursor() as cursor:
        cursor.execute(queue_statements.READ_QUEUE, values)
        [found] = fetch_all(cursor, Queue)
    return found


def peek(
    tenant: Tenant,
    queue: str,
    state: MessageState,
    *,
    after: MessageCursor | None,
    limit: int,
) -> MessagePage:
    """Return messages in a state without leasing them, those that are first in line first."""
    values: dict[str, Any] = {
        "tenant": tenant.pk,
        "queue": queue,
        "after": after and after.position,
        "after_id": after and after.id,
        "most": MAX_COUNTED,
        "limit": limit + 1,
        "length": MAX_PAYLOAD_SHOWN,
    }
    with connection.cursor() as cursor:
        cursor.execute(queue_statements.PEEK[state], values)
        found = fetch_all(cursor, PeekedMessage)
    if len(found) <= limit:
        return MessagePage(found, None)
    last = found[limit - 1]
    return MessagePage(found[:limit], MessageCursor(last.position, last.id))


@transaction.atomic
def delete_message(tenant: Tenant, queue: str, name: str) -> None:
    """Delete a message, in flight or not. Raises MessageNotFound."""
    pull_queue.complete(MessageKey(tenant.pk, queue, name))
    audit.record(tenant.pk, "queue.delete", [queue], {"message": (name, None)})


def requeue_exhausted(tenant: Tenant, queue: str) -> int:
    """Let messages without a retry left wait again; return how many, up to MAX_CHANGED."""
    return _change(tenant, queue, "queue.requeue", queue_statements.REQUEUE_EXHAUSTED)


def purge_queue(tenant: Tenant, queue: str) -> int:
    """Delete messages of a queue; return how many, up to MAX_CHANGED."""
    return _change(tenant, queue, "queue.purge", queue_statements.PURGE_QUEUE)


@transaction.atomic
def _change(tenant: Tenant, queue: str, action: str, statement: str) -> int:
    values: dict[str, Any] = {
        "tenant": tenant.pk,
        "queue": queue,
        "most": MAX_CHANGED,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        count = int(cursor.rowcount)
    if count:
        audit.record(tenant.pk, action, [queue], {"messages": (count, None)})
    return count
