"""Cancel or delete the runs of tasks that no worker has started."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db import connection

from scheduler_service.db.arrays import array


def cancel_unstarted(
    task_ids: Collection[uuid.UUID], *, reason: str, spares_by_hand: bool = False
) -> None:
    """Cancel the runs that wait; `spares_by_hand` keeps those that a user asked for."""
    # The state is in the statement's own WHERE: a worker that claims a run meanwhile wins.
    _change_runs(
        """
        UPDATE tasks_api_run SET state = 'cancelled', reason = %s, wake_at = NULL,
            finished_at = now()
        WHERE task_id = ANY(%s::uuid[]) AND state IN ('pending', 'retrying')
            AND NOT (by_hand AND %s)
        """,
        reason,
        array(task_ids),
        spares_by_hand,
    )


def delete_unstarted(task_ids: Collection[uuid.UUID]) -> None:
    """Delete the runs that the schedule made, and keep those that a user asked for."""
    _change_runs(
        """
        DELETE FROM tasks_api_run
        WHERE task_id = ANY(%s::uuid[]) AND state = 'pending' AND attempt_count = 0
            AND NOT by_hand
        """,
        array(task_ids),
    )


def _change_runs(statement: str, *values: str | bool) -> None:
    # A QuerySet would read first, and a worker might claim the row in between. It would
    # also send each of thousands of ids as a parameter of its own.
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
