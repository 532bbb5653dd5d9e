"""The SQL that reschedules, suspends, transfers, lists and deletes tasks."""

from __future__ import annotations

from tasks_api.storage import count_statements, schedule_statements, stored_schedules
from tasks_api.storage.task_deletion import DELETE_SCHEDULES

# Writes the next fire times of tasks that were resumed or edited.
RESCHEDULE_TASKS = """
    UPDATE tasks_api_task task SET
        next_fire_at = planned.next_fire_at,
        last_fire_at = planned.last_fire_at, pause_reason = planned.pause_reason
    FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::text[])
        AS planned(id, next_fire_at, last_fire_at, pause_reason)
    WHERE task.id = planned.id
"""

# Marks paused tasks as suspended with their user.
SUSPEND_TASKS = """
    UPDATE tasks_api_task SET suspended = true, pause_reason = %s
    WHERE id = ANY(%s::uuid[])
"""

# Gives tasks to another user, and counts, tags and describes them as that user's.
TRANSFER_TASKS = f"""
    WITH moved AS (
        SELECT id, tenant_id, owner_id, surface, tags, periodic_task_id,
            ended_at IS NULL AS is_alive
        FROM tasks_api_task WHERE id = ANY(%(tasks)s::uuid[])
    ), out AS (
        SELECT tenant_id, owner_id, surface FROM moved WHERE is_alive
    ), into_target AS (
        SELECT tenant_id, %(target)s::bigint AS owner_id, surface FROM moved
        WHERE is_alive
    ), counted_out AS ({count_statements.count_out("out")}), counted_in AS ({count_statements.count_in("into_target")}),
    tagged AS (
        UPDATE tasks_api_tasktag SET owner_id = %(target)s
        WHERE task_id = ANY(%(tasks)s::uuid[])
    ), described AS (
        UPDATE django_celery_beat_periodictask periodic
        SET description = left(description, -length(%(was)s)) || %(is)s
        FROM moved WHERE periodic.id = moved.periodic_task_id
            AND right(description, length(%(was)s)) = %(was)s
    )
    UPDATE tasks_api_task SET owner_id = %(target)s WHERE id = ANY(%(tasks)s::uuid[])
"""

# Lists tasks whose schedules follow a zone other than UTC, or calendars. `since` is the last fire
# time, or the last change of the schedule: later fire times have no run yet.
LIST_ZONED_TASKS = f"""
    SELECT task.id AS task_id, tenant.name AS tenant, task.name, task.next_fire_at,
        greatest(task.created_at, task.last_fire_at, (
            SELECT max(change.at) FROM tasks_api_schedulechange change
            WHERE change.task_id = task.id)) AS since, {schedule_statements.COLUMNS}
    FROM tasks_api_task task {schedule_statements.JOINS}
    JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
    WHERE task.id > %(after)s::uuid AND task.next_fire_at IS NOT NULL
        AND (cron.timezone <> 'UTC' OR task.rules <> '' OR task.calendars <> '')
        AND {schedule_statements.IS_UNEDITED}
        AND (%(among)s::uuid[] IS NULL OR task.id = ANY(%(among)s::uuid[]))
    ORDER BY task.id LIMIT {{limit}}
"""

# Locks tasks, and skips those that another process has locked: a worker takes them, or
# a user edits them.
LOCK_FREE_TASKS = """
    SELECT id FROM tasks_api_task WHERE id = ANY(%s::uuid[]) ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
"""

# Writes recomputed next fire times.
WRITE_FIRE_TIMES = """
    UPDATE tasks_api_task task SET next_fire_at = new.next_fire_at
    FROM unnest(%s::uuid[], %s::timestamptz[]) AS new(id, next_fire_at)
    WHERE task.id = new.id
"""


def _schedule_columns(table: str) -> str:
    return ", ".join(f"{table}.{name}" for name in stored_schedules.SCHEDULE_COLUMNS)


