"""The SQL that counts the runs and the tasks of lanes, up to a limit."""

from __future__ import annotations

from tasks_api.domain.states import RunState

_IS_OWN_RUN = """
    (%(owner)s::bigint IS NULL OR EXISTS (
        SELECT FROM tasks_api_task task
        WHERE task.id = run.task_id AND task.owner_id = %(owner)s::bigint))
"""
_IS_OWN_TASK = "(%(owner)s::bigint IS NULL OR task.owner_id = %(owner)s::bigint)"
_WAITS = f"state IN ('{RunState.PENDING}', '{RunState.RETRYING}') AND NOT is_next"
_IS_UNDER_WAY = f"state IN ('{RunState.RUNNING}', '{RunState.OPEN}')"

# Counts for each lane the runs that wait, those that are under way, and the living tasks,
# and which of them are a user's own. Without a user, all are. The runs that wait are
# those that start first.
COUNT_IN_LANES = f"""
    SELECT lane.id AS lane_id, waiting.total AS waiting, waiting.own AS own_waiting,
        waiting.oldest_at, running.total AS running, running.own AS own_running,
        tasks.total AS tasks, tasks.own AS own_tasks
    FROM unnest(%(lanes)s::bigint[]) AS lane(id)
    CROSS JOIN LATERAL (
        SELECT count(*) AS total, count(*) FILTER (WHERE {_IS_OWN_RUN}) AS own,
            min(run.scheduled_for) AS oldest_at
        FROM (
            SELECT task_id, scheduled_for FROM tasks_api_run_live
            WHERE lane_id = lane.id AND lane_id IS NOT NULL AND {_WAITS}
            ORDER BY wake_at LIMIT {{limit}}
        ) run
    ) waiting
    CROSS JOIN LATERAL (
        SELECT count(*) AS total, count(*) FILTER (WHERE {_IS_OWN_RUN}) AS own
        FROM (
            SELECT task_id FROM tasks_api_run_live
            WHERE lane_id = lane.id AND lane_id IS NOT NULL AND {_IS_UNDER_WAY}
            LIMIT {{limit}}
        ) run
    ) running
    CROSS JOIN LATERAL (
        SELECT count(*) AS total, count(*) FILTER (WHERE {_IS_OWN_TASK}) AS own
        FROM (
            SELECT owner_id FROM tasks_api_task
            WHERE lane_id = lane.id AND ended_at IS NULL
                AND (ends_at IS NULL OR ends_at >= %(now)s::timestamptz)
            LIMIT {{limit}}
        ) task
    ) tasks
"""
