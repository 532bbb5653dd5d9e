"""The list of a user's tasks: a page of it by offset or by cursor, and filters.

A page is found by its ids, in an index that has them in order, and only then are its
rows read. However many tasks there are, a page by cursor costs what a page is long.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from scheduler_service.db.arrays import array
from scheduler_service.db.statements import prepared
from tasks_api.domain.specs import Surface
from tasks_api.models import Task
from tasks_api.storage import count_statements

# Rows that one request looks at for those that a filter wants.
LOOK_AT = 10_000
# By id a task is as old as its id says, up to how much clocks differ.
SKEW = timedelta(minutes=10)


class Whose(NamedTuple):
    """The tasks of some users of a tenant, made through one surface."""

    tenant_id: int
    owner_ids: tuple[int, ...]
    surface: Surface


@dataclass(frozen=True)
class Filters:
    """Which tasks are wanted; None and empty want all."""

    name: str | None = None
    # All of them.
    tags: tuple[str, ...] = ()
    is_paused: bool | None = None
    is_one_time: bool | None = None
    # Moments: at or after, and before.
    created_from: datetime | None = None
    created_to: datetime | None = None
    next_run_from: datetime | None = None
    next_run_to: datetime | None = None

    def __bool__(self) -> bool:
        return self != Filters()


class Page(NamedTuple):
    """Tasks with their schedules, the oldest first, and where the next ones begin.

    `after` is None at the end of the list. A page of a filtered list may be shorter than
    asked for and yet not be the last one.
    """

    tasks: list[Task]
    after: UUID | None


def by_offset(
    whose: Whose, *, offset: int, limit: int, total: int, now: datetime
) -> list[Task]:
    """Some tasks of the list by their places.

    `total` says about how many there are, and so from which end the places are counted.
    """
    statement = _FORWARDS if offset <= total // 2 else _BACKWARDS
    statement = statement.format(owners=_owners(whose))
    values = {**_values(whose, now), "offset": offset, "limit": limit}
    with prepared() as cursor:
        cursor.execute(statement, values)
        ids = [task_id for (task_id,) in cursor.fetchall()]
    return _read(ids)


def by_cursor(
    whose: Whose,
    filters: Filters,
    *,
    after: UUID | None,
    limit: int,
    now: datetime,
    look_at: int = LOOK_AT,
) -> Page:
    """The tasks after one in the list that the filters let through."""
    conditions, values = _conditions(filters)
    # What a tag leads to may be a task of another surface, or one that has just ended.
    conditions.append(_OWN.format(owners=_owners(whose)))
    values |= {**_values(whose, now), "limit": limit + 1, "look_at": look_at}
    values["after"] = max([after or UUID(int=0), _oldest(filters)])
    source, key = _source(whose, filters), _key(filters)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT task.id
            FROM (SELECT task.* {source} ORDER BY {key} LIMIT %(look_at)s) task
            WHERE {" AND ".join(conditions)} ORDER BY task.id LIMIT %(limit)s
            """,  # noqa: S608 (texts of this module)
            values,
        )
        ids = [task_id for (task_id,) in cursor.fetchall()]
        if len(ids) > limit:
            return Page(_read(ids[:limit]), after=ids[limit - 1])
        # Fewer than wanted among those looked at; are there more to look at?
        cursor.execute(
            f"SELECT {key} {source} ORDER BY {key} OFFSET %(look_at)s - 1 LIMIT 1",
            values,
        )
        last = cursor.fetchone()
    return Page(_read(ids), after=last[0] if last else None)


def _read(ids: list[UUID]) -> list[Task]:
    if not ids:
        return []
    return list(Task.objects.with_schedule().filter(pk__in=ids).order_by("pk"))


def _values(whose: Whose, now: datetime) -> dict[str, Any]:
    return {
        "tenant": whose.tenant_id,
        "owners": array(whose.owner_ids),
        "owner": whose.owner_ids[0] if whose.owner_ids else None,
        "surface": whose.surface.value,
        "now": now,
    }


