"""Count failure streaks of tasks with a limit, and pause tasks that reach it.

A task without the limit costs nothing here, and one that has it and succeeds is not
written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import fetch_all, prepared
from tasks_api.delivery.retry import GiveUp, Succeed
from tasks_api.services import pausing
from tasks_api.worker import statements
from tasks_api.worker.record import AttemptResult, record_results


class RunEnd(NamedTuple):
    """How a run of a task ended: why it failed, or None if it succeeded."""

    task_id: UUID
    error: str | None


def record_and_count(results: Sequence[AttemptResult]) -> set[UUID]:
    """Like `record_results`; failures in a row are counted in the same transaction.

    Results of counted tasks are recorded apart. Such tasks are never one-offs, so no two
    transactions can wait for each other's tasks. Tasks are locked before their runs,
    as in the statements that take: they hold tasks while they wait for a run that would
    overlap.
    """
    counted = [item for item in results if item.run.pause_after_failures]
    if not counted:
        return record_results(results)
    others = [item for item in results if not item.run.pause_after_failures]
    ours = record_results(others) if others else set()
    with transaction.atomic():
        locked = _lock_tasks(find_ends(counted))
        judged = record_results(counted)
        _count_locked(
            find_ends(item for item in counted if item.run.run_id in judged), locked
        )
    return ours | judged


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


def _lock_tasks(ends: Sequence[RunEnd]) -> set[UUID]:
    """Lock the tasks whose streak changes.

    Of two runs that end at the same time, the one whose failure is not seen here counts
    as the earlier one.
    """
    failed = {end.task_id for end in ends if end.error is not None}
    values = [array({end.task_id for end in ends}), array(failed)]
    with prepared() as cursor:
        cursor.execute(statements.LOCK_STREAKS, values)
        return {task_id for (task_id,) in cursor.fetchall()}
