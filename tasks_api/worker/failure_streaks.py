"""Count the failed runs in a row of tasks that ask for it, and pause those with too many.

A task that does not ask for it costs nothing here, and one that does and succeeds is
not written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.delivery.retry import GiveUp, Succeed
from tasks_api.services import tasks
from tasks_api.worker.record import AttemptResult, record_results


class RunEnd(NamedTuple):
    """How a run of a task ended: why it failed, or None where it succeeded."""

    task_id: UUID
    error: str | None


def record_and_count(finished: Sequence[AttemptResult]) -> set[UUID]:
    """What `record` does; and its failures in a row are counted in the same transaction.

    Those that are counted are recorded for themselves: they are never one-offs, so no
    two transactions can wait for each other's tasks. Their tasks come before their runs,
    as in dispatch: it holds tasks when it waits for a run that would overlap.
    """
    counted = [item for item in finished if item.run.pause_after_failures]
    if not counted:
        return record_results(finished)
    others = [item for item in finished if not item.run.pause_after_failures]
    ours = record_results(others) if others else set()
    with transaction.atomic():
        locked = _lock_tasks(find_ends(counted))
        judged = record_results(counted)
        _count_locked(find_ends(f for f in counted if f.run.run_id in judged), locked)
    return ours | judged


def find_ends(finished: Iterable[AttemptResult]) -> list[RunEnd]:
    """The ends among what was judged; what is tried again or still open is none."""
    return [
        RunEnd(
            item.run.task_id,
            item.verdict.reason if isinstance(item.verdict, GiveUp) else None,
        )
        for item in finished
        if isinstance(item.verdict, Succeed | GiveUp)
    ]


class _StreakChange(NamedTuple):
    """What some runs do to a streak: whether it begins anew, and what it grows by."""

    begins_anew: bool = False
    failures: int = 0
    error: str = ""

    def after(self, end: RunEnd) -> _StreakChange:
        if end.error is None:
            return _StreakChange(begins_anew=True)
        return _StreakChange(self.begins_anew, self.failures + 1, end.error)


def count_ends(ends: Sequence[RunEnd]) -> None:
    """Count runs that ended, in their order; must be in the transaction that ends them."""
    if ends:
        _count_locked(ends, _lock_tasks(ends))


def _count_locked(ends: Iterable[RunEnd], locked: Collection[UUID]) -> None:
    """Count those of the tasks that are locked; the others' streaks stay at zero."""
    tallies: dict[UUID, _StreakChange] = {}
    for end in ends:
        if end.task_id in locked:
            tallies[end.task_id] = tallies.get(end.task_id, _StreakChange()).after(end)
    if not tallies:
        return
    rows = [(key, one.begins_anew, one.failures) for key, one in tallies.items()]
    with prepared() as cursor:
        cursor.execute(_COUNT, columns(rows))
        failing = {
            task_id: (streak, tallies[task_id].error)
            for task_id, streak in cursor.fetchall()
        }
    if failing:
        tasks.pause_failing(failing)


def _lock_tasks(ends: Sequence[RunEnd]) -> set[UUID]:
    """Take the tasks whose streak changes: seldom any, where all goes well.

    Of two runs that end at the same time, the one that is not seen here comes first.
    """
    failed = {end.task_id for end in ends if end.error is not None}
    with prepared() as cursor:
        # In one order everywhere, as whoever pauses and removes tasks locks them.
        cursor.execute(
            """
            SELECT id FROM tasks_api_task WHERE id = ANY(%s::uuid[])
                AND (failure_streak > 0 OR id = ANY(%s::uuid[]))
            ORDER BY id FOR NO KEY UPDATE
            """,
            [array({end.task_id for end in ends}), array(failed)],
        )
        return {task_id for (task_id,) in cursor.fetchall()}


_COUNT = """
    WITH counted AS (
        UPDATE tasks_api_task task SET failure_streak = run.failures
            + CASE WHEN run.begins_anew THEN 0 ELSE task.failure_streak END
        FROM unnest(%s::uuid[], %s::bool[], %s::int[])
            AS run(task_id, begins_anew, failures)
        WHERE task.id = run.task_id AND (run.failures > 0 OR task.failure_streak > 0)
        RETURNING task.id, task.failure_streak, task.pause_after_failures
    )
    SELECT id, failure_streak FROM counted WHERE failure_streak >= pause_after_failures
"""
