"""The SQL of task tallies; some of it is a part of statements that write tasks."""

from __future__ import annotations

# Connections that count in one part wait for each other's commit. So there are more
# parts than connections that usually write at once.
COUNTER_PARTS = 32

# Sorted, so that two statements that count for the same owners cannot deadlock.
_COUNT = f"""
    INSERT INTO tasks_api_tasktally AS tally (tenant_id, owner_id, surface, part, tasks)
    SELECT tenant_id, owner_id, surface, mod(pg_backend_pid(), {COUNTER_PARTS}),
        {{sign}}count(*)
    FROM {{rows}}
    GROUP BY tenant_id, owner_id, surface ORDER BY owner_id, surface
    ON CONFLICT (owner_id, surface, part)
        DO UPDATE SET tasks = tally.tasks + excluded.tasks
"""


def count_in(rows: str) -> str:
    """Return SQL that adds `rows` (tenant_id, owner_id, surface) to the tallies."""
    return _COUNT.format(sign="", rows=rows)


def count_out(rows: str) -> str:
    """Return SQL that subtracts such `rows` from the tallies."""
    return _COUNT.format(sign="-", rows=rows)


# Parts of a statement whose `ended` part has ENDED_COLUMNS of the tasks that it ends:
# they update the tallies and delete the tags.
COUNT_OUT_ENDED = f"""
    counted_out AS ({_COUNT.format(sign="-", rows="ended")}), untagged AS (
        DELETE FROM tasks_api_tasktag tag USING ended
        WHERE ended.is_tagged AND tag.task_id = ended.id
    )
"""
ENDED_COLUMNS = """
    task.id, task.tenant_id, task.owner_id, task.surface, task.tags <> '{}' AS is_tagged
"""

# Count the living tasks of some users.
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

# End tasks that are past their end.
END_EXPIRED_TASKS = f"""
    WITH ended AS (
        UPDATE tasks_api_task task
        SET ended_at = %s, end_reason = 'over', next_fire_at = NULL
        WHERE id = ANY(%s::uuid[]) AND ended_at IS NULL RETURNING {ENDED_COLUMNS}
    ), {COUNT_OUT_ENDED} SELECT FROM ended
"""

# End recurring tasks, each at its own moment; their schedules stay enabled, so that their
# runs under way finish.
END_FINISHED_TASKS = f"""
    WITH ended AS (
        UPDATE tasks_api_task task
        SET ended_at = over.at, end_reason = %s, next_fire_at = NULL
        FROM unnest(%s::uuid[], %s::timestamptz[]) AS over(id, at)
        WHERE task.id = over.id AND task.ended_at IS NULL RETURNING {ENDED_COLUMNS}
    ), {COUNT_OUT_ENDED} SELECT FROM ended
"""

_EXPIRED = f"""
    WITH over AS (
        SELECT id FROM tasks_api_task
        WHERE ended_at IS NULL AND next_fire_at IS NULL AND ends_at < now() {{since}}
            AND NOT is_parked
        ORDER BY ends_at LIMIT {{limit}}
        FOR NO KEY UPDATE SKIP LOCKED
    ), ended AS (
        UPDATE tasks_api_task task SET ended_at = task.ends_at, end_reason = 'over'
        FROM over WHERE task.id = over.id
        RETURNING {ENDED_COLUMNS}
    ), {COUNT_OUT_ENDED} SELECT count(*) FROM ended
"""
# End at most `{limit}` tasks that are past their end and never fire again; the second,
# only tasks whose end was not before a moment.
END_ALL_EXPIRED = _EXPIRED.replace("{since}", "")
END_ALL_EXPIRED_SINCE = _EXPIRED.replace(
    "{since}", "AND ends_at >= %(since)s::timestamptz"
)
