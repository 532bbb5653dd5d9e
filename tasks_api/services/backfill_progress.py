"""How the runs of a backfill go."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from accounts.models import User
from scheduler_service.db.statements import fetch_all
from tasks_api.domain.exceptions import TaskNotFound
from tasks_api.domain.states import UNFINISHED_STATES, RunState
from tasks_api.models import Task
from tasks_api.services.backfill_statements import COUNT_RUNS_OF_BACKFILL
from tasks_api.services.runs import first_id_of_backfill


class Progress(NamedTuple):
    """The runs of a backfill by their states, and the moments of its slots and runs."""

    counts: dict[RunState, int]
    first_slot: datetime | None
    last_slot: datetime | None
    last_sent_at: datetime | None

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def waiting(self) -> int:
        states = (RunState.PENDING, RunState.RETRYING)
        return sum(self.counts.get(state, 0) for state in states)

    @property
    def over(self) -> int:
        return self.total - self.unfinished

    @property
    def unfinished(self) -> int:
        return sum(self.counts.get(state, 0) for state in UNFINISHED_STATES)


class _Count(NamedTuple):
    state: str
    runs: int
    first_slot: datetime
    last_slot: datetime
    last_sent_at: datetime


def read_progress(user: User, task_id: UUID, backfill_id: UUID) -> Progress:
    """Count the runs of a backfill of a task that the user reaches, in one statement.

    A backfill that is not there has no runs. Raises TaskNotFound.
    """
    if not Task.objects.visible_to(user).filter(pk=task_id).exists():
        raise TaskNotFound("Task not found")
    values: dict[str, Any] = {
        "task": task_id,
        "backfill": backfill_id,
        "first_id": first_id_of_backfill(backfill_id),
    }
    with connection.cursor() as cursor:
        cursor.execute(COUNT_RUNS_OF_BACKFILL, values)
        rows = fetch_all(cursor, _Count)
    return Progress(
        {RunState(row.state): row.runs for row in rows},
        min((row.first_slot for row in rows), default=None),
        max((row.last_slot for row in rows), default=None),
        max((row.last_sent_at for row in rows), default=None),
    )