# Reads the past schedules of a task and the present one, in the order of time; ids have
# another one in a tenant that has moved between cells. It is one statement, so that the
# task and its changes are of one moment. After an edit that no beat has followed yet, the
# present schedule is the one before the edit.
READ_SCHEDULES = f"""
    WITH task AS (
        SELECT * FROM tasks_api_task
        WHERE id = %(task)s AND tenant_id = %(tenant)s
            AND (%(reaches_all)s OR owner_id = %(owner)s)
    )
    SELECT change.id AS change_id, change.at AS until, change.what, change.open_from,
        false AS is_current, task.last_fire_at, task.ended_at,
        {_schedule_columns("change")}, task.created_at
    FROM task JOIN tasks_api_schedulechange change ON change.task_id = task.id
    UNION ALL
    SELECT NULL, least(task.ended_at, %(now)s), '',
        CASE WHEN coalesce(next_fire_at, parked_fire_at) <= %(now)s
            THEN coalesce(next_fire_at, parked_fire_at) END, true,
        task.last_fire_at, task.ended_at, {_schedule_columns("task")}, task.created_at
    FROM task
    ORDER BY is_current, until, change_id
"""

# Reads the same of many tasks, task by task.
READ_SCHEDULES_OF_TASKS = f"""
    WITH task AS (SELECT * FROM tasks_api_task WHERE id = ANY(%(tasks)s::uuid[]))
    SELECT task.id AS task_id, task.owner_id, change.id AS change_id, change.at AS until,
        change.what, change.open_from, false AS is_current, task.last_fire_at,
        task.ended_at, {_schedule_columns("change")}, task.created_at
    FROM task JOIN tasks_api_schedulechange change ON change.task_id = task.id
    UNION ALL
    SELECT id, owner_id, NULL, least(ended_at, now()), '', NULL, true, last_fire_at,
        ended_at, {_schedule_columns("task")}, created_at
    FROM task
    ORDER BY task_id, is_current, until, change_id
"""

# Deletes runs of tasks, whatever their state, with their attempts.
DELETE_RUNS_OF_TASKS = """
    WITH old AS MATERIALIZED (
        SELECT id FROM tasks_api_run WHERE task_id = ANY(%(tasks)s::uuid[])
        LIMIT %(batch_size)s FOR UPDATE
    ), attempts AS (
        DELETE FROM tasks_api_attempt WHERE run_id = ANY(ARRAY(SELECT id FROM old))
    ), runs AS (
        DELETE FROM tasks_api_run WHERE id = ANY(ARRAY(SELECT id FROM old))
    )
    SELECT count(*) FROM old
"""

# Deletes tasks without runs, whatever their age, as retention does it.
DELETE_TASKS = f"""
    WITH tasks AS (
        DELETE FROM tasks_api_task WHERE id = ANY(%(tasks)s::uuid[])
        RETURNING id, periodic_task_id
    ), tags AS (
        DELETE FROM tasks_api_tasktag WHERE task_id = ANY(ARRAY(SELECT id FROM tasks))
    ), {DELETE_SCHEDULES}
    SELECT count(*) FROM tasks
"""


def _delete_by(table: str, column: str) -> str:
    return f"""
        DELETE FROM {table} WHERE id IN (
            SELECT id FROM {table} WHERE {column} = %s LIMIT {{limit}})
    """


# Delete a batch of a tenant's messages and queue tallies.
DELETE_MESSAGES_OF_TENANT = _delete_by("tasks_api_message", "tenant_id")
DELETE_QUEUE_TALLIES_OF_TENANT = _delete_by("tasks_api_queuetally", "tenant_id")

# Delete a batch of a user's idempotency keys, task tallies and tags.
DELETE_KEYS_OF_USER = _delete_by("tasks_api_idempotencykey", "user_id")
DELETE_TASK_TALLIES_OF_USER = _delete_by("tasks_api_tasktally", "owner_id")
DELETE_TAGS_OF_USER = _delete_by("tasks_api_tasktag", "owner_id")
