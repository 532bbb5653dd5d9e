"""The list of a user's tasks: a page of it by offset or by cursor, and filters.

A statement finds the ids of a page in an index that has them in order, and the rows are
read afterwards. The cost of a page by cursor grows with the page, not with the list.
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
from tasks_api.services import listing_statements as statements
from tasks_api.services.listing_statements import FilterStatements, PageStatements

# The most rows that one request examines for its filters.
MAX_ROWS_EXAMINED = 10_000
# The same of a search, which finds a single task among very many; see
# docs/decisions/0029-a-search-reads-pages-of-tasks.md.
MAX_ROWS_SEARCHED = 50_000
# The time in a task's id may differ from `created_at` by as much as clocks differ.
MAX_CLOCK_SKEW = timedelta(minutes=10)
MIN_ID = UUID(int=0)


class TaskScope(NamedTuple):
    """The tasks of some users of a tenant, made through one surface."""

    tenant_id: int
    owner_ids: tuple[int, ...]
    surface: Surface

    @property
    def is_of_one_owner(self) -> bool:
        return len(self.owner_ids) == 1


@dataclass(frozen=True)
class TaskFilters:
    """The filters of a list; None and empty let all tasks through."""

    name: str | None = None
    name_prefix: str | None = None
    # The host of the URL in lower case, with its port or without.
    host: str | None = None
    # A part of the name, the host, the queue or a tag, in lower case.
    search: str | None = None
    # The name of the lane that the task belongs to.
    lane: str | None = None
    # A task must have all of these.
    tags: tuple[str, ...] = ()
    is_paused: bool | None = None
    is_one_time: bool | None = None
    # Moments at or after `from`, and before `to`.
    created_from: datetime | None = None
    created_to: datetime | None = None
    next_run_from: datetime | None = None
    next_run_to: datetime | None = None

    def __bool__(self) -> bool:
        return self != TaskFilters()


class TaskPage(NamedTuple):
    """Tasks with their schedules, and the cursor of the next page.

    `after` is None at the end of the list. With filters, a page that is not the last
    one may be shorter than its limit.
    """

    tasks: list[Task]
    after: UUID | None


def page_by_offset(
    scope: TaskScope, *, offset: int, limit: int, total: int, now: datetime
) -> list[Task]:
    """Return a page of the list by its offset.

    `total` is the approximate length of the list, which decides from which end the
    statement counts.
    """
    values = {**_scope_values(scope, now), "offset": offset, "limit": limit}
    with prepared() as cursor:
        cursor.execute(_offset_statement(scope, offset <= total // 2), values)
        ids = [task_id for (task_id,) in cursor.fetchall()]
    return _read_tasks(ids)


def _offset_statement(scope: TaskScope, forwards: bool) -> str:
    if scope.is_of_one_owner:
        return (
            statements.PAGE_FORWARDS_OF_OWNER
            if forwards
            else statements.PAGE_BACKWARDS_OF_OWNER
        )
    return (
        statements.PAGE_FORWARDS_OF_OWNERS
        if forwards
        else statements.PAGE_BACKWARDS_OF_OWNERS
    )


def page_by_cursor(
    scope: TaskScope,
    filters: TaskFilters,
    *,
    after: UUID | None,
    limit: int,
    now: datetime,
    rows_examined: int | None = None,
) -> TaskPage:
    """Return the tasks after the cursor that the filters let through."""
    most = MAX_ROWS_SEARCHED if filters.search else MAX_ROWS_EXAMINED
    statement = choose_statements(statements.PAGES_BY_CURSOR, scope, filters)
    values = {
        **values_of(scope, filters, now),
        "after": max([after or MIN_ID, _min_id(filters)]),
        "limit": limit + 1,
        "rows_examined": rows_examined or most,
    }
    ids, last = find_page(statement, values)
    if len(ids) > limit:
        return TaskPage(_read_tasks(ids[:limit]), after=ids[limit - 1])
    return TaskPage(_read_tasks(ids), after=last)


def find_page(
    statement: FilterStatements, values: dict[str, Any]
) -> tuple[list[UUID], UUID | None]:
    """Return the ids of a page, and the last examined one if the page is not full.

    The latter is None if there are no more rows.
    """
    with connection.cursor() as cursor:
        cursor.execute(statement.find, values)
        ids = [task_id for (task_id,) in cursor.fetchall()]
        if len(ids) == values["limit"]:
            return ids, None
        # The examined rows did not fill the page; there may be more rows.
        cursor.execute(statement.last_examined, values)
        last = cursor.fetchone()
    return ids, last[0] if last else None


def choose_statements(
    pages: PageStatements, scope: TaskScope, filters: TaskFilters
) -> FilterStatements:
    if filters.tags:
        return (
            pages.tagged_of_owner if scope.is_of_one_owner else pages.tagged_of_owners
        )
    return pages.of_owner if scope.is_of_one_owner else pages.of_owners


def values_of(scope: TaskScope, filters: TaskFilters, now: datetime) -> dict[str, Any]:
    return {**_scope_values(scope, now), **filter_values(filters)}


def _read_tasks(ids: list[UUID]) -> list[Task]:
    if not ids:
        return []
    return list(Task.objects.with_schedule().filter(pk__in=ids).order_by("pk"))


def _scope_values(scope: TaskScope, now: datetime) -> dict[str, Any]:
    return {
        "tenant": scope.tenant_id,
        "owners": array(scope.owner_ids),
        "owner": scope.owner_ids[0] if scope.owner_ids else None,
        "surface": scope.surface.value,
        "now": now,
    }


def filter_values(filters: TaskFilters) -> dict[str, Any]:
    created_to = filters.created_to
    return {
        "name": filters.name,
        "name_prefix": filters.name_prefix,
        "host": filters.host,
        "search": filters.search,
        "lane": filters.lane,
        "tags": array(filters.tags) if filters.tags else None,
        "tag": filters.tags[0] if filters.tags else None,
        "is_paused": filters.is_paused,
        "is_one_time": filters.is_one_time,
        "created_from": filters.created_from,
        "created_to": created_to,
        "newest": created_to and _id_at(created_to + MAX_CLOCK_SKEW),
        "next_run_from": filters.next_run_from,
        "next_run_to": filters.next_run_to,
    }


def _min_id(filters: TaskFilters) -> UUID:
    """Return an id before those of all tasks that `created_from` lets through."""
    if filters.created_from is None:
        return MIN_ID
    return _id_at(filters.created_from - MAX_CLOCK_SKEW)


def _id_at(moment: datetime) -> UUID:
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=min(max(milliseconds, 0), (1 << 48) - 1) << 80)
