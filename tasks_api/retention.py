"""Forget old history, in small bites that hold no lock for long."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection

# Rows in one statement.
BITE = 1000

# Each is asked again until it deletes nothing more. The order follows the foreign keys:
# attempts before runs, runs before tasks, and a task before its schedule.
_BITES = (
    """
    WITH old AS (
        SELECT id FROM tasks_api_run
        WHERE id < %(first_kept)s AND finished_at < %(before)s
        ORDER BY id LIMIT %(bite)s
    ), attempts AS (DELETE FROM tasks_api_attempt WHERE run_id IN (SELECT id FROM old))
    DELETE FROM tasks_api_run WHERE id IN (SELECT id FROM old)
    """,
    """
    WITH old AS (
        SELECT task.id, task.periodic_task_id FROM tasks_api_task task
        JOIN django_celery_beat_periodictask periodic
            ON periodic.id = task.periodic_task_id
        WHERE least(task.ended_at, periodic.expires) < %(before)s
            AND NOT EXISTS (SELECT FROM tasks_api_run run WHERE run.task_id = task.id)
        LIMIT %(bite)s
    ), tasks AS (
        DELETE FROM tasks_api_task WHERE id IN (SELECT id FROM old)
    ), schedules AS (
        DELETE FROM django_celery_beat_periodictask
        WHERE id IN (SELECT periodic_task_id FROM old)
        RETURNING clocked_id
    )
    DELETE FROM django_celery_beat_clockedschedule clocked
    WHERE id IN (SELECT clocked_id FROM schedules) AND NOT EXISTS (
        SELECT FROM django_celery_beat_periodictask other
        WHERE other.clocked_id = clocked.id
            AND other.id NOT IN (SELECT periodic_task_id FROM old))
    """,
    "DELETE FROM tasks_api_heartbeat WHERE seen_at < %(before)s",
)


def prune(*, now: datetime) -> None:
    """Delete runs that finished, and tasks that ended, before the retention time."""
    before = now - timedelta(days=settings.SCHEDULER_RETENTION_DAYS)
    for statement in _BITES:
        while _bite(statement, before):
            pass


def _bite(statement: str, before: datetime) -> int:
    # The ids of runs are in the order of their fire times, so no other index is needed.
    first_kept = UUID(int=int(before.timestamp() * 1000) << 80)
    with connection.cursor() as cursor:
        cursor.execute(
            statement, {"before": before, "first_kept": first_kept, "bite": BITE}
        )
        return cursor.rowcount if "LIMIT" in statement else 0
