"""The rows of the list of tasks, and the state of a task in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from console.formats import TITLES
from tasks_api.domain.schedule_words import schedule_words
from tasks_api.domain.schedules import Once
from tasks_api.services import outcomes
from tasks_api.services.listing import TaskPage
from tasks_api.services.outcomes import LastRun
from tasks_api.services.task_details import TaskSummary, summarize

SHOWN_RUNS = 20
ENDINGS = {
    "completed": "It ran, and that was all.",
    "removed": "It was removed.",
    "over": "Its end has passed.",
    "max_runs": "It has made all its runs.",
    "succeeded": "A run of it has succeeded.",
    "gone (HTTP 410)": "Its target answered that it is gone (410).",
}


class TaskState(NamedTuple):
    """A state with the class that colours it, and the reason for it."""

    word: str
    css_class: str
    reason: str = ""


class TaskRow(NamedTuple):
    task: TaskSummary
    format: str
    schedule: str
    state: TaskState
    runs: Sequence[LastRun]


def read_rows(tenant_id: int, page: TaskPage, now: datetime) -> list[TaskRow]:
    """The rows of a page, with the last outcomes of each task."""
    ids = [task.pk for task in page.tasks]
    runs = outcomes.last_runs(tenant_id, ids, each=SHOWN_RUNS)
    return [
        row_of(summarize(task), now, runs=runs.get(task.pk, ())) for task in page.tasks
    ]


def row_of(
    task: TaskSummary, now: datetime, *, runs: Sequence[LastRun] = ()
) -> TaskRow:
    words = schedule_words(task.schedule) if task.schedule else "It cannot be computed"
    return TaskRow(task, TITLES[task.surface], words, state_of(task, now), runs)


def state_of(task: TaskSummary, now: datetime) -> TaskState:
    if task.ended_at is not None:
        reason = ENDINGS.get(task.end_reason, task.end_reason)
        return TaskState("ended", "off", reason)
    if task.is_paused:
        return TaskState("paused", "paused", task.hold_reason or task.pause_reason)
    if task.next_fire_at is None:
        is_once = isinstance(task.schedule, Once)
        return TaskState("under way" if is_once else "at its end", "off")
    if task.next_fire_at <= now:
        return TaskState("due", "good")
    return TaskState("active", "good")
