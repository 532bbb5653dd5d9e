"""Write the notices of what Python decides about due tasks."""

from __future__ import annotations

from collections.abc import Sequence

from tasks_api.domain.notices import Event
from tasks_api.domain.states import RunState
from tasks_api.services.events import TaskEvent, store_events
from tasks_api.storage.run_rows import NewRun
from tasks_api.taking.decisions import DueTask, TaskUpdate


def note_decisions(
    tasks: Sequence[DueTask], moves: Sequence[TaskUpdate], runs: Sequence[NewRun]
) -> None:
    """Write the notices of missed fire times, and of tasks that pause by themselves.

    Call it in the transaction of the decisions.
    """
    missed = [
        TaskEvent(Event.RUN_MISSED, run.tenant_id, run.task_id, run.reason, run.run_id)
        for run in runs
        if run.state == RunState.MISSED
    ]
    tenants = {task.task_id: task.tenant_id for task in tasks}
    paused = [
        TaskEvent(
            Event.TASK_PAUSED, tenants[move.task_id], move.task_id, move.pause_reason
        )
        for move in moves
        if move.pause_reason
    ]
    if missed or paused:
        store_events([*missed, *paused], now=tasks[0].now)
