"""The pull queue: messages wait, are leased by consumers, and end when these say so.

Each verb is one statement, and the clock is the database's. Of a queue's messages those
are available that wait and are due, and those whose lease ran out with a retry left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from scheduler_service.db.arrays import columns
from tasks_api.domain.exceptions import MessageExists, MessageNotFound

# As max_retries: the message comes back until somebody completes it.
WITHOUT_END = -1
# Messages in one take.
MOST = 1000
# Leases that ran out and are looked at in one statement: some ten milliseconds, even if
# all of them are to be deleted.
BITE = 1000
# Statements in one take that find nothing but messages to delete: about a second.
BITES = 100


class Key(NamedTuple):
    """Which message: clients choose the names, and each queue of a tenant has its own."""

    tenant_id: int
    queue: str
    name: str


class NewMessage(NamedTuple):
    """A message to be stored; the order is that of _PUT's columns."""

    tenant_id: int
    queue: str
    name: str
    payload: str
    timeout_seconds: int
    max_retries: int
    # None is now.
    run_at: datetime | None

    @property
    def key(self) -> Key:
        return Key(self.tenant_id, self.queue, self.name)


class Leased(NamedTuple):
    """A message in the hands of a consumer; payload and state are JSON texts."""

    name: str
    timeout_seconds: int
    max_retries: int
    payload: str
    state: str | None
    run_at: datetime


def enqueue(message: NewMessage) -> None:
    """Store a message. Raises MessageExists if its queue has one of that name."""
    if not _put([message]):
        raise MessageExists(
            f"A job with the id {message.name} is in the queue {message.queue} already"
        )


def put(messages: Sequence[NewMessage]) -> None:
    """Store those messages whose names are free; of two with one name, the first."""
    first: dict[Key, NewMessage] = {}
    for message in messages:
        first.setdefault(message.key, message)
    if first:
        _put(list(first.values()))


def _put(messages: Sequence[NewMessage]) -> int:
    """How many of them were stored. Their names differ."""
    with connection.cursor() as cursor:
        cursor.execute(_PUT, columns(messages))
        [stored] = cursor.fetchone()
    return int(stored)


# A lease that ran out for the last time does not hold its name: the message is gone as
# soon as somebody looks, and here somebody does.
#
# Numbered in the order of the request, so that messages of the same moment are taken in
# it; stored in the order of their names, so that two requests wait for each other's rows
# and never in a circle.
_PUT = """
    WITH numbered AS MATERIALIZED (
        SELECT nextval('tasks_api_message_id_seq') AS id, item.*
        FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::int[],
            %s::int[], %s::timestamptz[])
            AS item(tenant_id, queue, name, payload, timeout_seconds, max_retries, run_at)
    ), stored AS (
        INSERT INTO tasks_api_message AS message (id, tenant_id, queue, name, payload,
            timeout_seconds, max_retries, run_at, retry_count, created_at)
        SELECT id, tenant_id, queue, name, payload, timeout_seconds, max_retries,
            coalesce(run_at, now()), 0, now()
        FROM numbered ORDER BY tenant_id, queue, name
        ON CONFLICT (tenant_id, queue, name) DO UPDATE SET
            payload = excluded.payload, state = NULL,
            timeout_seconds = excluded.timeout_seconds,
            max_retries = excluded.max_retries, retry_count = 0,
            run_at = excluded.run_at, leased_until = NULL, created_at = now()
        WHERE message.leased_until <= now()
            AND message.max_retries >= 0 AND message.retry_count >= message.max_retries
        RETURNING id, tenant_id, queue
    ), tally AS (
        INSERT INTO tasks_api_queuetally AS tally (tenant_id, queue, exhausted)
        SELECT tenant_id, queue, count(*) FROM stored
        WHERE NOT EXISTS (SELECT FROM numbered WHERE numbered.id = stored.id)
        GROUP BY tenant_id, queue ORDER BY tenant_id, queue
        ON CONFLICT (tenant_id, queue) DO UPDATE
            SET exhausted = tally.exhausted + excluded.exhausted
    )
    SELECT count(*) FROM stored
"""


def take(tenant_id: int, queue: str, count: int) -> list[Leased]:
    """Lease up to `count` available messages of a queue, the oldest `run_at` first.

    Deletes those on its way that nobody may have any more.
    """
    if count <= 0:
        return []
    values = {
        "tenant_id": tenant_id,
        "queue": queue,
        "count": min(count, MOST),
        "bite": BITE,
    }
    for _ in range(BITES):
        taken, deleted = _take(values)
        # Behind those that were deleted there may be others.
        if taken or not deleted:
            return taken
    return []


def _take(values: Mapping[str, Any]) -> tuple[list[Leased], int]:
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, values)
        # The first result is that of SET, which holds for this transaction only.
        cursor.nextset()
        rows = cursor.fetchall()
    # There is one row at least, for the number alone if nothing was taken.
    taken = [Leased._make(row[1:]) for row in rows if row[1] is not None]
    return taken, rows[0][0]


