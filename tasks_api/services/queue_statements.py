"""The SQL that shows queues and their messages to people, and puts queues in order."""

from __future__ import annotations

from tasks_api.domain.message_states import MessageState

_IS_OF_QUEUE = "tenant_id = %(tenant)s AND queue = %(queue)s"
_IS_EXHAUSTED = "max_retries >= 0 AND retry_count >= max_retries"

# Finds the queues of a tenant after a name, one by one in the index of names. A queue
# whose messages were all lost has a tally and no message.
_NAMES = """
    WITH RECURSIVE step AS (
        (SELECT queue FROM tasks_api_message
         WHERE tenant_id = %(tenant)s AND queue > %(after)s ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT queue FROM tasks_api_message
                WHERE tenant_id = %(tenant)s AND queue > step.queue
                ORDER BY queue LIMIT 1)
        FROM step WHERE step.queue IS NOT NULL
    ), named AS (
        (SELECT queue FROM step WHERE queue IS NOT NULL LIMIT {limit})
        UNION
        (SELECT queue FROM tasks_api_queuetally
         WHERE tenant_id = %(tenant)s AND queue > %(after)s ORDER BY queue LIMIT {limit})
        ORDER BY queue LIMIT {limit}
    )
"""
_NAME = "WITH named AS (SELECT %(queue)s::text AS queue)"


def _count(condition: str) -> str:
    return f"""
        (SELECT count(*) FROM (
            SELECT FROM tasks_api_message message
            WHERE message.tenant_id = %(tenant)s AND message.queue = named.queue
                AND {condition} LIMIT %(most)s) AS counted)
    """


# Counts the messages of each queue, up to a limit for each number.
_COUNTS = f"""
    SELECT named.queue,
        {_count("leased_until IS NULL AND run_at <= now()")} AS ready,
        {_count("leased_until IS NULL AND run_at > now()")} AS later,
        {_count("leased_until > now()")} AS in_flight,
        expired.returning, expired.exhausted,
        %(most)s AS most,
        (SELECT run_at FROM tasks_api_message
         WHERE tenant_id = %(tenant)s AND queue = named.queue AND leased_until IS NULL
             AND run_at <= now()
         ORDER BY run_at, id LIMIT 1) AS oldest,
        coalesce((SELECT exhausted FROM tasks_api_queuetally tally
         WHERE tally.tenant_id = %(tenant)s AND tally.queue = named.queue), 0) AS lost
    FROM named CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE NOT ({_IS_EXHAUSTED})) AS returning,
            count(*) FILTER (WHERE {_IS_EXHAUSTED}) AS exhausted
        FROM (
            SELECT max_retries, retry_count FROM tasks_api_message message
            WHERE message.tenant_id = %(tenant)s AND message.queue = named.queue
                AND leased_until <= now() LIMIT %(most)s
        ) AS counted
    ) AS expired
    ORDER BY named.queue
"""
LIST_QUEUES = _NAMES + _COUNTS
READ_QUEUE = _NAME + _COUNTS

# The condition of each state, and the column whose order is that of its index.
CONDITIONS: dict[MessageState, tuple[str, str]] = {
    MessageState.READY: ("leased_until IS NULL AND run_at <= now()", "run_at"),
    MessageState.LATER: ("leased_until IS NULL AND run_at > now()", "run_at"),
    MessageState.IN_FLIGHT: ("leased_until > now()", "leased_until"),
    MessageState.RETURNING: ("leased_until <= now()", "leased_until"),
    MessageState.EXHAUSTED: ("leased_until <= now()", "leased_until"),
}
_EXPIRED: dict[MessageState, str] = {
    MessageState.RETURNING: f"NOT ({_IS_EXHAUSTED})",
    MessageState.EXHAUSTED: _IS_EXHAUSTED,
}


def peek(state: MessageState) -> str:
    """Read messages of a queue in a state without leasing them, the oldest first."""
    condition, moment = CONDITIONS[state]
    return f"""
        SELECT message.id, message.name, run_at, leased_until, timeout_seconds,
            max_retries, retry_count, message.created_at, {moment} AS position,
            left(payload, %(length)s) AS payload, length(payload) AS payload_length,
            left(state, %(length)s) AS state
        FROM (
            SELECT id AS found FROM tasks_api_message
            WHERE {_IS_OF_QUEUE} AND {condition}
                AND (%(after)s::timestamptz IS NULL
                    OR ({moment}, id) > (%(after)s::timestamptz, %(after_id)s))
            ORDER BY {moment}, id LIMIT %(most)s
        ) AS examined JOIN tasks_api_message message ON message.id = found
        WHERE {_EXPIRED.get(state, "true")}
        ORDER BY {moment}, message.id LIMIT %(limit)s
    """


PEEK = {state: peek(state) for state in MessageState}

# Lets messages without a retry left wait again, with all of their retries.
REQUEUE_EXHAUSTED = f"""
    UPDATE tasks_api_message SET leased_until = NULL, retry_count = 0
    WHERE id = ANY(ARRAY(
        SELECT id FROM tasks_api_message
        WHERE {_IS_OF_QUEUE} AND leased_until <= now() AND {_IS_EXHAUSTED}
        LIMIT %(most)s FOR UPDATE SKIP LOCKED))
"""

# Deletes messages of a queue, in flight or not.
PURGE_QUEUE = f"""
    DELETE FROM tasks_api_message WHERE id = ANY(ARRAY(
        SELECT id FROM tasks_api_message WHERE {_IS_OF_QUEUE}
        ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED))
"""
