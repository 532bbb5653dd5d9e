"""The SQL that records schedule changes, and stores runs that they cut off."""

from __future__ import annotations

from tasks_api.storage.id_statements import READ_RUN_KEY, free_id
from tasks_api.storage.run_statements import stage_in_history
from tasks_api.storage.stored_schedules import SCHEDULE_COLUMNS

# The most changes in one transaction.
MAX_CHANGES = 100

_NAMES = ", ".join(SCHEDULE_COLUMNS)
# Record the end of the schedules of tasks, and delete the runs that a beat of the release
# before made before their fire times.
# The end of a task gets a row only if a fire time has no run yet: otherwise the task's
# own columns say it all.
RECORD_CHANGE = f"""
    WITH closed AS MATERIALIZED (
        SELECT id, tenant_id, {_NAMES},
            -- A paused one-off has no next_fire_at, but still has its moment.
            CASE WHEN %(what)s = 'removed' AND last_fire_at IS NULL
                    AND is_paused AND is_one_off
                THEN once_at ELSE next_fire_at END AS next_fire_at,
            %(what)s IN ('removed', 'over') OR NOT is_one_off AS is_cut_off
        FROM tasks_api_task WHERE id = ANY(%(tasks)s::uuid[])
    ), ahead AS MATERIALIZED (
        SELECT run.id FROM tasks_api_run_live run JOIN closed ON closed.id = run.task_id
        WHERE closed.is_cut_off AND run.state = 'pending' AND run.scheduled_for > now()
            AND NOT run.by_hand
        FOR UPDATE OF run
    ), moment AS MATERIALIZED (
        SELECT count(*) AS runs, clock_timestamp() AS at FROM ahead
    ), taken_back AS (
        DELETE FROM tasks_api_run_live run USING moment
        WHERE run.id IN (SELECT id FROM ahead) AND run.scheduled_for > moment.at
    ), noted AS (
        INSERT INTO tasks_api_schedulechange (tenant_id, task_id, at, what, {_NAMES},
            open_from)
        SELECT tenant_id, id, at, %(what)s, {_NAMES}, open_from
        FROM moment, closed, LATERAL (SELECT CASE WHEN is_cut_off AND next_fire_at <= at
            THEN next_fire_at END AS open_from) AS cut_off
        WHERE %(what)s NOT IN ('removed', 'over') OR open_from IS NOT NULL
    )
    SELECT at FROM moment
"""

_READ_OPEN = f"""
    SELECT change.id, change.task_id, task.tenant_id, change.at, change.what,
        change.open_from, task.misfire, {READ_RUN_KEY} AS run_key,
        {", ".join(f"change.{name}" for name in SCHEDULE_COLUMNS)}, task.created_at
    FROM tasks_api_schedulechange change JOIN tasks_api_task task
        ON task.id = change.task_id
    WHERE change.open_from IS NOT NULL AND change.catch_up = 'none' {{since}}
        AND NOT task.is_parked
    ORDER BY change.id LIMIT {MAX_CHANGES}
    FOR NO KEY UPDATE OF change SKIP LOCKED
"""
# Read changes with fire times that have no run yet; the second, from an id on. What a
# task makes up for has a statement of its own.
READ_OPEN_CHANGES = _READ_OPEN.replace("{since}", "")
READ_OPEN_CHANGES_SINCE = _READ_OPEN.replace(
    "{since}", "AND change.id >= %(since)s::bigint"
)
# Write the first fire time of each change that has no run yet.
UPDATE_OPEN_FROM = """
    UPDATE tasks_api_schedulechange change SET open_from = settled.open_from
    FROM unnest(%s::bigint[], %s::timestamptz[]) AS settled(id, open_from)
    WHERE change.id = settled.id
"""
# Store the runs of fire times that a change cut off.
INSERT_PASSED_RUNS = f"""
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        covers_until, finished_at, exclusive, attempt_count, lost_count, stage)
    SELECT id, task_id, tenant_id, scheduled_for, state, reason, covers_until, now(),
        false, 0, 0, {stage_in_history("now()")}
    FROM (SELECT {
    free_id(
        "fire.named",
        task_id="fire.task_id",
        moment="fire.scheduled_for",
        tenant_id="fire.tenant_id",
    )
} AS id, fire.* FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::timestamptz[], %s::text[],
        %s::text[], %s::timestamptz[])
        AS fire(named, task_id, tenant_id, scheduled_for, state, reason, covers_until)
        OFFSET 0
    ) AS run WHERE id IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING id
"""
