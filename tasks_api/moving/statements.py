"""The SQL that freezes a tenant, puts its tasks and runs aside, and takes them back."""

from __future__ import annotations

from tasks_api.models import Run

# Let the entries of a move into the audit log of a frozen tenant.
LET_MOVE = "SET LOCAL scheduler.moves_tenant = 'on'"

# Freeze a tenant. A second call changes nothing.
FREEZE = """
    UPDATE accounts_tenant SET
        moves_to = CASE WHEN frozen_at IS NULL THEN %(destination)s ELSE moves_to END,
        move_id = CASE WHEN frozen_at IS NULL THEN %(move)s::uuid ELSE move_id END,
        frozen_at = coalesce(frozen_at, clock_timestamp())
    WHERE id = %(tenant)s
    RETURNING frozen_at, moves_to, move_id, moved_at
"""
THAW = """
    UPDATE accounts_tenant SET frozen_at = NULL, moves_to = '', move_id = NULL
    WHERE id = %(tenant)s AND moved_at IS NULL
"""
MARK_AS_MOVED = """
    UPDATE accounts_tenant SET moved_at = coalesce(moved_at, clock_timestamp())
    WHERE id = %(tenant)s
"""

# Let a tenant live where it has arrived frozen.
THAW_ARRIVED = """
    UPDATE accounts_tenant SET frozen_at = NULL
    WHERE id = %(tenant)s AND move_id = %(move)s::uuid AND frozen_at IS NOT NULL
        AND moves_to = ''
"""
# Give up a copy of a tenant that has arrived frozen, so that no move goes on with it.
ABANDON = """
    UPDATE accounts_tenant SET move_id = NULL, moves_to = %(nowhere)s
    WHERE id = %(tenant)s AND move_id = %(move)s::uuid AND frozen_at IS NOT NULL
"""

# Find a transaction that began before a moment. It may have read that the tenant is not
# frozen, and write by that.
FIND_OLDER_TRANSACTION = """
    SELECT pid, coalesce(nullif(application_name, ''), 'a client') AS client
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND xact_start < %(moment)s::timestamptz
    ORDER BY xact_start LIMIT 1
"""

# Put tasks aside, those that fire first and then the others. Workers skip what is locked
# here, and what they have locked comes with the next bite.
PARK_FIRING_TASKS = """
    WITH chosen AS MATERIALIZED (
        SELECT id FROM tasks_api_task
        WHERE tenant_id = %(tenant)s AND next_fire_at IS NOT NULL
        ORDER BY next_fire_at LIMIT {limit} FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE tasks_api_task task SET
        is_parked = true, parked_fire_at = task.next_fire_at, next_fire_at = NULL
    FROM chosen WHERE task.id = chosen.id
"""
PARK_OTHER_TASKS = """
    WITH chosen AS MATERIALIZED (
        SELECT id FROM tasks_api_task
        WHERE owner_id = ANY(ARRAY(
                SELECT id FROM accounts_user WHERE tenant_id = %(tenant)s))
            AND ended_at IS NULL AND next_fire_at IS NULL AND NOT is_parked
        LIMIT {limit} FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE tasks_api_task task SET is_parked = true
    FROM chosen WHERE task.id = chosen.id
"""
UNPARK_TASKS = """
    WITH chosen AS MATERIALIZED (
        SELECT id FROM tasks_api_task
        WHERE owner_id = ANY(ARRAY(
                SELECT id FROM accounts_user WHERE tenant_id = %(tenant)s))
            AND ended_at IS NULL AND is_parked
        LIMIT {limit} FOR NO KEY UPDATE
    )
    UPDATE tasks_api_task task SET
        is_parked = false, next_fire_at = parked_fire_at, parked_fire_at = NULL
    FROM chosen WHERE task.id = chosen.id
"""

_NAMES = ", ".join(
    str(field.column) for field in Run._meta.concrete_fields if field.column != "stage"
)


def move_runs(source: str, stage: str, condition: str) -> str:
    """Move a batch of runs from one partition to that of another stage."""
    return f"""
        WITH moved AS (
            DELETE FROM {source} WHERE id = ANY(ARRAY(
                SELECT id FROM {source} WHERE {condition}
                LIMIT {{limit}} FOR UPDATE SKIP LOCKED))
            RETURNING {_NAMES}
        )
        INSERT INTO tasks_api_run (stage, {_NAMES}) SELECT '{stage}', {_NAMES} FROM moved
    """


# Put unfinished runs aside, except for those whose requests are under way; and take them
# back.
_OF_TENANT = "tenant_id = %(tenant)s"
# The condition of runs whose requests are not under way.
IS_PARKABLE = "state <> 'running' AND finished_at IS NULL"
PARK_RUNS = move_runs("tasks_api_run_live", "parked", f"{_OF_TENANT} AND {IS_PARKABLE}")
UNPARK_RUNS = move_runs("tasks_api_run_parked", "live", _OF_TENANT)

# Count what may still change: tasks that may fire, and runs that are not put aside.
READ_UNPARKED = """
    SELECT EXISTS (SELECT FROM tasks_api_task
            WHERE tenant_id = %(tenant)s AND next_fire_at IS NOT NULL)
        OR EXISTS (SELECT FROM tasks_api_task
            WHERE owner_id = ANY(ARRAY(
                    SELECT id FROM accounts_user WHERE tenant_id = %(tenant)s))
                AND ended_at IS NULL AND NOT is_parked) AS has_tasks,
        (SELECT count(*) FROM tasks_api_run_live
            WHERE tenant_id = %(tenant)s AND finished_at IS NULL) AS runs
"""

COUNT_LIVE_RUNS = """
    SELECT count(*) FROM tasks_api_run_live
    WHERE tenant_id = %(tenant)s AND finished_at IS NULL
"""

# What changes with each call that changes the tenant.
READ_CHANGES = """
    SELECT (SELECT max(id::text) FROM accounts_auditentry
            WHERE tenant_id = %(tenant)s) AS entry,
        (SELECT count(*) FROM tasks_api_message WHERE tenant_id = %(tenant)s) AS messages,
        (SELECT sum(hashtextextended(ROW(message.*)::text, 0)::numeric)
            FROM tasks_api_message message WHERE tenant_id = %(tenant)s) AS message_sum
"""
