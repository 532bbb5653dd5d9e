"""Count the failed runs in a row of tasks, for rules about streaks and recoveries.

`Task.failure_streak` counts for tasks that pause themselves; this counts for tenants with
such rules, and writes nothing for a task that succeeds again and again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import dropwhile
from typing import NamedTuple
from uuid import UUID

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import fetch_all, prepared
from tasks_api.services.notice_statements import (
    COUNT_ENDS,
    FIND_FAILING,
    FORGET_RECOVERED,
)


class CountedEnd(NamedTuple):
    """The streak of a task after one of its runs; one of both is zero."""

    task_id: UUID
    streak: int
    # The failed runs before, if the run succeeded.
    ended_streak: int


def find_failing(task_ids: Collection[UUID]) -> set[UUID]:
    """Those of the tasks whose last run failed."""
    if not task_ids:
        return set()
    with prepared() as cursor:
        cursor.execute(FIND_FAILING, [array(task_ids)])
        return {task_id for (task_id,) in cursor.fetchall()}


def count_ends(ends: Sequence[tuple[UUID, bool]]) -> list[CountedEnd]:
    """Count runs, given as task and whether it failed, in the order of their ends.

    Call it in the transaction that ends the runs. Runs that succeed after others that did
    change nothing, and are not returned.
    """
    failing = find_failing({task_id for task_id, has_failed in ends if not has_failed})
    of_tasks: dict[UUID, list[bool]] = {}
    for task_id, has_failed in ends:
        of_tasks.setdefault(task_id, []).append(has_failed)
    for task_id in of_tasks.keys() - failing:
        fails = of_tasks[task_id]
        of_tasks[task_id] = list(dropwhile(lambda has_failed: not has_failed, fails))
    counted: list[CountedEnd] = []
    # All rows are locked by the first round, in one order: no two processes can wait for
    # each other.
    while round_ := [(pk, fails.pop(0)) for pk, fails in of_tasks.items() if fails]:
        counted += _count_round(round_)
    _forget([end.task_id for end in counted if end.ended_streak])
    return [end for end in counted if end.streak or end.ended_streak > 0]


def _count_round(ends: Sequence[tuple[UUID, bool]]) -> list[CountedEnd]:
    with prepared() as cursor:
        cursor.execute(COUNT_ENDS, columns(ends))
        return fetch_all(cursor, CountedEnd)


def _forget(recovered: Collection[UUID]) -> None:
    if recovered:
        with prepared() as cursor:
            cursor.execute(FORGET_RECOVERED, [array(recovered)])
