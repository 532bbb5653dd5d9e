"""The SQL that deletes the schedules of deleted tasks, for retention and erasure."""

from __future__ import annotations

# Parts of a statement that deletes tasks as `tasks`: id, periodic_task_id. They delete
# the schedule changes of the tasks, the rules about them and their streaks, their
# periodic tasks, and moments that no other periodic task refers to.
DELETE_SCHEDULES = """
    changes AS (
        DELETE FROM tasks_api_schedulechange
        WHERE task_id = ANY(ARRAY(SELECT id FROM tasks))
    ), rules AS (
        DELETE FROM tasks_api_notificationrule
        WHERE task_id IS NOT NULL AND task_id = ANY(ARRAY(SELECT id FROM tasks))
    ), failing AS (
        DELETE FROM tasks_api_failingtask
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
