"""Take runs that wait: new ones of users and of Python's decisions, and due retries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from scheduler_service.db.arrays import array
from tasks_api.delivery.request import ClaimedRun
from tasks_api.domain.states import RunState
from tasks_api.metrics import counters
from tasks_api.services import owners
from tasks_api.storage import run_rows
from tasks_api.taking import run_statements
from tasks_api.taking.room import Room
from tasks_api.taking.rows import fetch_rows
from tasks_api.taking.start_windows import StartWindow
from tasks_api.taking.tenant_shares import TenantShare

# The fates of a waiting run that has not ended. One that moved waits in another lane.
LEFT, HELD, READY, MOVED = "left", "held", "ready", "moved"
_MARKS = ("fate", "inactive_owner_id", "queued_task_id")


class TakenRuns(NamedTuple):
    """What became of some waiting runs."""

    runs: list[ClaimedRun] = []
    # Waiting runs that the statement saw.
    due: int = 0
    # Runs that had no room.
    left: int = 0
    # Tasks whose runs wait in line, and of which a run has ended here.
    freed: Collection[UUID] = ()
    # Whether runs wait in lanes now.
    has_moved: bool = False
    # When the requests of runs in lanes may start.
    windows: Mapping[UUID, StartWindow] = {}
    # When to look at the lanes of these runs again.
    lanes_at: datetime | None = None


def take_waiting(
    room: Room,
    lease: UUID,
    *,
    shares: Sequence[TenantShare] | None = None,
    since: datetime | None = None,
) -> TakenRuns:
    """Take waiting runs, the earliest first or by the shares of tenants.

    A run of a removed, replaced or paused task is cancelled instead. Runs that wait
    since before `since` are left alone.
    """
    statement = run_statements.TAKE_EARLIEST_RUNS
    if shares is not None:
        statement = run_statements.TAKE_SHARES_OF_RUNS
    taken = take(statement.since(since), room, lease, since=since, shares=shares or ())
    if taken.freed:
        run_rows.start_waiting_runs(list(taken.freed))
    return taken


def take_runs(run_ids: Collection[UUID], room: Room, lease: UUID) -> TakenRuns:
    """Take those of some runs that wait, as take_waiting() does."""
    if not run_ids:
        return TakenRuns()
    return take(run_statements.TAKE_RUNS.since(None), room, lease, runs=array(run_ids))


def take(
    statement: str,
    room: Room,
    lease: UUID,
    **values: Any,
) -> TakenRuns:
    """Take the runs that a statement finds; the caller lets runs move up after others."""
    rows = fetch_rows(statement, _MARKS, room, lease, **values)
    runs = [
        ClaimedRun._make((*row[len(_MARKS) :], lease))
        for row in rows
        if row[0] == READY
    ]
    left = sum(row[0] == LEFT for row in rows)
    ended = [row for row in rows if row[0] not in (LEFT, HELD, READY, MOVED)]
    return TakenRuns(
        runs,
        len(rows),
        left,
        _follow_up(ended) if ended else (),
        has_moved=any(row[0] == MOVED for row in rows),
    )


def _follow_up(ended: Sequence[Sequence[Any]]) -> set[UUID]:
    """Count runs that ended; returns the tasks of those that others wait for."""
    counters.RUNS.labels(RunState.CANCELLED).inc(len(ended))
    # Requests created or resumed these tasks while their user was being deactivated.
    if owner_ids := {owner_id for _, owner_id, *_ in ended if owner_id}:
        owners.suspend_tasks(owner_ids)
    return {task_id for _, _, task_id, *_ in ended if task_id}
