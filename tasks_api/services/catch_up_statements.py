"""The SQL by which tasks make up for passed fire times."""

from __future__ import annotations

from tasks_api.storage.id_statements import READ_RUN_KEY
from tasks_api.storage.sending_rules import ENDS_OF_SCHEDULES
from tasks_api.storage.stored_schedules import SCHEDULE_COLUMNS

# The most changes in one transaction.
MAX_CHANGES = 100

_SCHEDULE = ", ".join(f"change.{name}" for name in SCHEDULE_COLUMNS)

# Reads the pauses of recurring tasks that a moment ended, and since when each paused
# schedule held. Fire times that are older than the retention would have no place.
READ_ENDED_PAUSES = f"""
    SELECT change.id, change.task_id, change.tenant_id, greatest(
            coalesce(earlier.at, task.created_at), change.at - make_interval(
                days => coalesce(tenant.retention_days, %(days)s))) AS since,
        {_SCHEDULE}, task.created_at
    FROM tasks_api_schedulechange change
    JOIN tasks_api_task task ON task.id = change.task_id
    JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
    LEFT JOIN LATERAL (
        SELECT at FROM tasks_api_schedulechange earlier
        WHERE earlier.task_id = change.task_id
            AND (earlier.at, earlier.id) < (change.at, change.id)
        ORDER BY earlier.at DESC, earlier.id DESC LIMIT 1
    ) AS earlier ON true
    WHERE change.task_id = ANY(%(tasks)s::uuid[]) AND change.at = %(at)s::timestamptz
        AND change.what = 'resumed' AND change.is_paused AND NOT change.is_one_off
"""
# Opens the time of pauses: their fire times count as planned, and get runs.
OPEN_PAUSES = """
    UPDATE tasks_api_schedulechange change
    SET is_paused = false, open_from = opened.open_from, catch_up = opened.catch_up
    FROM unnest(%s::bigint[], %s::timestamptz[], %s::text[])
        AS opened(id, open_from, catch_up)
    WHERE change.id = opened.id
"""
# Opens changes for the fire times that were due and that no worker had taken.
OPEN_DUE_FIRE_TIMES = """
    UPDATE tasks_api_schedulechange change
    SET catch_up = CASE task.misfire WHEN 'all' THEN 'all' ELSE 'latest' END
    FROM tasks_api_task task
    WHERE change.task_id = ANY(%(tasks)s::uuid[]) AND change.at = %(at)s::timestamptz
        AND change.open_from IS NOT NULL AND task.id = change.task_id
"""
# Lets the rollups count the hours of pauses again.
REOPEN_HOURS = """
    INSERT INTO tasks_api_reopenedhours (tenant_id, since, until)
    SELECT * FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[])
"""

_READ_OPEN = f"""
    SELECT change.id, change.task_id, task.tenant_id, change.at, change.open_from,
        change.catch_up, change.what, task.overlap, task.misfire, task.catchup_window,
        task.calendars AS present_calendars, task.is_paused OR task.ended_at IS NOT NULL
            AND task.end_reason NOT IN {ENDS_OF_SCHEDULES} AS is_off,
        greatest(task.max_runs - task.runs_made, CASE WHEN task.max_runs IS NOT NULL THEN 0 END)
            AS runs_left, task.last_fire_at,
        now() AS now, {READ_RUN_KEY} AS run_key, {_SCHEDULE}, task.created_at
    FROM tasks_api_schedulechange change JOIN tasks_api_task task
        ON task.id = change.task_id
    WHERE change.open_from IS NOT NULL AND change.catch_up <> 'none' {{since}}
        AND NOT task.is_parked
    ORDER BY change.id LIMIT {MAX_CHANGES}
    FOR NO KEY UPDATE OF change, task SKIP LOCKED
"""
# Lock changes whose fire times tasks make up for and that have no run yet, and the tasks;
# the second, from an id on.
READ_OPEN_CATCH_UPS = _READ_OPEN.replace("{since}", "")
READ_OPEN_CATCH_UPS_SINCE = _READ_OPEN.replace(
    "{since}", "AND change.id >= %(since)s::bigint"
)
