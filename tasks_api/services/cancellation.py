"""Cancel unfinished runs: one by its id, or many by a filter.

A run that waits, is to be retried, or has open work ends at once. The request of a
running run may be in flight, so the run is marked: its worker gives the request up when
it renews the lease, and a beat ends the run if its worker is lost. Until then the run
keeps its place, so that no other run of its task overlaps with the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from accounts import audit
from accounts.models import User
from scheduler_service.db import clock
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import fetch_all
from tasks_api.domain.exceptions import InvalidState, RunNotFound
from tasks_api.domain.states import FINAL_STATES, RunState
from tasks_api.models import Run
from tasks_api.services.run_selection import RunSelection, RunsPreview
from tasks_api.services.run_statements import (
    CANCEL_RUNS,
    FIND_RUNS_TO_CANCEL,
    LOCK_TASKS_OF_RUNS,
)
from tasks_api.storage import run_rows, schedule_rows


class CancelledRun(NamedTuple):
    """A run, and its state: cancelled, or running until its worker gives it up."""

    run_id: UUID
    state: RunState


class CancelResult(NamedTuple):
    """Runs that were cancelled, and whether more are left. Callers ring after the commit."""

    runs: list[CancelledRun]
    has_more: bool


class _ChangedRun(NamedTuple):
    run_id: UUID
    state: str
    task_id: UUID
    ends_task: bool


@transaction.atomic
def cancel_run(user: User, run_id: UUID) -> CancelledRun:
    """Cancel a run. Raises RunNotFound, or InvalidState if it is over."""
    if not Run.objects.visible_to(user).filter(pk=run_id).exists():
        raise RunNotFound("Run not found")
    changed = _cancel(user, [run_id])
    if not changed:
        run = Run.objects.get(pk=run_id)
        raise InvalidState(f"The run is over: it {_DESCRIPTIONS[RunState(run.state)]}")
    return changed[0]


_DESCRIPTIONS = {
    RunState.SUCCEEDED: "was delivered",
    RunState.FAILED: "failed",
    **{
        state: f"was {state.value}"
        for state in FINAL_STATES - {RunState.SUCCEEDED, RunState.FAILED}
    },
}


@transaction.atomic
def cancel_runs(user: User, wanted: RunSelection, *, limit: int) -> CancelResult:
    """Cancel the user's unfinished runs that are selected, the oldest first.

    A repeated call passes over runs that are cancelled already. Notices are cancelled by
    the selection of their task only.
    """
    found = wanted.find(FIND_RUNS_TO_CANCEL, user, limit=limit + 1)
    return CancelResult(_cancel(user, found[:limit]), has_more=len(found) > limit)


def preview_cancel(
    user: User, wanted: RunSelection, *, limit: int, task_limit: int
) -> RunsPreview:
    """Return what `cancel_runs` would cancel at the moment."""
    return wanted.preview(FIND_RUNS_TO_CANCEL, user, limit=limit, task_limit=task_limit)


def _cancel(user: User, run_ids: Sequence[UUID]) -> list[CancelledRun]:
    """Cancel the unfinished ones of some runs."""
    if not run_ids:
        return []
    values: dict[str, Any] = {"runs": array(run_ids), "user": user.username}
    with connection.cursor() as cursor:
        # Tasks before runs, as in every statement.
        cursor.execute(LOCK_TASKS_OF_RUNS, values)
        cursor.execute(CANCEL_RUNS, values)
        changed = fetch_all(cursor, _ChangedRun)
    _follow_up(changed)
    audit.record(user.tenant_id, "run.cancel", [run.run_id for run in changed])
    return [CancelledRun(run.run_id, RunState(run.state)) for run in changed]


def _follow_up(changed: Sequence[_ChangedRun]) -> None:
    """End one-offs with their runs, and let runs begin that waited for these."""
    if ended := {run.task_id for run in changed if run.ends_task}:
        schedule_rows.end_tasks(ended, now=clock.read(), reason="completed")
    run_rows.start_waiting_runs_of_locked(list({run.task_id for run in changed}))
