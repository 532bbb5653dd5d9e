"""Take due tasks: make a running run of each, and move it to its next fire time.

This is the heart of the scheduler. Any number of workers may take at once: each skips
rows that another one has locked, and the constraint on (task, scheduled_for) makes a
second run impossible. The clock is the database's, so a worker on a machine with a wrong
clock fires neither early nor twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared, with_limit
from tasks_api.delivery.request import ClaimedRun
from tasks_api.domain import schedules
from tasks_api.domain.states import RunState
from tasks_api.metrics import counters
from tasks_api.services import held_runs
from tasks_api.storage import run_rows, schedule_changes, schedule_edits, schedule_rows
from tasks_api.storage.stored_schedules import fetch_with_schedule
from tasks_api.taking import (
    following,
    lanes,
    run_limits,
    statements,
    task_statements,
    waiting_runs,
)
from tasks_api.taking.decision_events import note_decisions
from tasks_api.taking.decisions import DueTask, TaskUpdate, decide
from tasks_api.taking.due_poll import NextWork
from tasks_api.taking.excess import pass_over_excess
from tasks_api.taking.room import BATCH_SIZE, Room
from tasks_api.taking.rows import fetch_rows, unknown_tenants
from tasks_api.taking.start_windows import StartWindow
from tasks_api.taking.statements import FromMoment
from tasks_api.taking.tenant_shares import TenantShare

# Seconds of computing in one transaction, which holds locks of several tenants' tasks.
MAX_COMPUTE_SECONDS = 0.25
_MARKS = (
    "is_disputed",
    "is_left",
    "is_skipped",
    "ends_following",
    "is_recurring",
    "is_waiting",
    "lane",
    "unknown_tenant",
)
_IS_WAITING, _LANE = _MARKS.index("is_waiting"), _MARKS.index("lane")
_UNKNOWN_TENANT = _MARKS.index("unknown_tenant")
_RUN = slice(len(_MARKS), len(_MARKS) + len(statements.CLAIMED_RUN_COLUMNS))
_TASK_ID = len(_MARKS) + statements.CLAIMED_RUN_COLUMNS.index("task_id")


class TakenTasks(NamedTuple):
    """What became of some due tasks."""

    runs: list[ClaimedRun] = []
    # Due tasks that the statement saw.
    due: int = 0
    # Due tasks, or runs of them, that had no room.
    left: int = 0
    # Tasks that are still due though Python looked at them: its time was over, more fire
    # times had passed than one batch takes, or an edit made them due.
    unfinished: int = 0
    # Tasks that wait for their following fire times to be computed.
    unplanned: list[UUID] = []
    # Recurring tasks that got a run here, once for each.
    recurring: list[UUID] = []
    # Whether runs wait in lanes now.
    has_waiting: bool = False
    # When the requests of runs in lanes may start.
    windows: Mapping[UUID, StartWindow] = {}
    # Tenants whose limits are to be asked for, because something of theirs was left.
    unknown: frozenset[int] = frozenset()
    # What there is to do after these tasks, if the statement has looked.
    seen: NextWork | None = None

    def __add__(self, other: TakenTasks) -> TakenTasks:  # type: ignore[override]  # no tuple is added here
        return TakenTasks(
            self.runs + other.runs,
            self.due + other.due,
            self.left + other.left,
            self.unfinished + other.unfinished,
            self.unplanned + other.unplanned,
            self.recurring + other.recurring,
            self.has_waiting or other.has_waiting,
            {**self.windows, **other.windows},
            self.unknown | other.unknown,
            self.seen or other.seen,
        )


def take_due(
    room: Room,
    lease: UUID,
    *,
    shares: Sequence[TenantShare] | None = None,
    since: datetime | None = None,
) -> TakenTasks:
    """Take due tasks, the earliest first or by the shares of tenants.

    Nearly all tasks are plain: a one-off, or a recurring schedule with a single fire time
    due and the next one known. The statement takes these by itself. It decides as
    schedules.sort_due() does; a test compares the two. Python decides the others. Tasks
    due before `since` are left alone.
    """
    kind = "earliest" if shares is None else "shares"
    return _take(kind, room, lease, since=since, shares=shares or ())


def take_and_look(room: Room, lease: UUID) -> TakenTasks:
    """Take the earliest due tasks, and look in the same statement what comes after them.

    If no task is due, the statement has not looked.
    """
    return _take("look", room, lease, further=NextWork._fields)


def take_one(task_id: UUID, room: Room, lease: UUID) -> TakenTasks:
    """Take one task, if it is due, as take_due() does."""
    return _take("one", room, lease, task=task_id)


def find_due(limit: int) -> list[UUID]:
    """Return the due tasks, earliest first, also tasks that another worker has locked."""
    with prepared() as cursor:
        cursor.execute(with_limit(task_statements.FIND_DUE_TASKS, limit))
        return [task_id for (task_id,) in cursor.fetchall()]


class _Batch(NamedTuple):
    """The tasks that a statement has taken, and those that it has left."""

    taken: TakenTasks
    # Tasks that Python decides.
    disputed: list[UUID]
    # Tasks whose lanes were not locked, and their lanes.
    in_lanes: dict[UUID, int]


def _take(
    kind: str,
    room: Room,
    lease: UUID,
    *,
    since: datetime | None = None,
    **values: Any,
) -> TakenTasks:
    lane_ids = lanes.recent.list_ids()
    ways = task_statements.TAKE_TASKS
    if lane_ids:
        ways = task_statements.TAKE_TASKS_IN_LANES
    statement: FromMoment = getattr(ways, kind)
    text = statement.since(since)
    first = _take_batch(text, lane_ids, room, lease, since=since, **values)
    taken, disputed = first.taken, first.disputed
    if first.in_lanes:
        in_lanes = _take_from_lanes(first.in_lanes, room.after(taken.runs), lease)
        taken += in_lanes.taken
        disputed += in_lanes.disputed
    if not disputed:
        return taken
    return taken + decide_tasks(disputed, room.after(taken.runs), lease)


def _take_from_lanes(lane_of: Mapping[UUID, int], room: Room, lease: UUID) -> _Batch:
    """Take tasks that a statement left because it did not know their lanes."""
    lane_ids = set(lane_of.values())
    lanes.recent.note(lane_ids)
    statement = task_statements.TAKE_THESE_TASKS
    batch = _take_batch(statement, lane_ids, room, lease, tasks=array(lane_of))
    # They were counted as due before. What is in lanes that other workers have locked
    # stays due.
    unfinished = len(batch.in_lanes)
    return batch._replace(taken=batch.taken._replace(due=0, unfinished=unfinished))


def _take_batch(
    statement: str,
    lane_ids: Collection[int],
    room: Room,
    lease: UUID,
    *,
    further: tuple[str, ...] = (),
    **values: Any,
) -> _Batch:
    """Take tasks; those with lanes as the slots of these lanes allow."""
    values["end_grace"] = schedules.END_GRACE.total_seconds()
    values["rules"] = settings.TIME_ZONE_RULES.version
    fetch = partial(fetch_rows, statement, _MARKS, room, lease, further=further)
    if not lane_ids:
        return _sort_rows(fetch(**values), lease, further)
    with transaction.atomic():
        most = dict.fromkeys(lane_ids, room.limit)
        locked = lanes.lock_lanes(lane_ids, most=most, only_free=True)
        values |= lanes.slot_values(locked)
        rows = fetch(**values)
        batch = _sort_rows(rows, lease, further, locked)
        waiting = Counter(row[_LANE] for row in rows if row[_IS_WAITING])
        windows = lanes.note_taken(locked, batch.taken.runs, waiting)
    taken = batch.taken._replace(has_waiting=bool(waiting), windows=windows)
    return batch._replace(taken=taken)


def _sort_rows(
    rows: Sequence[Sequence[Any]],
    lease: UUID,
    further: tuple[str, ...],
    locked: Collection[int] = (),
) -> _Batch:
    marks = len(_MARKS)
    # The runs share one lease object: many equal values are written faster.
    runs = [ClaimedRun._make((*row[_RUN], lease)) for row in rows if row[marks]]
    skipped = sum(row[2] for row in rows)
    waiting = sum(row[_IS_WAITING] for row in rows)
    counters.RUNS_MADE.inc(len(runs) + skipped + waiting)
    counters.RUNS.labels(RunState.SKIPPED).inc(skipped)
    taken = TakenTasks(
        runs,
        len(rows),
        sum(row[1] for row in rows),
        unplanned=[row[_TASK_ID] for row in rows if row[3]],
        recurring=[row[_TASK_ID] for row in rows if row[4]],
        unknown=unknown_tenants(rows, _UNKNOWN_TENANT),
        seen=NextWork._make(rows[0][_RUN.stop :]) if further and rows else None,
    )
    left = [(row[_TASK_ID], row[_LANE]) for row in rows if row[0]]
    return _Batch(
        taken,
        [task_id for task_id, lane in left if lane is None or lane in locked],
        {
            task_id: lane
            for task_id, lane in left
            if lane is not None and lane not in locked
        },
    )


@transaction.atomic(durable=True)
def decide_tasks(task_ids: Collection[UUID], room: Room, lease: UUID) -> TakenTasks:
    """Lock due tasks, decide each in Python, and take their runs.

    If the time for computing runs out, the other tasks stay due and count as unfinished.
    """
    tasks = _lock_due(task_ids)
    if not tasks:
        return TakenTasks()
    moves, runs = _decide_in_time(tasks, over_quota=room.over_quota)
    made_ids, moved_up = _write_decisions(tasks, moves, runs)
    taken = waiting_runs.take_runs(made_ids + moved_up, room, lease)
    return TakenTasks(
        taken.runs,
        left=taken.left,
        has_waiting=taken.has_moved,
        unknown=taken.unknown,
        unfinished=len(tasks) - len(moves) + _count_due(moves, tasks[0].now),
        unplanned=[
            task.task_id for task in tasks if following.has_following(task.stored)
        ],
        recurring=_tasks_of(made_ids, runs),
    )


def _count_due(moves: Sequence[TaskUpdate], now: datetime) -> int:
    return sum(
        move.next_fire_at is not None and move.next_fire_at <= now for move in moves
    )


def _decide_in_time(
    tasks: Sequence[DueTask], *, over_quota: Collection[int] = ()
) -> tuple[list[TaskUpdate], list[run_rows.NewRun]]:
    edited = [task.task_id for task in tasks if task.is_edited]
    edited_at = (
        schedule_changes.record_change(edited, schedule_changes.ChangeKind.EDITED)
        if edited
        else None
    )
    moves: list[TaskUpdate] = []
    runs: list[run_rows.NewRun] = []
    time_left = ComputeBudget(task.tenant_id for task in tasks)
    for task in tasks:
        if task.is_edited or time_left.has(task.tenant_id):
            with time_left.charge(task.tenant_id):
                move, made = decide(task, limit=BATCH_SIZE, edited_at=edited_at)
            moves.append(move)
            runs.extend(made)
    fresh = run_rows.replace_taken_ids(runs)
    calendars = {task.task_id: task.stored.calendars for task in tasks}
    allowed = pass_over_excess(tasks, fresh, over_quota)
    return moves, held_runs.hold_back(allowed, calendars, now=tasks[0].now)


@transaction.atomic(savepoint=False)
def let_wait(task_ids: Collection[UUID]) -> list[UUID]:
    """Make runs of due tasks that wait until a worker has room.

    Returns the task of each run.
    """
    tasks = _lock_due(task_ids)
    if not tasks:
        return []
    moves, runs = _decide_in_time(tasks)
    made_ids, _ = _write_decisions(tasks, moves, runs)
    return _tasks_of(made_ids, runs)


def _tasks_of(run_ids: Iterable[UUID], runs: Iterable[run_rows.NewRun]) -> list[UUID]:
    task_of = {run.run_id: run.task_id for run in runs}
    return [task_of[run_id] for run_id in run_ids]


def _lock_due(task_ids: Collection[UUID]) -> list[DueTask]:
    with prepared() as cursor:
        cursor.execute(task_statements.LOCK_DUE_TASKS, {"tasks": array(task_ids)})
        return fetch_with_schedule(cursor, DueTask)


def _write_decisions(
    tasks: Sequence[DueTask],
    moves: Sequence[TaskUpdate],
    runs: Sequence[run_rows.NewRun],
) -> tuple[list[UUID], list[UUID]]:
    """Store runs and move tasks; returns the new runs, and those that moved up in line."""
    made = run_rows.insert_runs(runs, now=tasks[0].now)
    edited = {task.task_id for task in tasks if task.is_edited}
    paused = [move.task_id for move in moves if move.pause_reason]
    if broken := set(paused) - edited:
        schedule_changes.record_change(broken, schedule_changes.ChangeKind.BROKEN)
    schedule_edits.copy_schedules(
        [(task.task_id, task.stored) for task in tasks if task.is_edited]
    )
    with prepared() as cursor:
        cursor.execute(task_statements.UPDATE_TASKS, columns(moves))
    schedule_rows.set_enabled(paused, False)
    note_decisions(tasks, moves, runs)
    made_ids = set(made[0])
    run_limits.count_runs(tasks, [run for run in runs if run.run_id in made_ids])
    return made


class ComputeBudget:
    """The time for computing in one transaction, shared among its tenants.

    It locks tasks of all its tenants, so the schedules of one must not delay the others.
    Each tenant gets at least one task computed.
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
