"""The history of runs for a user: newest first, in pages, quick among millions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from accounts.models import User
from scheduler_service.db import clock
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import with_limit
from tasks_api.domain.exceptions import RunNotFound, TaskNotFound
from tasks_api.domain.ids import id_range
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import FINAL_STATES, UNDELIVERED_STATES, RunState
from tasks_api.models import Attempt, Run, Task
from tasks_api.services.run_statements import LIST_RUNS, LIST_RUNS_OF_TASKS

# For a user with at most so many tasks, the runs are found task by task: the statement
# need not read past millions of runs of other users of the tenant.
MAX_TASKS_LOOKED_UP = 500
# A list is looked for in these days first, and up to so long from now.
LAST_DAYS = timedelta(days=2)
AHEAD = timedelta(hours=1)


class RunCursor(NamedTuple):
    """The last run of a page; the next page has older runs."""

    scheduled_for: datetime
    run_id: UUID


@dataclass(frozen=True)
class RunFilter:
    """The filters of a list of runs; None and empty let all runs through.

    Runs of notices are listed only with `notices`, or by their task.
    """

    task_id: UUID | None = None
    states: Collection[RunState] = ()
    since: datetime | None = None
    # Exclusive.
    until: datetime | None = None
    after: RunCursor | None = None
    notices: bool = False

    @property
    def before(self) -> datetime | None:
        """The fire time that no run of the filter is after."""
        bounds = [self.until, self.after and self.after.scheduled_for]
        return min((each for each in bounds if each is not None), default=None)

    @property
    def all_not_delivered(self) -> bool:
        """Whether the index of undelivered runs covers the states."""
        return bool(self.states) and frozenset(self.states) <= UNDELIVERED_STATES

    @property
    def all_unfinished(self) -> bool:
        """Whether the index of unfinished runs covers the states."""
        return bool(self.states) and not frozenset(self.states) & FINAL_STATES


class RunSummary(NamedTuple):
    """A run, its task, and the status of its last answer, if it had one."""

    run: Run
    task: Task
    last_status: int | None


def list_runs(owner: User, wanted: RunFilter, *, limit: int) -> list[RunSummary]:
    """Return the newest runs of a user's tasks, living or ended.

    Runs that were made ahead are not listed before their fire time, because they may be
    deleted. Raises TaskNotFound if the user does not reach the task of the filter.
    """
    own = Task.objects.visible_to(owner)
    if wanted.task_id is not None and not own.filter(pk=wanted.task_id).exists():
        raise TaskNotFound("Task not found")
    ids = _find(owner, wanted, limit)
    runs = Run.objects.filter(pk__in=ids).in_bulk()
    of_tasks = {run.task_id for run in runs.values()}
    tasks = Task.objects.only("name", "surface").in_bulk(of_tasks)
    last = Attempt.objects.filter(run__in=ids).order_by("run", "-number")
    status = dict(last.distinct("run").values_list("run", "status_code"))
    found = [runs[run_id] for run_id in ids if run_id in runs]
    return [
        RunSummary(run, tasks[run.task_id], status.get(run.pk))
        for run in found
        if run.task_id in tasks
    ]


def get_run(owner: User, run_id: UUID) -> tuple[Run, list[Attempt]]:
    """Return a run with its task, and its attempts in order. Raises RunNotFound."""
    if not _select(LIST_RUNS, 1, _values(owner, RunFilter()) | {"run": run_id}):
        raise RunNotFound("Run not found")
    run = Run.objects.select_related("task").get(pk=run_id)
    return run, list(run.attempts.order_by("number"))


def _find(owner: User, wanted: RunFilter, limit: int) -> list[UUID]:
    statement, values = LIST_RUNS, _values(owner, wanted)
    if wanted.task_id is None:
        tasks = _tasks_to_look_up(owner, wanted)
        if tasks is None:
            values |= {"spares_notices": True}
        else:
            statement, values = LIST_RUNS_OF_TASKS, values | {"tasks": array(tasks)}
    # Most pages are filled by few days. To plan for all of them takes some milliseconds.
    now = clock.now()
    found = _select(statement, limit, values | _last_days(wanted, now))
    return found if len(found) >= limit else _select(statement, limit, values)


def _last_days(wanted: RunFilter, now: datetime) -> dict[str, UUID | None]:
    """Return bounds of ids that let only the newest runs of a filter through."""
    until = min(wanted.before or now + AHEAD, now + AHEAD)
    since = max(wanted.since or until - LAST_DAYS, until - LAST_DAYS)
    return _id_bounds(since, until)


def _id_bounds(
    since: datetime | None, until: datetime | None
) -> dict[str, UUID | None]:
    first_id, until_id = id_range(since, until)
    return {"first_id": first_id, "until_id": until_id}


def _select(statement: str, limit: int, values: dict[str, Any]) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(with_limit(statement, limit), values)
        return [run_id for (run_id,) in cursor.fetchall()]


def _values(owner: User, wanted: RunFilter) -> dict[str, Any]:
    after = wanted.after
    return {
        "owner": owner.pk,
        "reaches_all": owner.reaches_tenant,
        "tenant": owner.tenant_id,
        "run": None,
        "task": wanted.task_id,
        "states": array(sorted(wanted.states)) if wanted.states else None,
        "all_not_delivered": wanted.all_not_delivered,
        "all_unfinished": wanted.all_unfinished,
        "since": wanted.since,
        "until": wanted.until,
        "after": after and after.scheduled_for,
        "after_id": after and after.run_id,
        **_id_bounds(wanted.since, wanted.before),
        "spares_notices": False,
    }


def _tasks_to_look_up(owner: User, wanted: RunFilter) -> Sequence[UUID] | None:
    """Return the tasks if their runs are found quicker task by task, else None."""
    if wanted.notices:
        # Notices are few, each with a single run, among millions of other runs.
        notices = Task.objects.visible_to(owner).for_surface(Surface.NOTICES)
        return list(notices.values_list("pk", flat=True))
    if owner.reaches_tenant or wanted.all_not_delivered or wanted.all_unfinished:
        return None
    own = Task.objects.for_owner(owner).exclude(surface=Surface.NOTICES)
    ids = list(own.values_list("pk", flat=True)[: MAX_TASKS_LOOKED_UP + 1])
    return ids if len(ids) <= MAX_TASKS_LOOKED_UP else None
