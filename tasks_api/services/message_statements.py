"""The SQL of the pull queue."""

from __future__ import annotations

# Whether the tenant is not frozen. So a call that was let in just before the tenant froze
# changes nothing afterwards; a statement that had begun before is awaited by the move.
_IS_AT_HOME = """
    (SELECT frozen_at IS NULL FROM accounts_tenant WHERE id = %(tenant_id)s)
"""

# Stores messages. A message whose last lease ran out is replaced, because it counts as
# deleted.
#
# Messages get their ids in the order of the request, so that consumers lease those of
# one moment in this order. They are stored in the order of their names, so that two
# requests cannot deadlock.
_ENQUEUE = """
    WITH numbered AS MATERIALIZED (
        SELECT nextval('tasks_api_message_id_seq') AS id, item.*
        FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::int[],
            %s::int[], %s::timestamptz[])
            AS item(tenant_id, queue, name, payload, timeout_seconds, max_retries, run_at)
        {condition}
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
ENQUEUE_MESSAGES = _ENQUEUE.replace(
    "{condition}",
    """
        WHERE item.tenant_id <> ALL(ARRAY(
            SELECT id FROM accounts_tenant WHERE frozen_at IS NOT NULL))
    """,
)
# The same for the messages of runs that are under way: a move waits for these.
ENQUEUE_MESSAGES_OF_RUNS = _ENQUEUE.replace("{condition}", "")

# Leases the oldest available messages of a queue, and deletes messages whose last lease
# ran out. It returns at least one row, which has the number of deleted messages.
#
# It skips rows that another consumer has locked, and locks only the rows that it
# leases. So consumers that come at the same moment get different messages, and none
# waits.
#
# Before it locks, it finds out how many of the oldest messages each of the two indexes
# has. Mostly no lease has run out, and then it reads only one index.
#
# The planner must not have a choice. If a queue was nearly empty at the last ANALYZE,
# the planner takes any index to be as good as the ordered one, and sorts a million rows
# for each message. So sorting is off, because an index has the order. ARRAY(…) and
# coalesce(…) make it find ids by the primary key only.
LEASE_MESSAGES = f"""
    SET LOCAL enable_sort = off;
    WITH expired AS MATERIALIZED (
        SELECT id, run_at, max_retries < 0 OR retry_count < max_retries AS has_retry
        FROM tasks_api_message
        WHERE tenant_id = %(tenant_id)s AND queue = %(queue)s AND leased_until <= now()
            AND {_IS_AT_HOME}
        ORDER BY leased_until LIMIT %(batch_size)s
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
            AND leased_until IS NULL AND run_at <= now() AND {_IS_AT_HOME}
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
    SELECT deleted.count AS deleted_count, name, timeout_seconds, max_retries, payload,
        state, run_at
    FROM (SELECT count(*) FROM deleted) AS deleted LEFT JOIN taken ON true
    ORDER BY run_at, id
"""

# True for the message of a key if it is in flight. coalesce(…) keeps the planner from
# the index of leases: it would find all leased messages and compare the name of each.
_IS_IN_FLIGHT = f"""
    id = (
        SELECT id FROM tasks_api_message
        WHERE tenant_id = %(tenant_id)s AND queue = %(queue)s AND name = %(name)s
    ) AND coalesce(leased_until > now(), false) AND {_IS_AT_HOME}
"""

# Extends the lease of a message by its timeout from now on, and may replace its state.
EXTEND_LEASE = f"""
    UPDATE tasks_api_message SET
        leased_until = now() + make_interval(secs => timeout_seconds),
        state = CASE WHEN %(keep_state)s THEN state ELSE %(state)s END
    WHERE {_IS_IN_FLIGHT}
"""

# Replaces a message in flight by another one, which waits until it is due.
RESCHEDULE_MESSAGE = f"""
    UPDATE tasks_api_message SET
        payload = %(payload)s, state = %(state)s,
        timeout_seconds = %(timeout_seconds)s, max_retries = %(max_retries)s,
        retry_count = 0, leased_until = NULL,
        run_at = coalesce(%(run_at)s::timestamptz, now())
    WHERE {_IS_IN_FLIGHT}
"""

# Deletes a message, in flight or not.
DELETE_MESSAGE = f"""
    DELETE FROM tasks_api_message
    WHERE tenant_id = %(tenant_id)s AND queue = %(queue)s AND name = %(name)s
        AND {_IS_AT_HOME}
"""
