"""Tasks that tests store, and what became of their runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from accounts.models import User
from tasks_api.delivery.request import ClaimedRun
from tasks_api.domain.schedules import Schedule
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Run, Task
from tasks_api.services import tasks
from tasks_api.taking import due_tasks, leases, waiting_runs
from tasks_api.taking.room import Room
from tasks_api.taking.run_counts import RunCounts

SECOND = timedelta(seconds=1)


HOUR = timedelta(hours=1)


TARGET = "http://127.0.0.1:9/"


def store_task(owner: User, schedule: Schedule, url: str = TARGET) -> Task:
    spec = TaskSpec(Surface.TASKS, url, schedule, "{}")
    return tasks.create_task(owner, spec, now=timezone.now())


def run_states(task: Task) -> list[str]:
    runs = Run.objects.filter(task=task).order_by("scheduled_for")
    return list(runs.values_list("state", flat=True))


def take_due(room: Room | None = None) -> list[ClaimedRun]:
    """Take what is due as a worker does, without sending it."""
    return due_tasks.take_due(room or Room(), leases.new_lease(leases.NO_PRESENCE)).runs


def take_and_count() -> list[ClaimedRun]:
    """Take what is due, and write at once what the admin shows of it."""
    taken = due_tasks.take_due(Room(), leases.new_lease(leases.NO_PRESENCE))
    counts = RunCounts()
    counts.add(taken.recurring, timezone.now())
    counts.write()
    return taken.runs


def take_waiting(room: Room | None = None) -> list[ClaimedRun]:
    """Take the runs that wait as a worker does, without sending them."""
    return waiting_runs.take_waiting(
        room or Room(), leases.new_lease(leases.NO_PRESENCE)
    ).runs


def take_runs(run_ids: Iterable[UUID]) -> list[ClaimedRun]:
    """Take those of some runs that wait, and no others; the earliest first."""
    lease = leases.new_lease(leases.NO_PRESENCE)
    taken = waiting_runs.take_runs(list(run_ids), Room(), lease).runs
    return sorted(taken, key=lambda run: run.scheduled_for)


def give_back(runs: Iterable[ClaimedRun]) -> list[UUID]:
    """Let runs wait that were just taken, as a worker does whose take failed; their ids."""
    taken = list(runs)
    for lease in {run.lease for run in taken}:
        leases.undo_take(lease)
    return [run.run_id for run in taken]


def ids_of(runs: Iterable[ClaimedRun]) -> list[UUID]:
    return [run.run_id for run in runs]
