"""Store runs, unless they would overlap, and let waiting runs move up.

Constraints decide whether runs of a task overlap. Code must not check first: two
workers, or a worker and a request, could both find that no run is unfinished.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.domain.ids import id_for
from tasks_api.domain.states import RunState
from tasks_api.metrics import counters
from tasks_api.storage.run_statements import (
    FIND_TAKEN_IDS,
    INSERT_RUNS,
    LOCK_TASKS,
    START_TURNS,
    START_WAITING_RUNS,
)

WAITING_REASON = "Waits: the run before it is not over."
SKIPPED_REASON = "The run before it was not over."
QUEUE_FULL_REASON = (
    "The run before it was not over, and another one waited for that already."
)


class NewRun(NamedTuple):
    """A run to store; the order of the fields is that of INSERT_RUNS' columns."""

    run_id: UUID
    task_id: UUID
    tenant_id: int
    scheduled_for: datetime
    state: str
    reason: str
    wake_at: datetime | None
    finished_at: datetime | None
    exclusive: bool
    is_next: bool
    covers_until: datetime | None = None


def replace_taken_ids(runs: Sequence[NewRun]) -> list[NewRun]:
    """Give random ids to runs whose ids other runs have.

    Leaves out fire times that have their run already, live or in history.
    """
    if not runs:
        return []
    # Not prepared: PostgreSQL sees in the ids which partitions it need not read.
    with connection.cursor() as cursor:
        cursor.execute(FIND_TAKEN_IDS, [array(run.run_id for run in runs)])
        taken = {run_id: fire_time for run_id, *fire_time in cursor.fetchall()}
    return [
        run._replace(run_id=id_for(run.scheduled_for, run.tenant_id))
        if run.run_id in taken
        else run
        for run in runs
        if taken.get(run.run_id) != [run.task_id, run.scheduled_for]
    ]


def insert_runs(
    runs: Sequence[NewRun], *, now: datetime
) -> tuple[list[UUID], list[UUID]]:
    """Store runs that do not exist yet.

    Returns the ids of the pending runs that were stored, and of the waiting runs that
    moved up. A run is stored as skipped if it would overlap with an exclusive run, or
    if another run waits for that one already.
    """
    if not runs:
        return [], []
    in_line = list({run.task_id for run in runs if run.is_next})
    # The waiting run moves up first, so that a new one may wait in its place.
    moved_up = start_waiting_runs_of_locked(in_line)
    stored = set(_store(runs))
    moved_up += start_waiting_runs_of_locked(in_line)
    left = [run for run in runs if run.is_next and run.run_id not in stored]
    stored |= set(_store(left))
    _store(
        [
            run._replace(
                state=RunState.SKIPPED,
                reason=QUEUE_FULL_REASON if run.is_next else SKIPPED_REASON,
                finished_at=now,
                wake_at=None,
            )
            for run in runs
            if (run.exclusive or run.is_next)
            and run.state == RunState.PENDING
            and run.run_id not in stored
        ]
    )
    made = [run for run in runs if run.state == RunState.PENDING]
    return [run.run_id for run in made if run.run_id in stored], moved_up


def _store(runs: Sequence[NewRun]) -> list[UUID]:
    """Insert the runs that no constraint forbids; return their ids."""
    if not runs:
        return []
    with prepared() as cursor:
        cursor.execute(
            INSERT_RUNS,
            columns(runs),
        )
        stored = [run_id for (run_id,) in cursor.fetchall()]
    counters.count_made(stored, runs)
    return stored


def start_waiting_runs_of_locked(task_ids: Sequence[UUID]) -> list[UUID]:
    """Let waiting runs move up if their task's exclusive run has ended; return the ids.

    A run that waits in line moves up before a backfill has its turn.

    The caller must have locked the tasks: otherwise two callers could start a run each.
    """
    if not task_ids:
        return []
    ids = [array(task_ids)]
    with prepared() as cursor:
        cursor.execute(START_WAITING_RUNS, ids)
        moved_up = [run_id for (run_id,) in cursor.fetchall()]
        cursor.execute(START_TURNS, ids)
        return moved_up + [run_id for (run_id,) in cursor.fetchall()]


@transaction.atomic(durable=True)
def start_waiting_runs(task_ids: Sequence[UUID]) -> list[UUID]:
    """Lock tasks, and let their waiting runs move up if the exclusive run has ended.

    Returns the ids of the runs that workers may take now.
    """
    ids = array(task_ids)
    with prepared() as cursor:
        # Lock in a statement of its own: one that waits for a lock does not see the
        # rows that changed meanwhile.
        cursor.execute(
            LOCK_TASKS,
            [ids],
        )
    return start_waiting_runs_of_locked(task_ids)
