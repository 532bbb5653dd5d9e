"""The SQL that deletes history older than its tenant's retention."""

from __future__ import annotations

from tasks_api.storage.task_deletion import DELETE_SCHEDULES
from tasks_api.storage.turn_statements import tenants_with_rows

# The most rows in one statement, which then takes some tens of milliseconds.
BATCH_SIZE = 1000

# Tenants, each with the days that its history is kept, and the moment before which its
# history is deleted.
_BEFORE = """
    (SELECT id, coalesce(retention_days, %(days)s) AS days, %(now)s::timestamptz
        - make_interval(days => coalesce(retention_days, %(days)s)) AS before
     FROM accounts_tenant) AS tenant
"""
# Find the shortest and the longest time for which a tenant's history is kept, from the two
# ends of an index.
FIND_RETENTIONS = """
    SELECT least((SELECT min(retention_days) FROM accounts_tenant
            WHERE retention_days IS NOT NULL), %(days)s),
        greatest((SELECT max(retention_days) FROM accounts_tenant
            WHERE retention_days IS NOT NULL), %(days)s)
"""
# The most tenants among which the holder of a day is looked for.
MAX_HOLDERS = 1000
# Find the longest time for which some tenant's runs in a table are kept, if it is longer
# than usual. If none of many tenants has runs there, the table is kept as if the next one had.
FIND_HOLDER = f"""
    WITH longest AS MATERIALIZED (
        SELECT id, retention_days AS days FROM accounts_tenant
        WHERE retention_days > %(days)s ORDER BY retention_days DESC LIMIT {MAX_HOLDERS}
    )
    SELECT coalesce((
            SELECT days FROM longest
            WHERE EXISTS (SELECT FROM {{table}} run WHERE run.tenant_id = longest.id)
            ORDER BY days DESC LIMIT 1),
        (SELECT min(days) FROM longest HAVING count(*) = {MAX_HOLDERS}))
"""
_OLDEST_RUN = """
    LATERAL (
        SELECT run.scheduled_for AS at FROM {table} run
        WHERE run.tenant_id = tenant.id AND run.scheduled_for < tenant.before
            AND run.finished_at < tenant.before
        ORDER BY run.scheduled_for LIMIT 1
    ) AS oldest
"""
_IS_SHORTER = "tenant.days < coalesce(%(held)s::int, 2147483647)"
# Find the oldest run in a table of each tenant that is past its retention; nothing for
# tenants that have none. Tenants whose history is kept for `held` days or longer wait until
# the table is dropped.
FIND_OLDEST_RUNS = f"""
    WITH RECURSIVE {tenants_with_rows("{table} WHERE true")}
    SELECT seen.id, oldest.at, tenant.before
    FROM seen LEFT JOIN {_BEFORE} ON tenant.id = seen.id AND {_IS_SHORTER}
        LEFT JOIN {_OLDEST_RUN} ON true
"""
# The same if `held` is not longer than usual, so that all others have a time of their own.
FIND_OLDEST_RUNS_OF_FEW = f"""
    WITH seen AS (
        SELECT id FROM accounts_tenant
        WHERE retention_days IS NOT NULL AND retention_days < %(held)s AND id > %(after)s
        ORDER BY id LIMIT %(most)s
    )
    SELECT seen.id, oldest.at, tenant.before
    FROM seen JOIN {_BEFORE} ON tenant.id = seen.id LEFT JOIN {_OLDEST_RUN} ON true
"""
# Find the oldest ended task of each tenant that is past its retention. Where runs wait
# until their day is dropped, their tasks wait as well.
FIND_OLDEST_TASKS = f"""
    WITH RECURSIVE {tenants_with_rows("tasks_api_task WHERE ended_at IS NOT NULL")}
    SELECT seen.id, oldest.at, tenant.before
    FROM seen LEFT JOIN (
        SELECT id, before - CASE WHEN days >= %(days)s
            THEN make_interval(secs => %(patience)s) ELSE '0'::interval END AS before
        FROM {_BEFORE}
    ) AS tenant ON tenant.id = seen.id LEFT JOIN LATERAL (
        SELECT task.ended_at AS at FROM tasks_api_task task
        WHERE task.tenant_id = tenant.id AND task.ended_at < tenant.before
        ORDER BY task.ended_at LIMIT 1
    ) AS oldest ON true
"""

