"""The part of a statement that deletes what tasks had, for retention and for erasure."""

from __future__ import annotations

# For statements that delete tasks as `tasks`: id, periodic_task_id. It deletes their past
# schedules, and their schedule with its moment, if no other task shares that one.
DELETE_SCHEDULES = """
    changes AS (
        DELETE FROM tasks_api_schedulechange
        WHERE task_id = ANY(ARRAY(SELECT id FROM tasks))
    ), schedules AS (
        DELETE FROM django_celery_beat_periodictask
        WHERE id = ANY(ARRAY(SELECT periodic_task_id FROM tasks))
        RETURNING clocked_id
    ), moments AS (
        DELETE FROM django_celery_beat_clockedschedule clocked
        WHERE id = ANY(ARRAY(SELECT clocked_id FROM schedules)) AND NOT EXISTS (
            SELECT FROM django_celery_beat_periodictask other
            WHERE other.clocked_id = clocked.id
                AND other.id <> ALL(ARRAY(SELECT periodic_task_id FROM tasks)))
    )
"""
