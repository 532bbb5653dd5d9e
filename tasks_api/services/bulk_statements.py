"""The SQL that chooses the tasks of a filter for a change of many."""

from __future__ import annotations

from tasks_api.services.listing_statements import find_among, pages_by_cursor

# A task that is paused as the call says is passed over, so a call can be repeated until
# no task is left.
_NOT_PAUSED_SO = """
    (NOT task.is_paused OR task.suspended OR (%(has_hold)s AND (task.hold_reason,
        task.resume_at, task.catch_up) IS DISTINCT FROM
        (%(reason)s::text, %(until)s::timestamptz, %(catch_up)s::text)))
"""
PAGES_TO_PAUSE = pages_by_cursor(_NOT_PAUSED_SO)
AMONG_TO_PAUSE = find_among(_NOT_PAUSED_SO)
PAGES_TO_RESUME = pages_by_cursor("task.is_paused")
AMONG_TO_RESUME = find_among("task.is_paused")
PAGES_TO_CHANGE = pages_by_cursor()
AMONG_TO_CHANGE = find_among("true")
