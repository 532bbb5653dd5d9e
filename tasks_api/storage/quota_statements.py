"""The SQL of quotas and bounds: counts of runs, and until when a run waits for them."""

from __future__ import annotations

from tasks_api.storage.run_statements import end_live_runs

# The end of the day in UTC, at which the runs of a tenant are counted anew.
NEXT_DAY = (
    "((date_trunc('day', now() AT TIME ZONE 'UTC') + '1 day') AT TIME ZONE 'UTC')"
)
# Why a run waits for it.
QUOTA_REASON = f"""
    ('Waits for the quota of runs a day until '
        || to_char({NEXT_DAY} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC.')
"""

# Adds the runs that a worker began to the day of their tenants. A part of the day's count
# belongs to a connection, so that workers seldom wait for each other.
COUNT_RUNS = """
    INSERT INTO tasks_api_daycount AS counted (tenant_id, day, part, runs)
    SELECT began.tenant_id, (now() AT TIME ZONE 'UTC')::date, mod(pg_backend_pid(), 32),
        began.runs
    FROM unnest(%s::bigint[], %s::bigint[]) AS began(tenant_id, runs)
    JOIN accounts_tenant tenant ON tenant.id = began.tenant_id
    ORDER BY began.tenant_id
    ON CONFLICT (tenant_id, day, part) DO UPDATE SET runs = counted.runs + excluded.runs
"""

# Reads the day, and the runs of each of some tenants in it.
READ_COUNTS = """
    SELECT today.day, wanted.id, coalesce(sum(counted.runs), 0)::bigint
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS day) AS today
    CROSS JOIN unnest(%s::bigint[]) AS wanted(id)
    LEFT JOIN tasks_api_daycount counted
        ON counted.tenant_id = wanted.id AND counted.day = today.day
    GROUP BY today.day, wanted.id
"""

# Deletes the counts of days that are over.
DELETE_COUNTS = """
    DELETE FROM tasks_api_daycount WHERE day < (now() AT TIME ZONE 'UTC')::date - 7
"""

# Deletes the starts that count no more, of all bounds.
DELETE_OLD_STARTS = """
    DELETE FROM tasks_api_boundedstart
    WHERE started_at <= clock_timestamp() - %(window)s::interval
"""

# Finds the bounds of the tasks of some runs.
FIND_BOUNDS = """
    SELECT DISTINCT task.bounds_id FROM tasks_api_run_live run
    JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = ANY(%s::uuid[]) AND task.bounds_id IS NOT NULL
"""

# Locks those of some runs that wait to be taken.
LOCK_WAITING_RUNS = """
    SELECT run.id, task.bounds_id FROM tasks_api_run_live run
    JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = ANY(%s::uuid[]) AND run.state IN ('pending', 'retrying')
        AND NOT run.is_next AND run.wake_at <= now()
    ORDER BY run.wake_at, run.id
    FOR UPDATE OF run SKIP LOCKED
"""

# Reads for each of some bounds how many starts count.
READ_STARTS = """
    SELECT bounds.id, (
            SELECT count(*) FROM tasks_api_boundedstart start
            WHERE start.bounds_id = bounds.id
                AND start.started_at > clock_timestamp() - %(window)s::interval)
    FROM unnest(%(bounds)s::bigint[]) AS bounds(id)
"""

# Finds when the starts that count stop to do so, the oldest first.
FIND_RELEASES = """
    SELECT started_at + %(window)s::interval FROM tasks_api_boundedstart
    WHERE bounds_id = %(bounds)s AND started_at > clock_timestamp() - %(window)s::interval
    ORDER BY started_at LIMIT %(limit)s
"""

# Reads for each of some bounds when the oldest start that counts stops to do so.
READ_FIRST_RELEASES = """
    SELECT bounds.id, (
            SELECT min(start.started_at) + %(window)s::interval
            FROM tasks_api_boundedstart start
            WHERE start.bounds_id = bounds.id
                AND start.started_at > clock_timestamp() - %(window)s::interval)
    FROM unnest(%(bounds)s::bigint[]) AS bounds(id)
"""

# Counts starts against bounds.
INSERT_STARTS = """
    INSERT INTO tasks_api_boundedstart (tenant_id, bounds_id, started_at)
    SELECT tenant_id, bounds_id, clock_timestamp()
    FROM unnest(%s::bigint[], %s::bigint[]) AS start(tenant_id, bounds_id)
"""

# Deletes the starts of some bounds that count no more.
DELETE_STARTS = """
    DELETE FROM tasks_api_boundedstart
    WHERE bounds_id = ANY(%(bounds)s::bigint[])
        AND started_at <= clock_timestamp() - %(window)s::interval
"""

# Lets runs wait until some moments, with a reason.
HOLD_RUNS = """
    UPDATE tasks_api_run_live run SET state = 'pending', wake_at = held.until,
        reason = held.reason
    FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[]) AS held(id, until, reason)
    WHERE run.id = held.id AND run.state IN ('pending', 'retrying')
"""

# Cancels runs whose bounds were not renewed.
CANCEL_RUNS = end_live_runs(
    "run.id = ANY(%s::uuid[]) AND run.state IN ('pending', 'retrying')",
    reason="%s::text",
)

# Counts the waiting runs of tasks with some bounds, up to a limit.
COUNT_WAITING = """
    SELECT count(*) FROM (
        SELECT FROM tasks_api_task task
        JOIN tasks_api_run_live run ON run.task_id = task.id
        WHERE task.bounds_id = %(bounds)s AND run.state IN ('pending', 'retrying')
        LIMIT %(limit)s) AS waiting
"""

# Counts the waiting runs of a tenant, up to a limit.
COUNT_WAITING_OF_TENANT = """
    SELECT count(*) FROM (
        SELECT FROM tasks_api_run_live run
        WHERE run.tenant_id = %(tenant)s AND run.state IN ('pending', 'retrying')
            AND NOT run.is_next
        LIMIT %(limit)s) AS waiting
"""

# Finds living tasks whose bounds were not renewed, or those from which these were narrowed;
# they are few at a time.
FIND_LAPSED_TASKS = """
    SELECT task.id FROM tasks_api_task task
    WHERE task.ended_at IS NULL AND task.bounds_id IN (
        SELECT narrower.id FROM accounts_tokenbounds lapsed
        JOIN accounts_tokenbounds narrower
            ON narrower.id = lapsed.id OR narrower.lineage @> ARRAY[lapsed.id]
        WHERE lapsed.id = ANY(%(bounds)s::bigint[]))
    LIMIT %(limit)s
"""
