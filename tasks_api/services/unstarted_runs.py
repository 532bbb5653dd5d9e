"""Cancel or delete the runs of tasks that no worker has started."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db import connection

from scheduler_service.db.arrays import array
from tasks_api.services.run_statements import (
    CANCEL_UNSTARTED_RUNS,
    DELETE_UNSTARTED_RUNS,
)


def cancel_unstarted(
    task_ids: Collection[uuid.UUID], *, reason: str, spares_by_hand: bool = False
) -> None:
    """Cancel unstarted runs; `spares_by_hand` keeps manual ones."""
    _change_runs(CANCEL_UNSTARTED_RUNS, reason, array(task_ids), spares_by_hand)


def delete_unstarted(task_ids: Collection[uuid.UUID]) -> None:
    """Delete unstarted runs, but no manual ones."""
    _change_runs(DELETE_UNSTARTED_RUNS, array(task_ids))


def _change_runs(statement: str, *values: str | bool) -> None:
    # A QuerySet would read first, and a worker could claim a row in between. It would
    # also send thousands of ids as a parameter each.
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
