"""The SQL that gives tasks their lanes."""

from __future__ import annotations

from tasks_api.domain.states import RunState
from tasks_api.storage.task_columns import HOST


def lane_of(source: str, tenant: str) -> str:
    """Return SQL for the lane of a task: the named one, or that of its target host.

    `source` has the columns lane_name, url and queue of the task. The notices of the
    service have no lane.
    """
    host = HOST.replace("task.", f"{source}.")
    return f"""
        CASE WHEN {source}.lane_name <> '' THEN (
            SELECT lane.id FROM tasks_api_lane lane
            WHERE lane.tenant_id = {tenant} AND lane.name = {source}.lane_name)
        WHEN {source}.url LIKE 'http%%' THEN (
            SELECT lane.id FROM tasks_api_lane lane
            WHERE lane.tenant_id = {tenant} AND lane.host <> ''
                AND lane.host = lower({host}))
        END
    """


# Gives the next living tasks of a tenant their lanes, in the order of their ids. A task
# that keeps its lane is not written.
ASSIGN_LANES = f"""
    WITH batch AS MATERIALIZED (
        SELECT task.id, {lane_of("task", "task.tenant_id")} AS new_lane_id
        FROM tasks_api_task task
        WHERE task.tenant_id = %(tenant)s AND task.ended_at IS NULL
            AND task.id > %(after)s::uuid AND task.lane_name = ''
        ORDER BY task.id LIMIT {{limit}} FOR NO KEY UPDATE
    ), changed AS (
        UPDATE tasks_api_task task SET lane_id = batch.new_lane_id
        FROM batch WHERE task.id = batch.id AND task.lane_id IS DISTINCT FROM new_lane_id
        RETURNING task.id
    )
    SELECT (SELECT id FROM batch ORDER BY id DESC LIMIT 1), array(SELECT id FROM changed)
"""

# Gives some tasks their lanes.
ASSIGN_LANES_OF_TASKS = f"""
    UPDATE tasks_api_task task SET lane_id = {lane_of("task", "task.tenant_id")}
    WHERE task.id = ANY(%s::uuid[])
"""

_WAITS = f"state IN ('{RunState.PENDING}', '{RunState.RETRYING}')"
# Lets runs leave the lanes that their tasks have left. When they are taken, they come
# into the new ones.
LEAVE_OLD_LANES = f"""
    UPDATE tasks_api_run_live run SET lane_id = NULL
    FROM tasks_api_task task
    WHERE run.task_id = ANY(%s::uuid[]) AND task.id = run.task_id AND run.{_WAITS}
        AND run.lane_id IS NOT NULL AND run.lane_id IS DISTINCT FROM task.lane_id
"""

# Settles a lane after a change of its limits. Nothing starts until all slots from before are over, so
# that the new limits hold for each window after that.
SETTLE_LANE = """
    UPDATE tasks_api_lane SET next_slot_at = greatest(
        next_slot_at, clock_timestamp() + make_interval(secs => %s))
    WHERE id = %s
"""

# Gives the runs that wait in a lane the moments at which they start at best, in their
# present order.
PACE_LINE = """
    UPDATE tasks_api_run_live run SET wake_at = line.wake_at
    FROM (
        SELECT id, now() + make_interval(secs => %(spacing)s
            * (row_number() OVER (ORDER BY wake_at) - 1)) AS wake_at
        FROM tasks_api_run_live
        WHERE lane_id = %(lane)s AND state = 'pending' AND NOT is_next
            AND attempt_count = 0
    ) AS line
    WHERE run.id = line.id
"""

# Counts the runs of a lane: those that wait, and those that are under way.
COUNT_RUNS_OF_LANES = """
    SELECT lane_id, count(*) FILTER (WHERE state IN ('pending', 'retrying')) AS waiting,
        count(*) FILTER (WHERE state IN ('running', 'open')) AS running
    FROM tasks_api_run_live
    WHERE lane_id = ANY(%s::bigint[]) AND (
        state IN ('pending', 'retrying') AND NOT is_next AND lane_id IS NOT NULL
        OR state IN ('running', 'open') AND lane_id IS NOT NULL)
    GROUP BY lane_id
"""
