"""Cancel or delete the runs of tasks that no worker has started."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db import connection

from scheduler_service.db.arrays import array
from tasks_api.services.run_statements import (
    CANCEL_RETRIES,
    CANCEL_UNSTARTED_RUNS,
    DELETE_UNSTARTED_RUNS,
)


def cancel_unstarted(
    task_ids: Collection[uuid.UUID], *, reason: str, spares_by_hand: bool = False
) -> None:
    """Cancel unstarted runs; `spares_by_hand` keeps manual ones."""
    _change_runs(
        CANCEL_UNSTARTED_RUNS, task_ids, reason=reason, spares_by_hand=spares_by_hand
    )


def cancel_retries(task_ids: Collection[uuid.UUID], *, reason: str) -> None:
    """Cancel unstarted runs that were attempted before."""
    _change_runs(CANCEL_RETRIES, task_ids, reason=reason)


def delete_unstarted(task_ids: Collection[uuid.UUID]) -> None:
    """Delete unstarted runs, but no manual ones."""
    _change_runs(DELETE_UNSTARTED_RUNS, task_ids)


def _change_runs(
    statement: str, task_ids: Collection[uuid.UUID], **values: str | bool
) -> None:
    # A QuerySet would read first, and a worker could claim a row in between. It would
    # also send thousands of ids as a parameter each.
    with connection.cursor() as cursor:
        cursor.execute(statement, {"tasks": array(task_ids), **values})
