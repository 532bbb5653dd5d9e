"""SQL conditions that say whether a run may be sent, by the state of its task.

A statement that uses them selects from a run as `run`, followed by JOINS.
"""

from __future__ import annotations

from tasks_api.domain.states import EndReason

JOINS = """
    JOIN tasks_api_task task ON task.id = run.task_id
    JOIN django_celery_beat_periodictask periodic ON periodic.id = task.periodic_task_id
    JOIN accounts_user owner ON owner.id = task.owner_id
"""

# The reasons of ends that come by the task's own schedule.
ENDS_OF_SCHEDULES = f"('{EndReason.OVER}', '{EndReason.MAX_RUNS}')"
# The task ended, and not by its own schedule. A manual run is sent all the same, unless
# a user removed the task.
IS_REMOVED = f"""
    (task.ended_at IS NOT NULL AND task.end_reason NOT IN {ENDS_OF_SCHEDULES}
        AND (NOT run.by_hand OR task.end_reason = 'removed'))
"""
# A user moved the end of the task to before the run.
IS_PAST_END = """
    (periodic.expires IS NOT NULL AND run.scheduled_for > periodic.expires
        AND NOT run.by_hand)
"""
# The user is deactivated. Notices are still sent: they belong to the tenant.
IS_SUSPENDED = "(NOT owner.is_active AND task.surface <> 'notices')"
IS_PAUSED = f"((NOT periodic.enabled OR {IS_SUSPENDED}) AND NOT run.by_hand)"

MAY_BE_SENT = f"(NOT {IS_PAUSED} AND NOT {IS_REMOVED} AND NOT {IS_PAST_END})"
