"""The SQL of the metrics of the whole service."""

from __future__ import annotations

from tasks_api.storage.sending_rules import ENDS_OF_SCHEDULES

# So many rows of each kind are counted, those that wait for longest. More would make a
# scrape as long as the flood that it shows.
MAX_COUNTED = 10_000
# The conditions of the indexes that are read.
_WAITS = "state IN ('pending', 'retrying') AND NOT is_next AND lane_id IS NULL"
_IN_LANE = "state IN ('pending', 'retrying') AND NOT is_next AND lane_id IS NOT NULL"
_COLUMNS = "task_id, state, scheduled_for, by_hand"

# Counts unfinished runs, and due fire times. The run of a paused one-off is not due. It uses
# no EXISTS, which PostgreSQL answers for many runs by reading all tasks.
COUNT_WAITING_RUNS = f"""
    WITH live AS MATERIALIZED (
        (SELECT {_COLUMNS} FROM tasks_api_run_live WHERE {_WAITS}
            ORDER BY wake_at LIMIT {MAX_COUNTED})
        UNION ALL
        (SELECT {_COLUMNS} FROM tasks_api_run_live WHERE {_IN_LANE}
            ORDER BY lane_id, wake_at LIMIT {MAX_COUNTED})
        UNION ALL
        (SELECT {_COLUMNS} FROM tasks_api_run_live
            WHERE state IN ('running', 'open') OR is_next
            ORDER BY wake_at LIMIT {MAX_COUNTED})
    ), waiting AS (
        SELECT live.state, live.scheduled_for,
            live.state = 'pending' AND live.scheduled_for <= now() AND (
                live.by_hand OR coalesce((
                    SELECT periodic.enabled AND (
                        task.ended_at IS NULL OR task.end_reason IN {ENDS_OF_SCHEDULES})
                    FROM tasks_api_task task JOIN django_celery_beat_periodictask periodic
                        ON periodic.id = task.periodic_task_id
                    WHERE task.id = live.task_id
                ), false)) AS is_due
        FROM live
    )
    SELECT state, count(*), count(*) FILTER (WHERE is_due),
        extract(epoch FROM now() - min(scheduled_for) FILTER (WHERE is_due))::float
    FROM waiting GROUP BY state
    UNION ALL
    SELECT 'not made', 0, count(*), extract(epoch FROM now() - min(next_fire_at))::float
    FROM (
        SELECT next_fire_at FROM tasks_api_task WHERE next_fire_at <= now()
        ORDER BY next_fire_at LIMIT {MAX_COUNTED}
    ) AS due
"""

# Counts the tenants that are frozen and have not moved yet, in an index of the frozen ones.
COUNT_FROZEN_TENANTS = """
    SELECT count(*), coalesce(extract(epoch FROM now() - min(frozen_at)), 0)::float
    FROM accounts_tenant WHERE frozen_at IS NOT NULL AND moved_at IS NULL
"""
