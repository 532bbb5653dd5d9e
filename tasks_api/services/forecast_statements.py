"""The SQL that finds the coming fire times of a user's tasks, in groups."""

from __future__ import annotations

from tasks_api.storage.group_statements import (
    group_crons,
    group_intervals,
    group_on_calendars,
)
from tasks_api.storage.task_columns import HOST

# What a forecast can be divided by, as SQL over a task.
LABELS = {
    "": "NULL::text",
    "task": "task.id::text",
    "tag": "task.tags",
    "lane": "(SELECT lane.name FROM tasks_api_lane lane WHERE lane.id = task.lane_id)",
    "host": f"CASE WHEN task.queue = '' THEN coalesce({HOST}, '') ELSE '' END",
}
# The living tasks of a user or a tenant that fire in the window, or would if they were
# not paused. Those that are not paused have their next fire time in an index, so the
# statements read no others.
_COMING = f"""
    FROM (
        SELECT * FROM tasks_api_task task
        WHERE tenant_id = %(tenant)s AND next_fire_at <= %(last)s::timestamptz
            AND ended_at IS NULL
        UNION ALL
        SELECT * FROM tasks_api_task task
        WHERE tenant_id = %(tenant)s AND owner_id = ANY(%(owners)s::bigint[])
            AND ended_at IS NULL AND is_paused AND next_fire_at IS NULL
    ) task
    WHERE (%(owner)s::bigint IS NULL OR task.owner_id = %(owner)s)
        AND task.surface <> 'notices'
        AND (task.ends_at IS NULL OR task.ends_at >= %(now)s::timestamptz)
        AND NOT (task.is_one_off AND coalesce(task.last_fire_at <= %(now)s::timestamptz, false))
        AND (%(only_task)s::uuid IS NULL OR task.id = %(only_task)s::uuid)
        AND (%(only_tag)s::text IS NULL OR %(only_tag)s::text = ANY(task.tags))
        AND (%(only_host)s::text IS NULL OR {LABELS["host"]} = %(only_host)s::text)
        AND (%(only_lane)s::text IS NULL OR {LABELS["lane"]} = %(only_lane)s::text)
"""
_LIMIT = " LIMIT %(limit)s"


def _keys(by: str) -> dict[str, str]:
    return {"label": LABELS[by], "is_paused": "task.is_paused"}


# Group the recurring tasks, by what the forecast is divided by.
COMING_INTERVALS = {by: group_intervals(_keys(by), _COMING) + _LIMIT for by in LABELS}
COMING_CRONS = {by: group_crons(_keys(by), _COMING) + _LIMIT for by in LABELS}
COMING_ON_CALENDARS = {
    by: group_on_calendars(_keys(by), _COMING) + _LIMIT for by in LABELS
}
# Finds the tasks whose next fire time is in the window, in the order of these times.
FIND_NEXT = (
    f"SELECT task.id {_COMING} AND task.next_fire_at >= %(first)s::timestamptz"
    f" ORDER BY task.next_fire_at {_LIMIT}"
)
# Count the one-time tasks in each bucket.
COUNT_ONE_OFFS = {
    by: f"""
        SELECT {LABELS[by]} AS label, task.is_paused,
            floor(extract(epoch FROM task.once_at - %(start)s::timestamptz)
                / %(width)s)::int AS bucket,
            count(*)
        {_COMING}
            AND task.once_at BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
        GROUP BY 1, 2, 3
    """
    + _LIMIT
    for by in LABELS
}
