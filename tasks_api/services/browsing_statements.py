"""The SQL of the list of tasks of all wire formats, newest first."""

from __future__ import annotations

from tasks_api.services.listing_statements import IS_ALIVE, IS_WANTED, LANE_OF_NAME

# The newest living tasks of each user and format, and of these the newest. Each part is
# read from an index that has the ids in order.
_NEWEST_OF_EACH = """
    SELECT newest.id
    FROM unnest(%(owners)s::bigint[]) AS owner(id)
    CROSS JOIN unnest(%(surfaces)s::text[]) AS format(surface)
    CROSS JOIN LATERAL (
        SELECT task.id FROM tasks_api_task task
        WHERE task.owner_id = owner.id AND task.surface = format.surface
            AND task.ended_at IS NULL AND {condition} AND task.id < %(before)s::uuid
        ORDER BY task.id DESC LIMIT %(rows_examined)s
    ) AS newest
    ORDER BY newest.id DESC LIMIT %(rows_examined)s
"""
_NEWEST_WITH_TAG = """
    SELECT newest.task_id AS id
    FROM unnest(%(owners)s::bigint[]) AS owner(id)
    CROSS JOIN LATERAL (
        SELECT tag.task_id FROM tasks_api_tasktag tag
        WHERE tag.owner_id = owner.id AND tag.tag = %(tag)s
            AND tag.task_id < %(before)s::uuid
        ORDER BY tag.task_id DESC LIMIT %(rows_examined)s
    ) AS newest
    ORDER BY newest.task_id DESC LIMIT %(rows_examined)s
"""
_NEWEST_IN_LANE = f"""
    SELECT task.id FROM tasks_api_task task
    WHERE task.lane_id = {LANE_OF_NAME} AND task.ended_at IS NULL
        AND task.owner_id = ANY(%(owners)s::bigint[]) AND task.id < %(before)s::uuid
    ORDER BY task.id DESC LIMIT %(rows_examined)s
"""


def _browse(examined: str) -> str:
    return f"""
        WITH examined AS MATERIALIZED ({examined}), found AS (
            SELECT task.id FROM examined JOIN tasks_api_task task ON task.id = examined.id
            WHERE task.tenant_id = %(tenant)s AND task.ended_at IS NULL
                AND task.surface = ANY(%(surfaces)s::text[]) AND {IS_WANTED}
            ORDER BY task.id DESC LIMIT %(limit)s
        )
        SELECT array(SELECT id FROM found ORDER BY id DESC) AS found, (
            SELECT id FROM examined ORDER BY id DESC
            OFFSET %(rows_examined)s - 1 LIMIT 1) AS last_examined
    """


# Find the ids of a page, and the last examined row if there are at least so many rows.
BROWSE_ALL = _browse(_NEWEST_OF_EACH.format(condition=IS_ALIVE))
BROWSE_PAUSED = _browse(_NEWEST_OF_EACH.format(condition="task.is_paused"))
BROWSE_TAGGED = _browse(_NEWEST_WITH_TAG)
BROWSE_LANE = _browse(_NEWEST_IN_LANE)
