"""Create and change tasks."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import DEFAULT_DB_ALIAS, IntegrityError, transaction
from django.db.models import F

from accounts import audit
from accounts.models import User
from tasks_api.domain.exceptions import InvalidTask, NameTaken, TaskBusy
from tasks_api.domain.specs import TaskSpec
from tasks_api.models import Run, Task
from tasks_api.services import admission, held_runs, limits
from tasks_api.services.calendars import follows_calendars, resolve_calendars
from tasks_api.services.names import lock_name, require_free, tenant_of
from tasks_api.services.pausing import set_paused
from tasks_api.services.rescheduling import reschedule
from tasks_api.services.unstarted_runs import delete_unstarted
from tasks_api.services.wanted_tasks import Wanted
from tasks_api.storage import task_rows
from tasks_api.storage.calendar_rules import calendars_that_hold


def create_task(owner: User, spec: TaskSpec, *, now: datetime) -> Task:
    """Store a task. Raises NameTaken if a living task of the tenant has its name.

    The schedule of the returned task is read from the database when it is first used.
    """
    [row] = create_tasks(owner, [spec], now=now)
    if spec.is_paused:
        return Task.objects.get(pk=row.id)
    known = {**row.columns, "version": 1, "runs_made": 0}
    names = [f.attname for f in Task._meta.concrete_fields if f.attname in known]
    return Task.from_db(DEFAULT_DB_ALIAS, names, [known[name] for name in names])


def create_tasks(
    owner: User,
    specs: Sequence[TaskSpec],
    *,
    now: datetime,
    is_admitted: bool = False,
) -> list[task_rows.NewTask]:
    """Store tasks of one surface, all or none, in a constant number of statements.

    Their names must differ. Raises NameTaken with the names that are taken, LimitReached,
    and DoesNotFit if they do not fit a lane, unless they are admitted already.
    """
    if follows_calendars(specs):
        return _create_on_calendars(owner, specs, now, is_admitted)
    return _create_resolved(owner, specs, now, is_admitted)


@transaction.atomic
def _create_on_calendars(
    owner: User, specs: Sequence[TaskSpec], now: datetime, is_admitted: bool
) -> list[task_rows.NewTask]:
    """Store tasks while no calendar of theirs changes."""
    resolved = resolve_calendars(owner, specs, now=now)
    return _create_resolved(owner, resolved, now, is_admitted)


def _create_resolved(
    owner: User, specs: Sequence[TaskSpec], now: datetime, is_admitted: bool
) -> list[task_rows.NewTask]:
    names = {spec.name for spec in specs if spec.name}
    try:
        with limits.in_transaction(owner):
            specs = limits.admit_new(owner, specs, now=now)
            if names:
                require_free(names, owner, specs[0].surface, now=now)
            wanted = [Wanted(spec) for spec in specs]
            with admission.admitted(
                owner, wanted, now=now, is_admitted=is_admitted
            ) as placed:
                if any(spec.is_paused for spec in placed):
                    return _create_paused(owner, placed, now=now)
                return task_rows.insert_tasks(owner, placed, now=now)
    except IntegrityError as error:
        if task_rows.NAME_CONSTRAINT not in str(error):
            raise
        # Another request has just given one of the names.
        raise NameTaken(names) from None


@transaction.atomic
def _create_paused(
    owner: User, specs: Sequence[TaskSpec], *, now: datetime
) -> list[task_rows.NewTask]:
    """Store tasks and pause some, in one transaction, so that none fires."""
    rows = task_rows.insert_tasks(owner, specs, now=now)
    made = zip(rows, specs, strict=True)
    set_paused(owner, [row.id for row, spec in made if spec.is_paused], True)
    return rows


def change_task(user: User, task: Task, spec: TaskSpec, *, now: datetime) -> Task:
    """Change a task that the caller has locked to its spec; return the changed task."""
    is_changed = bool(rewrite_tasks(user, [(task, spec)], now=now))
    if is_changed:
        audit.record(task.tenant_id, "task.change", [task.pk])
    if spec.is_paused is not None:
        is_changed |= set_paused(user, [task.pk], spec.is_paused)
    return Task.objects.with_schedule().get(pk=task.pk) if is_changed else task


def rewrite_tasks(
    owner: User,
    desired: Sequence[tuple[Task, TaskSpec]],
    *,
    now: datetime,
    is_admitted: bool = False,
) -> list[Task]:
    """Change tasks that the caller has locked to their specs, in few statements.

    Returns the tasks that differed; the caller must write the audit entry. Raises
    TaskBusy with the name of a one-off that cannot move while its request is under way,
    LimitReached, and DoesNotFit if they do not fit a lane, unless they are admitted
    already.
    """
    resolved = resolve_calendars(owner, [spec for _, spec in desired], now=now)
    following = [
        (task, spec) for (task, _), spec in zip(desired, resolved, strict=True)
    ]
    desired = limits.admit_changes(owner, following, now=now)
    for task, spec in desired:
        _claim_name(owner, task, spec, now=now)
        _require_runs_left(task, spec)
    wanted = [Wanted(spec, task) for task, spec in desired]
    with admission.admitted(owner, wanted, now=now, is_admitted=is_admitted) as specs:
        placed = [(task, spec) for (task, _), spec in zip(desired, specs, strict=True)]
        return _rewrite(placed, now=now)


def _rewrite(desired: Sequence[tuple[Task, TaskSpec]], *, now: datetime) -> list[Task]:
    one_offs = {task.pk for task, _ in desired if task.periodic_task.one_off}
    without_limit = [
        task.pk
        for task, spec in desired
        if task.max_runs is not None and spec.max_runs is None
    ]
    holding = calendars_that_hold(task.calendars for task, _ in desired)
    changed, moved, moved_at = task_rows.rewrite_tasks(desired)
    if moved_at is not None:
        _restart([task.pk for task in moved], one_offs, now=moved_at)
        held_runs.place_all_anew(holding, now=moved_at)
    if without_limit:
        # Their runs are not counted any more; with another limit, the count begins anew.
        Task.objects.filter(pk__in=without_limit).update(runs_made=0)
    return changed


def _restart(
    ids: Sequence[uuid.UUID], one_offs: Collection[uuid.UUID], *, now: datetime
) -> None:
    """Let tasks with a changed schedule start anew, as if they had never fired."""
    if were_one_offs := [task_id for task_id in ids if task_id in one_offs]:
        _refuse_under_way(were_one_offs)
        delete_unstarted(were_one_offs)
    tasks = list(Task.objects.filter(pk__in=ids).with_schedule())
    for task in tasks:
        task.last_fire_at = None
    reschedule(tasks, now=now)


def _claim_name(owner: User, task: Task, spec: TaskSpec, *, now: datetime) -> None:
    """Lock the new name of a task, if it has one. Raises NameTaken."""
    if spec.name and spec.name != task.name:
        lock_name(tenant_of(owner), spec.surface, spec.name)
        require_free({spec.name}, owner, spec.surface, now=now)


def _require_runs_left(task: Task, spec: TaskSpec) -> None:
    if spec.max_runs is not None and spec.max_runs <= task.runs_made:
        named = f"{task.name}: " if task.name else ""
        raise InvalidTask(
            "max_runs",
            f"{named}max_runs should be greater than {task.runs_made}, the number of runs "
            "that the task has made",
        )


def _refuse_under_way(ids: Collection[uuid.UUID]) -> None:
    runs = Run.objects.filter(task__in=ids, scheduled_for=F("task__last_fire_at"))
    begun = runs.filter(attempt_count__gt=0)
    if (name := begun.values_list("task__name", flat=True).first()) is not None:
        named = f"{name}: " if name else ""
        raise TaskBusy(
            f"{named}The request of this task is under way; it cannot be moved"
        )