# How long the oldest runs of a table are past the retention of their tenants. It looks at
# so many runs with the earliest fire times; the lag is a sign that retention does not keep up.
_MAX_OLDEST = 1000
READ_LAG = f"""
    SELECT max(tenant.before - run.finished_at)
    FROM (
        SELECT tenant_id, finished_at FROM {{table}} ORDER BY id LIMIT {_MAX_OLDEST}
    ) AS run JOIN {_BEFORE} ON tenant.id = run.tenant_id
    WHERE run.finished_at < tenant.before AND {_IS_SHORTER}
"""
# The same if `held` is not longer than usual, of the tenants with the shortest retentions.
READ_LAG_OF_FEW = """
    SELECT max(tenant.before - oldest.finished_at)
    FROM (
        SELECT id, %(now)s::timestamptz - make_interval(days => retention_days) AS before
        FROM accounts_tenant WHERE retention_days < %(held)s
        ORDER BY retention_days LIMIT 100
    ) AS tenant CROSS JOIN LATERAL (
        SELECT run.finished_at FROM {table} run
        WHERE run.tenant_id = tenant.id AND run.scheduled_for < tenant.before
            AND run.finished_at < tenant.before
        ORDER BY run.scheduled_for LIMIT 1
    ) AS oldest
"""

# The share of each tenant begins where the batch before ended. So a round steps once
# over the dead entries at the old end of an index, and not once a batch. The rows are
# locked, so their ctid stays valid; a table other than a partition would be ambiguous.
_SHARES = """
    unnest(%(since)s::timestamptz[], %(tenants)s::bigint[], %(before)s::timestamptz[])
        AS share(since, tenant_id, before)
"""
# Delete a share of old runs of each tenant from a table, with their attempts.
DELETE_RUNS = f"""
    WITH old AS MATERIALIZED (
        SELECT share.tenant_id, run.* FROM {_SHARES} CROSS JOIN LATERAL (
            SELECT run.ctid AS place, run.id, run.scheduled_for AS at
            FROM {{table}} run
            WHERE run.tenant_id = share.tenant_id AND run.scheduled_for >= share.since
                AND run.scheduled_for < share.before AND run.finished_at < share.before
            ORDER BY run.scheduled_for LIMIT %(share)s
            FOR UPDATE SKIP LOCKED
        ) AS run
    ), attempts AS (
        DELETE FROM tasks_api_attempt WHERE run_id = ANY(ARRAY(SELECT id FROM old))
    ), runs AS (
        DELETE FROM {{table}} WHERE ctid = ANY(ARRAY(SELECT place FROM old))
    )
    SELECT tenant_id, count(*), count(*), max(at) FROM old GROUP BY tenant_id
"""

# Delete those of a share of old tasks of each tenant that have no runs left. All tasks
# are looked up at once: most are older than all runs in a partition, which is found out
# by one look.
DELETE_TASKS = f"""
    WITH old AS MATERIALIZED (
        SELECT share.tenant_id, task.* FROM {_SHARES} CROSS JOIN LATERAL (
            SELECT task.ctid AS place, task.id, task.ended_at AS at
            FROM tasks_api_task task
            WHERE task.tenant_id = share.tenant_id AND task.ended_at >= share.since
                AND task.ended_at < share.before
            ORDER BY task.ended_at LIMIT %(share)s
            FOR UPDATE SKIP LOCKED
        ) AS task
    ), busy AS MATERIALIZED (
        SELECT DISTINCT task_id FROM tasks_api_run
        WHERE task_id = ANY(ARRAY(SELECT id FROM old))
    ), tasks AS (
        DELETE FROM tasks_api_task WHERE ctid = ANY(ARRAY(
            SELECT place FROM old WHERE id NOT IN (SELECT task_id FROM busy)))
        RETURNING id, tenant_id, periodic_task_id
    ), {DELETE_SCHEDULES}
    SELECT tenant_id, count(*), (
        SELECT count(*) FROM tasks WHERE tasks.tenant_id = old.tenant_id), max(at)
    FROM old GROUP BY tenant_id
"""

# Delete attempts, in the tables that no day owns, of runs that go with their day.
DELETE_ATTEMPTS_OF_DAY = f"""
    WITH old AS MATERIALIZED (
        SELECT run_id, number FROM {{table}} attempt
        WHERE run_id >= %(first)s::uuid AND run_id < %(until)s::uuid AND NOT EXISTS (
            SELECT FROM tasks_api_run run
            WHERE run.id = attempt.run_id AND run.stage <> 'over')
        LIMIT {BATCH_SIZE} FOR UPDATE SKIP LOCKED
    ), deleted AS (
        DELETE FROM {{table}} attempt USING old
        WHERE attempt.run_id = old.run_id AND attempt.number = old.number
    )
    SELECT count(*) FROM old
"""

