"""Find tasks whose next fire time is another one by the rules of time zones that count now.

The next fire time is computed when a task fires, by the rules of that moment. When they
are updated since, it is an hour off, once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.schedules import first_after
from tasks_api.storage import schedule_statements, stored_schedules

PAGE = 500
# Changes of rules move a fire time by no more than this.
FARTHEST = timedelta(hours=25)
FIRST = UUID(int=0)


class Difference(NamedTuple):
    """A task whose stored next fire time is not what its schedule says."""

    task_id: UUID
    tenant: str
    name: str
    zone: str
    stored: datetime
    computed: datetime | None


def differing() -> Iterator[Difference]:
    """All such tasks, by their ids."""
    last = FIRST
    while rows := _page(last):
        last = rows[-1].task_id
        yield from filter(None, map(_difference, rows))


@transaction.atomic(durable=True)
def apply(task_ids: Collection[UUID]) -> int:
    """Write the next fire times of these tasks anew; returns how many were others."""
    with prepared(rows=len(task_ids)) as cursor:
        # Those that somebody has in hand are at their next fire time, or in an edit.
        cursor.execute(
            "SELECT id FROM tasks_api_task WHERE id = ANY(%s::uuid[]) ORDER BY id"
            " FOR NO KEY UPDATE SKIP LOCKED",
            [array(task_ids)],
        )
        locked = [task_id for (task_id,) in cursor.fetchall()]
        rows = _page(FIRST, among=locked)
        found = [each for each in map(_difference, rows) if each is not None]
        if found:
            cursor.execute(
                """
                UPDATE tasks_api_task task SET next_fire_at = new.next_fire_at
                FROM unnest(%s::uuid[], %s::timestamptz[]) AS new(id, next_fire_at)
                WHERE task.id = new.id
                """,
                columns([(each.task_id, each.computed) for each in found]),
            )
    return len(found)


class _Row(NamedTuple):
    task_id: UUID
    tenant: str
    name: str
    next_fire_at: datetime
    since: datetime
    stored: stored_schedules.StoredSchedule


def _page(after: UUID, *, among: Collection[UUID] | None = None) -> list[_Row]:
    with prepared() as cursor:
        cursor.execute(
            _PAGE, {"after": after, "among": None if among is None else array(among)}
        )
        return stored_schedules.fetch_with_schedule(cursor, _Row)


# From where on no fire time has a run: the last one, or the last change of the schedule.
_PAGE = f"""
    SELECT task.id AS task_id, tenant.name AS tenant, task.name, task.next_fire_at,
        greatest(task.created_at, task.last_fire_at, (
            SELECT max(change.at) FROM tasks_api_schedulechange change
            WHERE change.task_id = task.id)) AS since, {schedule_statements.COLUMNS}
    FROM tasks_api_task task {schedule_statements.JOINS}
    JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
    WHERE task.id > %(after)s::uuid AND task.next_fire_at IS NOT NULL
        AND cron.id IS NOT NULL AND cron.timezone <> 'UTC'
        AND {schedule_statements.IS_UNEDITED}
        AND (%(among)s::uuid[] IS NULL OR task.id = ANY(%(among)s::uuid[]))
    ORDER BY task.id LIMIT {PAGE}
"""  # noqa: S608 (constants)


def _difference(row: _Row) -> Difference | None:
    try:
        schedule = stored_schedules.to_schedule(row.stored)
        computed = first_after(schedule, max(row.since, row.next_fire_at - FARTHEST))
    except ScheduleError:
        # A beat says so when the task is due.
        return None
    if computed == row.next_fire_at:
        return None
    zone = row.stored.cron_zone
    return Difference(
        row.task_id, row.tenant, row.name, zone, row.next_fire_at, computed
    )
