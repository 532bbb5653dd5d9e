"""The part of a beat in notices: events that dispatch finds, and the sending of messages."""

from __future__ import annotations

import time
from collections.abc import Sequence

from scheduler_service.db import clock
from tasks_api.domain.notices import Event
from tasks_api.domain.states import RunState
from tasks_api.scheduler.decisions import DueTask, TaskUpdate
from tasks_api.services import notice_sending
from tasks_api.services.events import TaskEvent, store_events
from tasks_api.storage.run_rows import NewRun

# Seconds between two looks for notices that are due.
INTERVAL = 1.0


def note_decisions(
    tasks: Sequence[DueTask], moves: Sequence[TaskUpdate], runs: Sequence[NewRun]
) -> None:
    """Write the notices of missed fire times, and of tasks that pause by themselves.

    Call it in the transaction of the dispatch.
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


class NoticeSender:
    """Sends what is due, once a second."""

    def __init__(self) -> None:
        self._next_at = 0.0

    def send_due(self) -> bool:
        """Returns whether more may be due."""
        if time.monotonic() < self._next_at:
            return False
        has_more = notice_sending.send_due(now=clock.now())
        if not has_more:
            self._next_at = time.monotonic() + INTERVAL
        return has_more