# The moment before which the history of a row's tenant is deleted. It is looked up for each
# row: a join could read all tenants.
_BEFORE_OF_ROW = """
    LATERAL (
        SELECT %(now)s::timestamptz
            - make_interval(days => coalesce(retention_days, %(days)s)) AS before
        FROM accounts_tenant WHERE id = seen.tenant_id OFFSET 0
    ) AS tenant
"""
# Statements for kinds of which old rows lie among others that stay. Each looks at some rows
# after an id, deletes the old ones of them, and says of each whether it was one.
TURNS = {
    # Messages whose last lease ran out, and whose queue no consumer has used since.
    "message": f"""
        WITH seen AS MATERIALIZED (
            SELECT id, tenant_id, max_retries >= 0 AND retry_count >= max_retries
                AND leased_until < %(now)s::timestamptz AS is_exhausted
            FROM tasks_api_message WHERE id > %(after)s ORDER BY id LIMIT %(most)s
        ), old AS MATERIALIZED (
            SELECT message.id FROM seen CROSS JOIN {_BEFORE_OF_ROW}
            JOIN tasks_api_message message ON message.id = seen.id
            WHERE seen.is_exhausted AND message.leased_until < tenant.before
                AND message.max_retries >= 0
                AND message.retry_count >= message.max_retries
            FOR UPDATE OF message SKIP LOCKED
        ), deleted AS (
            DELETE FROM tasks_api_message WHERE id = ANY(ARRAY(SELECT id FROM old))
            RETURNING tenant_id, queue
        ), tally AS (
            INSERT INTO tasks_api_queuetally AS tally (tenant_id, queue, exhausted)
            SELECT tenant_id, queue, count(*) FROM deleted
            GROUP BY tenant_id, queue ORDER BY tenant_id, queue
            ON CONFLICT (tenant_id, queue) DO UPDATE
                SET exhausted = tally.exhausted + excluded.exhausted
        )
        SELECT seen.id, old.id IS NOT NULL FROM seen LEFT JOIN old ON old.id = seen.id
    """,
    # Changes of living tasks, except the newest old one: the next schedule begins there.
    "schedule change": f"""
        WITH seen AS MATERIALIZED (
            SELECT id, task_id, tenant_id, at FROM tasks_api_schedulechange
            WHERE id > %(after)s ORDER BY id LIMIT %(most)s
        ), old AS MATERIALIZED (
            SELECT change.id FROM seen CROSS JOIN {_BEFORE_OF_ROW}
            CROSS JOIN LATERAL (
                SELECT FROM tasks_api_schedulechange later
                WHERE later.task_id = seen.task_id
                    AND (later.at, later.id) > (seen.at, seen.id)
                    AND later.at < tenant.before
                LIMIT 1
            ) AS later
            JOIN tasks_api_schedulechange change ON change.id = seen.id
            WHERE seen.at < tenant.before AND change.open_from IS NULL
            FOR UPDATE OF change SKIP LOCKED
        ), deleted AS (
            DELETE FROM tasks_api_schedulechange
            WHERE id = ANY(ARRAY(SELECT id FROM old))
        )
        SELECT seen.id, old.id IS NOT NULL FROM seen LEFT JOIN old ON old.id = seen.id
    """,
}

# Statements for kinds whose old rows an index or a small table has. Retention repeats each
# one until it deletes less than a batch; it returns the number of rows.
SWEEPS = {
    "idempotency key": f"""
        WITH old AS (
            SELECT id FROM tasks_api_idempotencykey
            WHERE created_at < %(now)s::timestamptz - '24 hours'::interval
            LIMIT {BATCH_SIZE} FOR UPDATE SKIP LOCKED
        ), deleted AS (
            DELETE FROM tasks_api_idempotencykey
            WHERE id = ANY(ARRAY(SELECT id FROM old))
        )
        SELECT count(*) FROM old
    """,
    "heartbeat": """
        WITH old AS (
            DELETE FROM tasks_api_heartbeat
            WHERE seen_at < %(now)s::timestamptz - make_interval(days => %(days)s)
            RETURNING 1
        )
        SELECT count(*) FROM old
    """,
    # Gaps are of no tenant, and "why" is asked about the last 30 days.
    "heartbeat gap": """
        WITH old AS (
            DELETE FROM tasks_api_heartbeatgap
            WHERE ended_at < %(now)s::timestamptz - '30 days'::interval
            RETURNING 1
        )
        SELECT count(*) FROM old
    """,
}
