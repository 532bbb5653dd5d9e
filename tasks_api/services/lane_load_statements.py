"""The SQL that reads what recurs in a lane, or beside it, in groups that fire alike."""

from __future__ import annotations

from tasks_api.services.forecast_statements import LABELS
from tasks_api.storage.group_statements import (
    group_crons,
    group_intervals,
    group_on_calendars,
)

# Tasks with a window come anywhere in it, and the others at their own second.
_KEYS = {
    "spread_window": "CASE WHEN task.spread_auto THEN 0 ELSE task.spread END",
    "own_offset": "CASE WHEN task.spread_auto OR task.spread = 0 THEN 0 "
    "ELSE task.spread_offset END",
}
_RECURRING = """
        AND task.ended_at IS NULL AND NOT task.is_one_off AND task.surface <> 'notices'
        AND (task.ends_at IS NULL OR task.ends_at >= %(now)s::timestamptz)
        AND task.id <> ALL(%(without)s::uuid[])
"""
_IN_LANE = f"FROM tasks_api_task task WHERE task.lane_id = %(lane)s {_RECURRING}"
# The tasks of a tenant that send to a host, or into a queue.
_BESIDE = f"""
    FROM tasks_api_task task
    WHERE task.tenant_id = %(tenant)s AND {LABELS["host"]} = %(host)s {_RECURRING}
"""
_LIMIT = " LIMIT %(limit)s"
INTERVALS_IN_LANE = group_intervals(_KEYS, _IN_LANE) + _LIMIT
CRONS_IN_LANE = group_crons(_KEYS, _IN_LANE) + _LIMIT
ON_CALENDARS_IN_LANE = group_on_calendars(_KEYS, _IN_LANE) + _LIMIT
INTERVALS_BESIDE = group_intervals(_KEYS, _BESIDE) + _LIMIT
CRONS_BESIDE = group_crons(_KEYS, _BESIDE) + _LIMIT
ON_CALENDARS_BESIDE = group_on_calendars(_KEYS, _BESIDE) + _LIMIT
# Of a forecast: each task comes at its own second, and paused ones are apart.
_PAUSED = {"is_paused": "task.is_paused"}
FORECAST_INTERVALS = group_intervals(_PAUSED, _IN_LANE) + _LIMIT
FORECAST_CRONS = group_crons(_PAUSED, _IN_LANE) + _LIMIT
FORECAST_ON_CALENDARS = group_on_calendars(_PAUSED, _IN_LANE) + _LIMIT
# Counts the one-time tasks of a lane in each second.
ONE_TIME_IN_LANE = """
    SELECT date_trunc('second', task.once_at), task.is_paused, count(*)
    FROM tasks_api_task task
    WHERE task.lane_id = %(lane)s AND task.ended_at IS NULL AND task.last_fire_at IS NULL
        AND task.once_at BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
    GROUP BY 1, 2
    LIMIT %(limit)s
"""
