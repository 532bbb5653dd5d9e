"""The SQL of the list of tasks: a page by offset, and a page by cursor with filters."""

from __future__ import annotations

from typing import NamedTuple

from tasks_api.storage import count_statements
from tasks_api.storage.task_columns import HOST

IS_ALIVE = "(task.ends_at IS NULL OR task.ends_at >= %(now)s::timestamptz)"
# The index has the tasks of one owner in order; those of several owners are sorted.
_OF_OWNER = "owner_id = %(owner)s"
_OF_OWNERS = "owner_id = ANY(%(owners)s::bigint[])"
_IS_OWN = "task.tenant_id = %(tenant)s AND task.surface = %(surface)s AND task.ended_at IS NULL"


def _page_forwards(owners: str) -> str:
    return f"""
        SELECT task.id FROM tasks_api_task task
        WHERE task.{owners} AND {_IS_OWN} AND {IS_ALIVE}
        ORDER BY task.id OFFSET %(offset)s::bigint LIMIT %(limit)s::bigint
    """


def _page_backwards(owners: str) -> str:
    return f"""
        WITH total AS MATERIALIZED ({count_statements.COUNT_ALIVE})
        SELECT task.id FROM tasks_api_task task
        WHERE task.{owners} AND {_IS_OWN} AND {IS_ALIVE}
        ORDER BY task.id DESC
        OFFSET (SELECT greatest(tasks - %(offset)s::bigint - %(limit)s::bigint, 0)
            FROM total)
        LIMIT (SELECT greatest(least(%(limit)s::bigint, tasks - %(offset)s::bigint), 0)
            FROM total)
    """


# Finds a page by its offset, counted from the beginning of the list.
PAGE_FORWARDS_OF_OWNER = _page_forwards(_OF_OWNER)
PAGE_FORWARDS_OF_OWNERS = _page_forwards(_OF_OWNERS)
# Finds a page by its offset, counted from the end of the list. The statement counts the
# total itself: with an earlier total, new tasks would shift the page.
PAGE_BACKWARDS_OF_OWNER = _page_backwards(_OF_OWNER)
PAGE_BACKWARDS_OF_OWNERS = _page_backwards(_OF_OWNERS)

# Task.coming_fire_time in SQL.
_UPCOMING = """
    CASE WHEN NOT task.is_paused THEN coalesce(task.next_fire_at, task.parked_fire_at) END
"""

# What a search looks into. No part that is found goes from one line to the next.
_SEARCHED = f"""
    lower(concat_ws(chr(10), task.name, {HOST}, task.queue,
        array_to_string(task.tags, chr(10))))
"""

LANE_OF_NAME = """
    (SELECT lane.id FROM tasks_api_lane lane
    WHERE lane.tenant_id = %(tenant)s AND lane.name = %(lane)s::text)
"""

# The conditions of the filters. The text that PostgreSQL plans contains the values, so
# the planner drops the conditions of absent filters.
IS_WANTED = f"""
    {IS_ALIVE}
    AND (%(tags)s::text[] IS NULL OR task.tags @> %(tags)s::text[])
    AND (%(name)s::text IS NULL OR task.name = %(name)s)
    AND (%(name_prefix)s::text IS NULL OR starts_with(task.name, %(name_prefix)s))
    AND (%(host)s::text IS NULL OR lower({HOST}) = %(host)s
        OR lower(regexp_replace({HOST}, ':[0-9]*$', '')) = %(host)s)
    AND (%(search)s::text IS NULL OR strpos({_SEARCHED}, %(search)s) > 0)
    AND (%(lane)s::text IS NULL OR task.lane_id = {LANE_OF_NAME})
    AND (%(is_paused)s::bool IS NULL OR task.is_paused = %(is_paused)s::bool)
    AND (%(is_one_time)s::bool IS NULL OR task.is_one_off = %(is_one_time)s::bool)
    AND (%(created_from)s::timestamptz IS NULL OR task.created_at >= %(created_from)s)
    AND (%(created_to)s::timestamptz IS NULL OR task.created_at < %(created_to)s)
    AND (%(next_run_from)s::timestamptz IS NULL OR {_UPCOMING} >= %(next_run_from)s)
    AND (%(next_run_to)s::timestamptz IS NULL OR {_UPCOMING} < %(next_run_to)s)
"""


class FilterStatements(NamedTuple):
    """The statements for a page by cursor, which read one index."""

    # Finds the tasks that the filters let through among the examined rows.
    find: str
    # Finds the last examined row, if there are at least so many rows.
    last_examined: str


def _filter_statements(
    key: str, source: str, owners: str, condition: str
) -> FilterStatements:
    # A tag may lead to a task of another surface, or to one that has just ended.
    find = f"""
        SELECT task.id
        FROM (SELECT task.* {source} ORDER BY {key} LIMIT %(rows_examined)s) task
        WHERE {IS_WANTED} AND task.{owners} AND {_IS_OWN} AND {condition}
        ORDER BY task.id LIMIT %(limit)s
    """
    last = f"SELECT {key} {source} ORDER BY {key} OFFSET %(rows_examined)s - 1 LIMIT 1"
    return FilterStatements(find, last)


def _with_tag(owners: str, condition: str) -> FilterStatements:
    source = f"""
        FROM tasks_api_tasktag tag JOIN tasks_api_task task ON task.id = tag.task_id
        WHERE tag.{owners} AND tag.tag = %(tag)s
            AND tag.task_id > %(after)s AND task.id > %(after)s
            AND (%(newest)s::uuid IS NULL OR tag.task_id < %(newest)s::uuid)
    """
    return _filter_statements("tag.task_id", source, owners, condition)


def _without_tag(owners: str, condition: str) -> FilterStatements:
    source = f"""
        FROM tasks_api_task task
        WHERE task.{owners} AND {_IS_OWN} AND task.id > %(after)s
            AND (%(newest)s::uuid IS NULL OR task.id < %(newest)s::uuid)
            AND (%(name)s::text IS NULL OR (task.tenant_id = %(tenant)s
                AND task.name = %(name)s AND task.name <> ''))
            AND (%(is_paused)s::bool IS NOT TRUE OR task.is_paused)
    """
    return _filter_statements("task.id", source, owners, condition)


class PageStatements(NamedTuple):
    """The statements for pages by cursor, with a tag or without, of one owner or several."""

    tagged_of_owner: FilterStatements
    tagged_of_owners: FilterStatements
    of_owner: FilterStatements
    of_owners: FilterStatements


def pages_by_cursor(condition: str = "true") -> PageStatements:
    """Return statements that let through what the filters and a condition do."""
    return PageStatements(
        _with_tag(_OF_OWNER, condition),
        _with_tag(_OF_OWNERS, condition),
        _without_tag(_OF_OWNER, condition),
        _without_tag(_OF_OWNERS, condition),
    )


# Each page by cursor reads an index with few other tasks, and with the ids in order.
PAGES_BY_CURSOR = pages_by_cursor()


def find_among(condition: str) -> str:
    """Return a statement that finds what those statements let through, among some ids."""
    return f"""
        SELECT task.id FROM tasks_api_task task
        WHERE task.id = ANY(%(ids)s::uuid[]) AND {IS_WANTED} AND task.{_OF_OWNERS}
            AND {_IS_OWN} AND {condition}
    """
