"""Keep what follows from tasks that begin and end: how many there are, and their tags.

Who stores or ends tasks says so in the same statement, with these parts of it. So a
total is the sum of a few rows, however many tasks there are, and exact at any time.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from scheduler_service.db.arrays import array
from scheduler_service.db.statements import prepared
from tasks_api.domain.specs import Surface

# Two connections of one part wait for each other's commit, so there are more parts than
# connections that usually write at once.
COUNTER_PARTS = 32

# Sorted, so that two statements that count for the same owners cannot lock each other out.
_COUNT = f"""
    INSERT INTO tasks_api_tasktally AS tally (owner_id, surface, part, tasks)
    SELECT owner_id, surface, mod(pg_backend_pid(), {COUNTER_PARTS}), {{sign}}count(*) FROM {{rows}}
    GROUP BY owner_id, surface ORDER BY owner_id, surface
    ON CONFLICT (owner_id, surface, part)
        DO UPDATE SET tasks = tally.tasks + excluded.tasks
"""  # noqa: S608 (constants)


def count_in(rows: str) -> str:
    """SQL that counts the tasks of a part of its statement: owner_id, surface."""
    return _COUNT.format(sign="", rows=rows)


def count_out(rows: str) -> str:
    """SQL that counts them out again."""
    return _COUNT.format(sign="-", rows=rows)


# For statements that end tasks as `ended`: id, owner_id, surface, and whether it is
# tagged.
ENDED = f"""
    counted_out AS ({_COUNT.format(sign="-", rows="ended")}), untagged AS (
        DELETE FROM tasks_api_tasktag tag USING ended
        WHERE ended.is_tagged AND tag.task_id = ended.id
    )
"""  # noqa: S608 (constants)
ENDED_COLUMNS = "task.id, task.owner_id, task.surface, task.tags <> '{}' AS is_tagged"


def count_alive(
    tenant_id: int, owner_ids: Collection[int], surface: Surface, *, now: datetime
) -> int:
    """How many tasks some users of a tenant have that are alive.

    Those that are past their end and not ended yet, because no beat has come by, are
    found by indexes that hold nothing else.
    """
    values: dict[str, Any] = {
        "owners": array(owner_ids),
        "tenant": tenant_id,
        "surface": surface.value,
        "now": now,
    }
    with prepared() as cursor:
        cursor.execute(COUNT_ALIVE, values)
        return int(cursor.fetchone()[0])


COUNT_ALIVE = """
    SELECT (SELECT coalesce(sum(tasks), 0)::bigint FROM tasks_api_tasktally
            WHERE owner_id = ANY(%(owners)s::bigint[]) AND surface = %(surface)s)
        - (SELECT count(*) FROM tasks_api_task
            WHERE ended_at IS NULL AND next_fire_at IS NULL
                AND ends_at < %(now)s::timestamptz
                AND owner_id = ANY(%(owners)s::bigint[]) AND surface = %(surface)s)
        - (SELECT count(*) FROM tasks_api_task
            WHERE tenant_id = %(tenant)s AND next_fire_at < %(now)s::timestamptz
                AND ends_at < %(now)s::timestamptz
                AND owner_id = ANY(%(owners)s::bigint[]) AND surface = %(surface)s) AS tasks
"""


def end_expired_tasks(task_ids: Collection[UUID], *, now: datetime) -> None:
    """End tasks that are past their end, at once; what they have under way goes on."""
    with connection.cursor() as cursor:
        cursor.execute(_END, [now, array(task_ids)])


_END = f"""
    WITH ended AS (
        UPDATE tasks_api_task task
        SET ended_at = %s, end_reason = 'over', next_fire_at = NULL
        WHERE id = ANY(%s::uuid[]) AND ended_at IS NULL RETURNING {ENDED_COLUMNS}
    ), {ENDED} SELECT FROM ended
"""  # noqa: S608 (constants)


def end_all_expired_tasks(*, limit: int = 1000, since: datetime | None = None) -> int:
    """End tasks that are past their end and never fire again; returns how many.

    Runs that they have are not touched. Rows that somebody else holds come later, and
    those whose end was before `since` are left alone.
    """
    with prepared() as cursor:
        statement = _OVER.replace("{limit}", str(limit))
        begin = "" if since is None else "AND ends_at >= %(since)s::timestamptz"
        cursor.execute(statement.replace("{since}", begin), {"since": since})
        return int(cursor.fetchone()[0])


_OVER = f"""
    WITH over AS (
        SELECT id FROM tasks_api_task
        WHERE ended_at IS NULL AND next_fire_at IS NULL AND ends_at < now() {{since}}
        ORDER BY ends_at LIMIT {{limit}}
        FOR NO KEY UPDATE SKIP LOCKED
    ), ended AS (
        UPDATE tasks_api_task task SET ended_at = task.ends_at, end_reason = 'over'
        FROM over WHERE task.id = over.id
        RETURNING {ENDED_COLUMNS}
    ), {ENDED} SELECT count(*) FROM ended
"""  # noqa: S608 (constants)
