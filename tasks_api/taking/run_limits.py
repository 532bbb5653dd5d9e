"""Count the runs of tasks that may make so many only, and end tasks after their last one.

A task without the limit costs nothing here. The caller has locked the tasks, so workers
count one after the other, and the count stands with the runs or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime

from scheduler_service.db.arrays import columns
from scheduler_service.db.statements import prepared
from tasks_api.domain.schedules import MICROSECOND
from tasks_api.services import removal
from tasks_api.storage.run_rows import NewRun
from tasks_api.storage.task_statements import COUNT_RUNS_MADE
from tasks_api.taking.decisions import DueTask


def count_runs(tasks: Sequence[DueTask], made: Collection[NewRun]) -> None:
    """Count the runs that were made of due tasks, and end tasks that made their last one.

    Call it in the transaction that makes the runs.
    """
    limited = [task for task in tasks if task.max_runs is not None]
    if not limited:
        return
    ids = {task.task_id for task in limited}
    counts = Counter(run.task_id for run in made if run.task_id in ids)
    if counts:
        with prepared() as cursor:
            cursor.execute(COUNT_RUNS_MADE, columns(list(counts.items())))
    ends = {
        task.task_id: _last_fire_time(task, made)
        for task in limited
        if task.runs_left is not None and counts[task.task_id] >= task.runs_left
    }
    if ends:
        removal.end_after_last_runs(ends, now=limited[0].now)


def _last_fire_time(task: DueTask, made: Collection[NewRun]) -> datetime:
    """The end of a task: it plans no fire time after its last run."""
    fires = [run.scheduled_for for run in made if run.task_id == task.task_id]
    return max(fires, default=task.next_fire_at - MICROSECOND)
