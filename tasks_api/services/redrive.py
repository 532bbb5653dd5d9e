"""Redrive runs that were not delivered: one by its id, or many by their states."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction

from accounts import audit
from accounts.models import User
from scheduler_service.db import clock
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import fetch_all
from tasks_api.domain.exceptions import InvalidState, RunNotFound
from tasks_api.domain.states import UNDELIVERED_STATES, RunState
from tasks_api.models import Run
from tasks_api.services import waiting_limits
from tasks_api.services.run_selection import RunSelection, RunsPreview
from tasks_api.services.run_statements import (
    FIND_RUNS_TO_REDRIVE,
    LOCK_QUEUEING_TASKS,
    REDRIVE_RUNS,
)
from tasks_api.storage import run_rows


class RedriveResult(NamedTuple):
    """The new runs, and whether more runs are left. Callers ring after the commit."""

    run_ids: list[UUID]
    has_more: bool


class _InsertedRun(NamedTuple):
    id: UUID
    redrive_of: UUID
    is_next: bool
    task_id: UUID


@transaction.atomic
def redrive_run(owner: User, run_id: UUID) -> RedriveResult:
    """Redrive a run by a new run of its task.

    The new run is sent even if the task is paused or has ended by itself. Raises
    RunNotFound, or InvalidState if the run cannot be redriven, or not at the moment.
    """
    run = Run.objects.visible_to(owner).filter(pk=run_id).select_related("task").first()
    if run is None:
        raise RunNotFound("Run not found")
    _require_undelivered(run)
    waiting_limits.require_places([run.task], now=clock.now())
    made = _insert_runs([run.pk])
    if not made:
        raise InvalidState(
            "It is being sent again already, or the task is at work on another run"
        )
    audit.record(run.tenant_id, "run.redrive", [run.pk])
    return RedriveResult(list(made), has_more=False)


def _require_undelivered(run: Run) -> None:
    if run.state not in UNDELIVERED_STATES:
        done = "was delivered" if run.state == RunState.SUCCEEDED else "is not over yet"
        raise InvalidState(f"The run {done}")
    if run.task.end_reason == "removed":
        raise InvalidState("The task of the run was removed")


@transaction.atomic
def redrive_runs(owner: User, wanted: RunSelection, *, limit: int) -> RedriveResult:
    """Redrive the user's runs that the filter lets through, the oldest first.

    A repeated call redrives no run twice: it skips runs that were redriven before, and
    redrives that a later redrive of the same run followed. It also skips runs of
    removed tasks, and runs that would overlap. Notices are redriven by their ids only.
    """
    found = wanted.find(FIND_RUNS_TO_REDRIVE, owner, limit=limit + 1)
    made = _insert_runs(found[:limit])
    audit.record(owner.tenant_id, "run.redrive", list(made.values()))
    has_more = len(found) > len(made)
    return RedriveResult(list(made), has_more)


def preview_redrive(
    owner: User, wanted: RunSelection, *, limit: int, task_limit: int
) -> RunsPreview:
    """Return what `redrive_runs` would redrive at the moment."""
    return wanted.preview(
        FIND_RUNS_TO_REDRIVE, owner, limit=limit, task_limit=task_limit
    )


def _insert_runs(run_ids: Collection[UUID]) -> Mapping[UUID, UUID]:
    """Store the new runs that no constraint forbids; returns the original run of each."""
    if not run_ids:
        return {}
    ids = array(run_ids)
    with connection.cursor() as cursor:
        cursor.execute(LOCK_QUEUEING_TASKS, [ids])
        cursor.execute(REDRIVE_RUNS, {"runs": ids, "waits": run_rows.WAITING_REASON})
        rows = fetch_all(cursor, _InsertedRun)
    in_line = [row.task_id for row in rows if row.is_next]
    run_rows.start_waiting_runs_of_locked(in_line)
    return {row.id: row.redrive_of for row in rows}
