"""Take runs that wait: new ones of users and of Python's decisions, and due retries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from scheduler_service.db.arrays import array
from tasks_api.delivery.request import ClaimedRun
from tasks_api.domain.states import RunState
from tasks_api.metrics import counters
from tasks_api.services import owners
from tasks_api.storage import run_rows
from tasks_api.taking import bounded_starts, run_statements
from tasks_api.taking.room import Room
from tasks_api.taking.rows import fetch_rows, unknown_tenants
from tasks_api.taking.start_windows import StartWindow
from tasks_api.taking.tenant_shares import TenantShare

# The fates of a waiting run that has not ended.
LEFT, HELD, READY = "left", "held", "ready"
# It waits in another lane now.
MOVED = "moved"
# It waits for the next day of its tenant's quota, or to be admitted by the bounds of its
# task.
OVER_QUOTA, BOUNDED = "over_quota", "bounded"
# The fate of a backfill that waits for its turn.
IN_TURN = "in turn"
_GOES_ON = (LEFT, HELD, READY, OVER_QUOTA, BOUNDED, IN_TURN, MOVED)
_MARKS = (
    *("fate", "waiting_id", "inactive_owner_id", "queued_task_id"),
    "unknown_tenant",
)


class TakenRuns(NamedTuple):
    """What became of some waiting runs."""

    runs: list[ClaimedRun] = []
    # Waiting runs that the statement saw.
    due: int = 0
    # Runs that had no room.
    left: int = 0
    # Tasks whose runs wait in line, and of which a run has ended here or waits for its turn.
    freed: Collection[UUID] = ()
    # Whether runs wait in lanes now.
    has_moved: bool = False
    # When the requests of runs in lanes may start.
    windows: Mapping[UUID, StartWindow] = {}
    # When to look at the lanes of these runs again.
    lanes_at: datetime | None = None
    # Tenants whose limits are to be asked for, because something of theirs was left.
    unknown: frozenset[int] = frozenset()


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
    admitted = values.pop("admitted", ())
    rows = fetch_rows(
        statement, _MARKS, room, lease, admitted=array(admitted), **values
    )
    runs = [
        ClaimedRun._make((*row[len(_MARKS) :], lease))
        for row in rows
        if row[0] == READY
    ]
    left = sum(row[0] == LEFT for row in rows)
    ended = [row for row in rows if row[0] not in _GOES_ON]
    if bounded := [row[1] for row in rows if row[0] == BOUNDED]:
        runs += _take_bounded(bounded, room.after(runs), lease)
    freed = _follow_up(ended) if ended else set()
    freed |= {task_id for fate, _, _, task_id, *_ in rows if fate == IN_TURN}
    has_moved = any(row[0] == MOVED for row in rows)
    unknown = unknown_tenants(rows, _MARKS.index("unknown_tenant"))
    return TakenRuns(runs, len(rows), left, freed, has_moved, unknown=unknown)


@transaction.atomic
def _take_bounded(run_ids: Sequence[UUID], room: Room, lease: UUID) -> list[ClaimedRun]:
    """Take the runs that the bounds of their tasks allow now, and count their starts."""
    admission = bounded_starts.admit(run_ids)
    if not admission.run_ids:
        return []
    ids = array(admission.run_ids)
    statement = run_statements.TAKE_ADMITTED_RUNS.since(None)
    taken = take(statement, room, lease, runs=ids, admitted=admission.run_ids)
    bounded_starts.count(admission, taken.runs)
    return taken.runs


def _follow_up(ended: Sequence[Sequence[Any]]) -> set[UUID]:
    """Count runs that ended; returns the tasks of those that others wait for."""
    counters.RUNS.labels(RunState.CANCELLED).inc(len(ended))
    # Requests created or resumed these tasks while their user was being deactivated.
    if owner_ids := {row[2] for row in ended if row[2]}:
        owners.suspend_tasks(owner_ids)
    return {row[3] for row in ended if row[3]}
