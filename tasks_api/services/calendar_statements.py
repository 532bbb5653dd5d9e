"""The SQL of calendars: their versions, the tasks that follow them, and runs that they hold."""

from __future__ import annotations

from tasks_api.storage.waiting_reasons import HELD

# Reads the present versions of calendars.
READ_VERSIONS = """
    SELECT calendar.name, version.id
    FROM tasks_api_calendar calendar JOIN tasks_api_calendarversion version
        ON version.calendar_id = calendar.id AND version.number = calendar.version
    WHERE calendar.id = ANY(%s::bigint[]) AND calendar.removed_at IS NULL
"""

# Gives tasks other versions of a calendar.
WRITE_VERSIONS = """
    UPDATE tasks_api_task task SET calendars = new.calendars, version = version + 1,
        following_fire_times = NULL
    FROM unnest(%s::uuid[], %s::text[]) AS new(id, calendars)
    WHERE task.id = new.id
"""

# Locks calendars that hold runs back, in the order that every statement uses.
LOCK_CALENDARS = """
    SELECT id, next_release_at FROM tasks_api_calendar
    WHERE id = ANY(%s::bigint[]) ORDER BY id FOR NO KEY UPDATE
"""
WRITE_NEXT_RELEASES = """
    UPDATE tasks_api_calendar calendar SET next_release_at = new.at
    FROM unnest(%s::bigint[], %s::timestamptz[]) AS new(id, at)
    WHERE calendar.id = new.id
"""
# Locks the runs that a calendar holds back, in their order.
LOCK_HELD_RUNS = """
    SELECT run.id, task.calendars
    FROM tasks_api_run_live run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.tenant_id = %s AND run.state = 'pending' AND NOT run.is_next
        AND run.reason = %s
    ORDER BY run.scheduled_for, run.wake_at, run.id LIMIT {limit}
    FOR NO KEY UPDATE OF run SKIP LOCKED
"""
WRITE_WAKE_TIMES = """
    UPDATE tasks_api_run_live run SET wake_at = new.wake_at
    FROM unnest(%s::uuid[], %s::timestamptz[]) AS new(id, wake_at)
    WHERE run.id = new.id AND run.state = 'pending'
"""
# Finds calendars whose held runs should have gone a while ago, because nobody was there.
FIND_LATE_RELEASES = f"""
    SELECT calendar.id FROM tasks_api_calendar calendar
    WHERE calendar.next_release_at > now() - '7 days'::interval AND EXISTS (
        SELECT FROM tasks_api_run_live run
        WHERE run.tenant_id = calendar.tenant_id
            AND run.wake_at < now() - make_interval(secs => %s)
            AND run.state IN ('pending', 'retrying') AND NOT run.is_next
            AND run.reason = '{HELD}' || calendar.name || '.')
"""
