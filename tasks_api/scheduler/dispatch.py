"""Turn due tasks into runs. This is the heart of the scheduler.

Any number of beats may dispatch at once: each skips rows that another one has locked,
and the constraint on (task, scheduled_for) makes a second run impossible. The clock is
the database's, so a beat on a machine with a wrong clock fires neither early nor twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import check_columns, prepared, with_limit
from tasks_api.domain import schedules
from tasks_api.domain.states import RING_AGAIN_DELAY, RunState
from tasks_api.metrics import counters
from tasks_api.scheduler import notices, statements
from tasks_api.scheduler.decisions import FIRED_COLUMNS, DueTask, TaskUpdate, decide
from tasks_api.storage import run_rows, schedule_changes, schedule_edits, schedule_rows

logger = logging.getLogger(__name__)

# Tasks in one dispatch: enough to share the cost of a statement, and few enough to hold
# locks for some tens of milliseconds only.
BATCH_SIZE = 1000
# The parts in which SCHEDULER_MAX_WAITING runs of a tenant are dispatched, while
# workers begin earlier ones.
REFILLS_OF_A_FLOOD = 5
# Seconds of computing in one dispatch: less than the look-ahead, so that its runs are
# committed before they are due.
MAX_COMPUTE_SECONDS = 0.25


class DispatchResult(NamedTuple):
    """The runs to ring for after a dispatch, and whether more tasks may be due."""

    run_ids: list[UUID]
    is_full: bool


EMPTY_RESULT = DispatchResult([], is_full=False)


@transaction.atomic(durable=True)
def dispatch_due(
    *, limit: int = BATCH_SIZE, since: datetime | None = None
) -> DispatchResult:
    """Make a run for every due task, and move each task to its next fire time.

    Dispatch looks ahead, so that a worker has the message when the fire time comes.
    Tasks whose runs must not overlap fire at the fire time itself: only then it is
    certain whether the earlier run has ended. Tasks due before `since` are left alone.
    """
    shares = _find_shares(limit, since) if _is_crowded(limit, since) else None
    if shares == []:
        # Each tenant with due tasks has enough runs waiting for workers.
        return EMPTY_RESULT
    locked = _fire_plain(limit, shares, since=since)
    others = _fire_others(locked.others, limit=limit)
    is_full = locked.due == limit if shares is None else locked.due > 0
    return DispatchResult(
        locked.run_ids + others.run_ids, is_full=is_full or others.is_full
    )


def find_due(limit: int) -> list[UUID]:
    """Return the due tasks, earliest first, also tasks that another beat has locked."""
    with prepared() as cursor:
        cursor.execute(
            with_limit(statements.FIND_DUE, limit),
            {"look_ahead": settings.SCHEDULER_LOOK_AHEAD},
        )
        return [task_id for (task_id,) in cursor.fetchall()]


@transaction.atomic(durable=True)
def dispatch_one(task_id: UUID) -> list[UUID]:
    """Dispatch one task, if it is due, as dispatch_due() does."""
    locked = _fire_plain(1, task_id=task_id)
    return locked.run_ids + _fire_others(locked.others, limit=BATCH_SIZE).run_ids


def _fire_others(tasks: Sequence[DueTask], *, limit: int) -> DispatchResult:
    """Dispatch locked tasks that are not plain.

    If the time for computing runs out, the other tasks stay due and the result is full.
    """
    if not tasks:
        return EMPTY_RESULT
    moves, runs, left = [], [], 0
    edited = [task.task_id for task in tasks if task.is_edited]
    edited_at = (
        schedule_changes.record_change(edited, schedule_changes.ChangeKind.EDITED)
        if edited
        else None
    )
    time_left = ComputeBudget(task.tenant_id for task in tasks)
    for task in tasks:
        if not task.is_edited and not time_left.has(task.tenant_id):
            left += 1
            continue
        with time_left.charge(task.tenant_id):
            move, made = decide(task, limit=limit, edited_at=edited_at)
        moves.append(move)
        runs.extend(made)
    runs = run_rows.replace_taken_ids(runs)
    made_run_ids, moved_up = run_rows.insert_runs(runs, now=tasks[0].now)
    broken = {move.task_id for move in moves if move.pause_reason}
    if broken := broken.difference(edited):
        schedule_changes.record_change(broken, schedule_changes.ChangeKind.BROKEN)
    schedule_edits.copy_schedules(
        [(task.task_id, task.stored) for task in tasks if task.is_edited]
    )
    _update_tasks(moves)
    notices.note_decisions(tasks, moves, runs)
    _count_runs(_schedules_that_ran(tasks, runs, set(made_run_ids)))
    waiting = {run.run_id for run in runs if run.is_next}
    ringing = [run_id for run_id in made_run_ids if run_id not in waiting] + moved_up
    return DispatchResult(ringing, is_full=left > 0)


class ComputeBudget:
    """The time for computing in one dispatch, shared among its tenants.

    Dispatch locks tasks of all its tenants, so the schedules of one must not delay the
    others. Each tenant gets at least one task computed.
    """

    def __init__(self, tenant_ids: Iterable[int]) -> None:
        tenants = set(tenant_ids)
        self._left = dict.fromkeys(tenants, MAX_COMPUTE_SECONDS / len(tenants))

    def has(self, tenant_id: int) -> bool:
        return self._left[tenant_id] > 0

    @contextmanager
    def charge(self, tenant_id: int) -> Iterator[None]:
        # Count the CPU time of this thread: a busy machine takes none from a tenant.
        before = time.thread_time()
        yield
        self._left[tenant_id] -= time.thread_time() - before


def _schedules_that_ran(
    tasks: Sequence[DueTask], runs: Sequence[run_rows.NewRun], made: set[UUID]
) -> list[tuple[int, datetime]]:
    """Return recurring schedules that ran, and when; one-offs are counted later."""
    recurring = {task.task_id: task for task in tasks if not task.stored.is_one_off}
    return [
        (task.periodic_task_id, max(run.scheduled_for, task.now))
        for run in runs
        if run.run_id in made and (task := recurring.get(run.task_id))
    ]


class PlainResult(NamedTuple):
    """The result of the statement for plain tasks."""

    due: int
    run_ids: list[UUID]
    # Locked tasks that are left to Python.
    others: list[DueTask]


class TenantShare(NamedTuple):
    """The most due tasks of a tenant that one dispatch may take."""

    tenant_id: int
    most: int


def _is_crowded(limit: int, since: datetime | None) -> bool:
    """Return whether more is due than one dispatch takes, so that tenants share it."""
    with prepared() as cursor:
        cursor.execute(
            with_limit(statements.IS_CROWDED.since(since), limit),
            {"look_ahead": settings.SCHEDULER_LOOK_AHEAD, "since": since},
        )
        return cursor.fetchone() is not None


def _find_shares(limit: int, since: datetime | None) -> list[TenantShare]:
    """Divide one dispatch into equal shares for the tenants with due tasks.

    A share is at most what its tenant may still have waiting: the rest of a flood stays
    in the tables, and fills neither Redis nor the workers. A tenant with many waiting
    runs gets no small share, but none: to count waiting runs costs as much as to fire
    hundreds.
    """
    with prepared() as cursor:
        cursor.execute(
            statements.FIND_ROOM.since(since),
            {
                "since": since,
                "most": settings.SCHEDULER_MAX_WAITING,
                "least": max(1, settings.SCHEDULER_MAX_WAITING // REFILLS_OF_A_FLOOD),
                "look_ahead": settings.SCHEDULER_LOOK_AHEAD,
            },
        )
        rooms = cursor.fetchall()
    part = max(1, limit // max(1, len(rooms)))
    return [TenantShare(tenant_id, min(part, room)) for tenant_id, room in rooms]


def _fire_plain(
    limit: int,
    shares: Sequence[TenantShare] | None = None,
    *,
    since: datetime | None = None,
    task_id: UUID | None = None,
) -> PlainResult:
    """Lock due tasks, and fire the plain ones in the same statement.

    A one-off is plain, and so is an interval of seconds with a single fire time due,
    unless its runs wait in line. Nearly all tasks are plain, so a statement for them
    pays. It decides as schedules.sort_due() does; a test compares the two.
    """
    statement = statements.FIRE_EARLIEST if shares is None else statements.FIRE_SHARES
    if task_id is not None:
        statement = statements.FIRE_TASK
    with prepared() as cursor:
        cursor.execute(
            with_limit(statement.since(since), limit),
            {
                "since": since,
                "task": task_id,
                "tenants": array(share.tenant_id for share in shares or ()),
                "shares": array(share.most for share in shares or ()),
                "look_ahead": settings.SCHEDULER_LOOK_AHEAD,
                "end_grace": schedules.END_GRACE.total_seconds(),
                "ring_again": RING_AGAIN_DELAY.total_seconds(),
            },
        )
        check_columns(cursor, FIRED_COLUMNS)
        rows = cursor.fetchall()
    others = [due for row in rows if (due := DueTask.from_columns(row))]
    run_ids = [run_id for run_id, *_ in rows if run_id is not None]
    skipped = sum(is_skipped for _, is_skipped, *_ in rows)
    counters.RUNS_MADE.inc(len(run_ids) + skipped)
    counters.RUNS.labels(RunState.SKIPPED).inc(skipped)
    return PlainResult(len(rows), run_ids, others)


def _update_tasks(moves: Sequence[TaskUpdate]) -> None:
    with prepared() as cursor:
        cursor.execute(
            statements.UPDATE_TASKS,
            columns(moves),
        )
    broken = [move.task_id for move in moves if move.pause_reason]
    schedule_rows.set_enabled(broken, False)


def _count_runs(fired: Sequence[tuple[int, datetime]]) -> None:
    """Write when schedules last ran and how often, for the admin to show."""
    if not fired:
        return
    with prepared() as cursor:
        cursor.execute(
            statements.COUNT_RUNS,
            columns(fired),
        )
