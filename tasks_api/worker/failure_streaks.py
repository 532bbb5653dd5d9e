"""Pause tasks that reach their failure streak, and end those that stop on success.

A task with neither policy costs nothing here, and one that counts its failures and
succeeds is not written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import fetch_all, prepared
from tasks_api.delivery.retry import GiveUp, Succeed
from tasks_api.services import pausing, removal
from tasks_api.worker import statements
from tasks_api.worker.record import AttemptResult, record_results


class RunEnd(NamedTuple):
    """How a run of a task ended: why it failed, or None if it succeeded."""

    task_id: UUID
    error: str | None


def record_and_count(results: Sequence[AttemptResult]) -> set[UUID]:
    """Like `record_results`; pauses and ends tasks in the same transaction.

    Results of tasks that a run may pause or end are recorded apart. Such tasks are never
    one-offs, so no two transactions can wait for each other's tasks. Tasks are locked
    before their runs, as in the statements that take: they hold tasks while they wait for
    a run that would overlap.
    """
    apart = [item for item in results if item.run.may_change_its_task]
    if not apart:
        return record_results(results)
    others = [item for item in results if not item.run.may_change_its_task]
    ours = record_results(others) if others else set()
    with transaction.atomic():
        locked = _lock_tasks(find_ends(apart), stopping=find_stopping(apart))
        judged = record_results(apart)
        recorded = [item for item in apart if item.run.run_id in judged]
        _count_locked(find_ends(counted_of(recorded)), locked)
        end_stopping(recorded)
    return ours | judged


def counted_of(results: Iterable[AttemptResult]) -> list[AttemptResult]:
    """The results of tasks that count their failures in a row."""
    return [item for item in results if item.run.pause_after_failures]


def find_stopping(results: Iterable[AttemptResult]) -> dict[UUID, UUID]:
    """The task of each run that may end its task, because it succeeded."""
    return {
        item.run.run_id: item.run.task_id
        for item in results
        if item.run.stop_on_success and isinstance(item.verdict, Succeed)
    }


def end_stopping(recorded: Iterable[AttemptResult]) -> None:
    """End tasks that stop on success. Call it in the transaction that records results."""
    if stopping := find_stopping(recorded):
        removal.end_succeeded_tasks(list(stopping))


def find_ends(results: Iterable[AttemptResult]) -> list[RunEnd]:
    """The runs that ended, without those that are tried again or still open."""
    return [
        RunEnd(
            item.run.task_id,
            item.verdict.reason if isinstance(item.verdict, GiveUp) else None,
        )
        for item in results
        if isinstance(item.verdict, Succeed | GiveUp)
    ]


class _FailingTask(NamedTuple):
    id: UUID
    failure_streak: int


class _StreakChange(NamedTuple):
    """What some runs do to a streak: whether it begins anew, and by how much it grows."""

    begins_anew: bool = False
    failures: int = 0
    error: str = ""

    def after(self, end: RunEnd) -> _StreakChange:
        if end.error is None:
            return _StreakChange(begins_anew=True)
        return _StreakChange(self.begins_anew, self.failures + 1, end.error)


def count_ends(ends: Sequence[RunEnd]) -> None:
    """Count runs that ended, in their order. Call it in the transaction that ends them."""
    if ends:
        _count_locked(ends, _lock_tasks(ends))


def _count_locked(ends: Iterable[RunEnd], locked: Collection[UUID]) -> None:
    """Count the runs of locked tasks. The other tasks' streaks stay at zero."""
    changes: dict[UUID, _StreakChange] = {}
    for end in ends:
        if end.task_id in locked:
            before = changes.get(end.task_id, _StreakChange())
            changes[end.task_id] = before.after(end)
    if not changes:
        return
    rows = [
        (task_id, change.begins_anew, change.failures)
        for task_id, change in changes.items()
    ]
    with prepared() as cursor:
        cursor.execute(statements.COUNT_FAILURES, columns(rows))
        failing = {
            task.id: (task.failure_streak, changes[task.id].error)
            for task in fetch_all(cursor, _FailingTask)
        }
    if failing:
        pausing.pause_failing_tasks(failing)


def _lock_tasks(
    ends: Sequence[RunEnd], *, stopping: Mapping[UUID, UUID] | None = None
) -> set[UUID]:
    """Lock the tasks whose streak changes, and those that may end.

    Of two runs that end at the same time, the one whose failure is not seen here counts
    as the earlier one.
    """
    changed = {end.task_id for end in ends if end.error is not None}
    changed |= set((stopping or {}).values())
    values = [array({end.task_id for end in ends}), array(changed)]
    with prepared() as cursor:
        cursor.execute(statements.LOCK_STREAKS, values)
        return {task_id for (task_id,) in cursor.fetchall()}
