"""What operators do to tasks and runs: each owner's own, by `services`, with a message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.domain.exceptions import SchedulerError
from tasks_api.messaging import broker
from tasks_api.models import Run, Task
from tasks_api.services import manual_runs, redrive, removal

TaskOperation = Callable[..., None]


def run_for_owners(
    request: HttpRequest, tasks: Iterable[Task], operation: TaskOperation, outcome: str
) -> None:
    """Apply an operation to tasks, for each owner in the owner's name."""
    now = clock.now()
    ids_of_owner: dict[User, list[str]] = {}
    for task in tasks:
        ids_of_owner.setdefault(task.owner, []).append(str(task.pk))
    count = 0
    for owner, ids in ids_of_owner.items():
        try:
            operation(owner, ids, now=now)
        except SchedulerError as refusal:
            messages.error(request, f"The tasks of {owner}: {refusal}.")
        else:
            count += len(ids)
    messages.success(request, f"{count} {outcome}; what has ended stays as it is.")


def remove_tasks(owner: User, ids: Sequence[str], *, now: datetime) -> None:
    for task_id in ids:
        removal.remove_task(owner, task_id, now=now)


def run_now(request: HttpRequest, tasks: Sequence[Task]) -> None:
    made = manual_runs.fire_tasks([task.pk for task in tasks], now=clock.now())
    broker.ring()
    messages.success(
        request, f"{len(made)} will run now; what has ended stays as it is."
    )
    if len(made) < len(tasks):
        left = len(tasks) - len(made)
        messages.warning(request, f"{left} may not overlap with a run of theirs.")


def redrive_runs(request: HttpRequest, runs: Iterable[Run]) -> None:
    """Redrive each of these runs, and say why where that cannot be done."""
    count = 0
    for run in runs:
        try:
            redrive.redrive_run(run.task.owner, run.pk)
        except SchedulerError as refusal:
            messages.error(request, f"{run.task}, {run}: {refusal}.")
        else:
            count += 1
    broker.ring()
    messages.success(request, f"{count} will be sent again.")