# Rows that another consumer holds are skipped, and only those are locked that are taken:
# whoever comes at the same moment finds the next ones, and nobody waits.
#
# How many of the first messages come from which of the two indexes is found out before
# locking; mostly no lease has run out, and then only one is read.
#
# The planner must not have a choice. Whenever it believes that a queue is all but empty,
# because it was when somebody last counted, any index is as good to it as the ordered
# one, and a million rows are sorted for each message. So sorting is off where an index
# has the order. ARRAY(…) and coalesce(…) keep it from looking for ids by anything else
# than the primary key.
_TAKE = """
    SET LOCAL enable_sort = off;
    WITH expired AS MATERIALIZED (
        SELECT id, run_at, max_retries < 0 OR retry_count < max_retries AS has_retry
        FROM tasks_api_message
        WHERE tenant_id = %(tenant_id)s AND queue = %(queue)s AND leased_until <= now()
        ORDER BY leased_until LIMIT %(bite)s
    ), oldest AS (
        SELECT run_at, id, true AS was_leased FROM expired WHERE has_retry
        UNION ALL (
            SELECT run_at, id, false FROM tasks_api_message
            WHERE tenant_id = %(tenant_id)s AND queue = %(queue)s
                AND leased_until IS NULL AND run_at <= now()
                AND EXISTS (SELECT FROM expired WHERE has_retry)
            ORDER BY run_at, id LIMIT %(count)s
        )
        ORDER BY run_at, id LIMIT %(count)s
    ), again AS MATERIALIZED (
        SELECT id FROM tasks_api_message
        WHERE id = ANY(ARRAY(SELECT id FROM expired WHERE has_retry))
            AND coalesce(leased_until <= now(), false)
            AND (max_retries < 0 OR retry_count < max_retries)
        ORDER BY run_at, id LIMIT (SELECT count(*) FROM oldest WHERE was_leased)
        FOR UPDATE SKIP LOCKED
    ), fresh AS MATERIALIZED (
        SELECT id FROM tasks_api_message
        WHERE tenant_id = %(tenant_id)s AND queue = %(queue)s
            AND leased_until IS NULL AND run_at <= now()
        ORDER BY run_at, id LIMIT (SELECT %(count)s - count(*) FROM again)
        FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE tasks_api_message SET
            leased_until = now() + make_interval(secs => timeout_seconds),
            retry_count = retry_count + (leased_until IS NOT NULL)::int
        WHERE id = ANY(ARRAY(SELECT id FROM again UNION ALL SELECT id FROM fresh))
        RETURNING *
    ), exhausted AS MATERIALIZED (
        SELECT id FROM tasks_api_message
        WHERE id = ANY(ARRAY(SELECT id FROM expired WHERE NOT has_retry))
            AND coalesce(leased_until <= now(), false)
            AND max_retries >= 0 AND retry_count >= max_retries
        FOR UPDATE SKIP LOCKED
    ), deleted AS (
        DELETE FROM tasks_api_message WHERE id = ANY(ARRAY(SELECT id FROM exhausted))
        RETURNING id
    ), tally AS (
        INSERT INTO tasks_api_queuetally AS tally (tenant_id, queue, exhausted)
        SELECT %(tenant_id)s, %(queue)s, count(*) FROM deleted HAVING count(*) > 0
        ON CONFLICT (tenant_id, queue) DO UPDATE
            SET exhausted = tally.exhausted + excluded.exhausted
    )
    SELECT deleted.count, name, timeout_seconds, max_retries, payload, state, run_at
    FROM (SELECT count(*) FROM deleted) AS deleted LEFT JOIN taken ON true
    ORDER BY run_at, id
"""

# The message of a key that is in flight. Its id is looked up first, and coalesce(…) is
# no question for an index, because the planner could otherwise find all the leased ones
# and compare the name of each.
_IN_FLIGHT = """
    id = (
        SELECT id FROM tasks_api_message
        WHERE tenant_id = %(tenant_id)s AND queue = %(queue)s AND name = %(name)s
    ) AND coalesce(leased_until > now(), false)
"""


def extend(key: Key, *, keep_state: bool = True, state: str | None = None) -> None:
    """Lease a message for its timeout from now on, and remember a state if one is given.

    Raises MessageNotFound unless it is in flight.
    """
    statement = f"""
        UPDATE tasks_api_message SET
            leased_until = now() + make_interval(secs => timeout_seconds),
            state = CASE WHEN %(keep_state)s THEN state ELSE %(state)s END
        WHERE {_IN_FLIGHT}
    """  # noqa: S608 (a constant)
    values = {**key._asdict(), "keep_state": keep_state, "state": state}
    _change(statement, values, "No job with this id is in flight in this queue")


def reschedule(message: NewMessage, *, state: str | None) -> None:
    """Put a message back in the place of one in flight, as if it were a new one.

    Raises MessageNotFound unless it is in flight.
    """
    statement = f"""
        UPDATE tasks_api_message SET
            payload = %(payload)s, state = %(state)s,
            timeout_seconds = %(timeout_seconds)s, max_retries = %(max_retries)s,
            retry_count = 0, leased_until = NULL,
            run_at = coalesce(%(run_at)s::timestamptz, now())
        WHERE {_IN_FLIGHT}
    """  # noqa: S608 (a constant)
    values = {**message._asdict(), "state": state}
    _change(statement, values, "No job with this id is in flight in this queue")


def complete(key: Key) -> None:
    """Delete a message, whether it is in flight or not. Raises MessageNotFound."""
    statement = """
        DELETE FROM tasks_api_message
        WHERE tenant_id = %(tenant_id)s AND queue = %(queue)s AND name = %(name)s
    """
    _change(statement, key._asdict(), "No job with this id is in this queue")


def _change(statement: str, values: Mapping[str, Any], otherwise: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        if not cursor.rowcount:
            raise MessageNotFound(otherwise)