def _owners(whose: Whose) -> str:
    """Of one owner the index has the tasks in order; of several they are sorted."""
    if len(whose.owner_ids) == 1:
        return "task.owner_id = %(owner)s"
    return "task.owner_id = ANY(%(owners)s::bigint[])"


_ALIVE = "(task.ends_at IS NULL OR task.ends_at >= %(now)s::timestamptz)"
_OWN = """
    {owners} AND task.tenant_id = %(tenant)s AND task.surface = %(surface)s AND task.ended_at IS NULL
"""
_FORWARDS = f"""
    SELECT task.id FROM tasks_api_task task WHERE {_OWN} AND {_ALIVE}
    ORDER BY task.id OFFSET %(offset)s::bigint LIMIT %(limit)s::bigint
"""  # noqa: S608 (constants)
# The total is that of the same snapshot, or the page would be shifted by what was made
# in between.
_BACKWARDS = f"""
    WITH total AS MATERIALIZED ({count_statements.COUNT_ALIVE})
    SELECT task.id FROM tasks_api_task task WHERE {_OWN} AND {_ALIVE}
    ORDER BY task.id DESC
    OFFSET (SELECT greatest(tasks - %(offset)s::bigint - %(limit)s::bigint, 0) FROM total)
    LIMIT (SELECT greatest(least(%(limit)s::bigint, tasks - %(offset)s::bigint), 0)
        FROM total)
"""  # noqa: S608 (constants)


def _source(whose: Whose, filters: Filters) -> str:
    """Where to look: an index that has little else, and the ids in order."""
    newest = "" if filters.created_to is None else f"AND {_key(filters)} < %(newest)s"
    if filters.tags:
        return f"""
            FROM tasks_api_tasktag tag JOIN tasks_api_task task ON task.id = tag.task_id
            WHERE {_owners(whose).replace("task.", "tag.")} AND tag.tag = %(tag)s
                AND tag.task_id > %(after)s AND task.id > %(after)s {newest}
        """
    named = "task.tenant_id = %(tenant)s AND task.name = %(name)s AND task.name <> ''"
    paused = "task.is_paused"
    return f"""
        FROM tasks_api_task task
        WHERE {_OWN.format(owners=_owners(whose))} AND task.id > %(after)s {newest}
            {f"AND {named}" if filters.name is not None else ""}
            {f"AND {paused}" if filters.is_paused else ""}
    """


def _key(filters: Filters) -> str:
    return "tag.task_id" if filters.tags else "task.id"


def _conditions(filters: Filters) -> tuple[list[str], dict[str, Any]]:
    """What a task must be like besides, as SQL and its values."""
    wanted: list[tuple[str, str, Any]] = [
        ("tags", "task.tags @> %(tags)s::text[]", list(filters.tags) or None),
        ("name", "task.name = %(name)s", filters.name),
        ("paused", "task.is_paused = %(paused)s", filters.is_paused),
        ("once", "task.is_one_off = %(once)s", filters.is_one_time),
        ("made_from", "task.created_at >= %(made_from)s", filters.created_from),
        ("made_to", "task.created_at < %(made_to)s", filters.created_to),
        ("next_from", f"{_UPCOMING} >= %(next_from)s", filters.next_run_from),
        ("next_to", f"{_UPCOMING} < %(next_to)s", filters.next_run_to),
    ]
    given = [each for each in wanted if each[-1] is not None]
    values = {name: value for name, _, value in given}
    if filters.tags:
        values["tag"] = filters.tags[0]
    if filters.created_to is not None:
        values["newest"] = _id_at(filters.created_to + SKEW)
    return [_ALIVE, *(text for _, text, _ in given)], values


# As Task.upcoming() has it.
_UPCOMING = """
    CASE WHEN task.is_paused THEN NULL
        WHEN task.last_fire_at > %(now)s THEN task.last_fire_at
        ELSE task.next_fire_at END
"""


def _oldest(filters: Filters) -> UUID:
    """An id that is before those of all that were made when the filters want it."""
    if filters.created_from is None:
        return UUID(int=0)
    return _id_at(filters.created_from - SKEW)


def _id_at(moment: datetime) -> UUID:
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=min(max(milliseconds, 0), (1 << 48) - 1) << 80)
