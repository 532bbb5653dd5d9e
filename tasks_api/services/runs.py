"""Runs as their owner reads them: newest first, in pages, quick among millions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from accounts.models import User
from scheduler_service.db.arrays import array
from tasks_api.domain.exceptions import RunNotFound, TaskNotFound
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import FINAL, NOT_DELIVERED, RunState
from tasks_api.models import Attempt, Run, Task

# A user with no more tasks than this has the runs of each looked up: others of the tenant
# may have made millions since, which nobody wants to read past.
FEW_TASKS = 500


class Place(NamedTuple):
    """Where a page ended; the next one goes on with what is older."""

    scheduled_for: datetime
    run_id: UUID


@dataclass(frozen=True)
class Wanted:
    """Which runs; what is None or empty does not narrow them.

    Those of notices are no fire times that a user asked for: they are found on their own,
    with `notices`, or as those of the task that a notice is.
    """

    task_id: UUID | None = None
    states: Collection[RunState] = ()
    since: datetime | None = None
    # Excluded.
    until: datetime | None = None
    after: Place | None = None
    notices: bool = False


class Listed(NamedTuple):
    """A run, its task, and the status of its last answer, if it had one."""

    run: Run
    task: Task
    last_status: int | None


def page(owner: User, wanted: Wanted, *, limit: int) -> list[Listed]:
    """The newest runs of a user's tasks, living or ended.

    What was only dispatched ahead of its moment is not among them: it may never happen.
    Raises TaskNotFound where they are wanted of a task that is not his.
    """
    own = Task.objects.reached_by(owner)
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
        Listed(run, tasks[run.task_id], status.get(run.pk))
        for run in found
        if run.task_id in tasks
    ]


def detail(owner: User, run_id: UUID) -> tuple[Run, list[Attempt]]:
    """A run with its task loaded, and its attempts in order. Raises RunNotFound."""
    if not _find(owner, Wanted(), 1, run_id=run_id):
        raise RunNotFound("Run not found")
    run = Run.objects.select_related("task").get(pk=run_id)
    return run, list(run.attempts.order_by("number"))


def _find(
    owner: User, wanted: Wanted, limit: int, *, run_id: UUID | None = None
) -> list[UUID]:
    values: dict[str, Any] = {
        "owner": owner.pk,
        "reaches_all": owner.reaches_tenant,
        "tenant": owner.tenant_id,
    }
    conditions = [
        "run.tenant_id = %(tenant)s",
        "(run.state <> 'pending' OR run.scheduled_for <= now())",
        *_conditions(wanted, values),
    ]
    if run_id is not None:
        conditions.append("run.id = %(run)s")
        values["run"] = run_id
    statement = _OF_OWNER
    if wanted.task_id is None and run_id is None:
        tasks = _tasks_to_look_up(owner, wanted)
        if tasks is None:
            conditions.append(f"task.surface <> '{Surface.NOTICES.value}'")
        else:
            statement, values["tasks"] = _OF_EACH, array(tasks)
    text = statement.format(conditions=" AND ".join(conditions), limit=limit)
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return [found for (found,) in cursor.fetchall()]


def _tasks_to_look_up(owner: User, wanted: Wanted) -> Sequence[UUID] | None:
    """The tasks whose runs are found quicker one by one; None where that is not so."""
    if wanted.notices:
        # Few, each with a single run, and anywhere among millions of others.
        notices = Task.objects.reached_by(owner).of(Surface.NOTICES)
        return list(notices.values_list("pk", flat=True))
    if owner.reaches_tenant or _has_index(wanted):
        return None
    own = Task.objects.for_owner(owner).exclude(surface=Surface.NOTICES)
    ids = list(own.values_list("pk", flat=True)[: FEW_TASKS + 1])
    return ids if len(ids) <= FEW_TASKS else None


_NEWEST = "ORDER BY run.scheduled_for DESC, run.id DESC LIMIT {limit:d}"
_OF_OWNER = f"""
    SELECT run.id FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE {{conditions}} AND (%(reaches_all)s OR task.owner_id = %(owner)s) {_NEWEST}
"""  # noqa: S608 (constants)
_OF_EACH = f"""
    SELECT run.id FROM unnest(%(tasks)s::uuid[]) AS own(id) CROSS JOIN LATERAL (
        SELECT run.id, run.scheduled_for FROM tasks_api_run run
        WHERE run.task_id = own.id AND {{conditions}} {_NEWEST}
    ) AS run {_NEWEST}
"""  # noqa: S608 (constants)


def _has_index(wanted: Wanted) -> bool:
    """Whether a partial index has the states, and little else."""
    states = frozenset(wanted.states)
    return bool(states) and (states <= NOT_DELIVERED or not states & FINAL)


def _conditions(wanted: Wanted, values: dict[str, Any]) -> list[str]:
    found = []
    if wanted.task_id is not None:
        found.append("run.task_id = %(task)s")
        values["task"] = wanted.task_id
    if wanted.states:
        # In the words of the partial index that has them.
        if frozenset(wanted.states) <= NOT_DELIVERED:
            found.append(f"run.state IN ({_texts(NOT_DELIVERED)})")
        elif not frozenset(wanted.states) & FINAL:
            found.append("run.wake_at IS NOT NULL")
        found.append(f"run.state IN ({_texts(wanted.states)})")
    if wanted.since is not None:
        found.append("run.scheduled_for >= %(since)s")
        values["since"] = wanted.since
    if wanted.until is not None:
        found.append("run.scheduled_for < %(until)s")
        values["until"] = wanted.until
    if wanted.after is not None:
        # The first says what an index can find, the second what it means.
        found.append("run.scheduled_for <= %(after)s")
        found.append("(run.scheduled_for, run.id) < (%(after)s, %(after_id)s)")
        values["after"], values["after_id"] = wanted.after
    return found


def _texts(states: Collection[RunState]) -> str:
    return ", ".join(f"'{state.value}'" for state in sorted(states))
