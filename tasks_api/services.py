"""What a user can do with tasks: create, remove, pause, resume."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.models import User
from tasks_api import periodic
from tasks_api.arrays import array, columns
from tasks_api.exceptions import NotYourTask, ScheduleError, TaskNotFound
from tasks_api.models import Run, Task, id_for, new_id
from tasks_api.specs import TaskSpec
from tasks_api.states import RunState


@transaction.atomic
def create_task(owner: User, spec: TaskSpec, *, now: datetime) -> Task:
    task = Task(
        id=new_id(),
        tenant=owner.tenant,
        owner=owner,
        surface=spec.surface,
        method=spec.method,
        url=spec.url,
        body=spec.body,
        created_at=now,
    )
    task.periodic_task = periodic.create(
        task.id, spec.schedule, description=f"{spec.method} {spec.url} for {owner}"
    )
    stored = periodic.stored_of(task)
    task.planned_from = periodic.plan_of(stored)
    # From the start, not from now: whoever lets the past in wants it to run at once.
    task.next_fire_at = spec.schedule.first_from(
        datetime.min.replace(tzinfo=now.tzinfo)
    )
    task.save(force_insert=True)
    return task


@transaction.atomic
def remove_task(owner: User, task_id: str, *, now: datetime) -> None:
    ids = [task.pk for task in _own(owner, [task_id], now=now)]
    periodic.set_enabled(ids, False)
    Task.objects.filter(pk__in=ids).update(
        ended_at=now, end_reason="removed", next_fire_at=None
    )
    _take_back(ids, reason="The task was removed.")


@transaction.atomic
def pause_tasks(owner: User, ids: Sequence[str], *, now: datetime) -> None:
    """Stop the schedules of all of these tasks, or of none.

    A run under way finishes. A one-off that was due waits, and runs on resume.
    """
    tasks = _own(owner, ids, now=now)
    _pause([task for task in tasks if task.periodic_task.enabled])


def _pause(tasks: Sequence[Task]) -> None:
    ids = [task.pk for task in tasks]
    periodic.set_enabled(ids, False)
    Task.objects.filter(pk__in=ids).update(next_fire_at=None)
    recurring = [task.pk for task in tasks if not task.periodic_task.one_off]
    _take_back(recurring, reason="The task was paused.")


@transaction.atomic
def resume_tasks(owner: User, ids: Sequence[str], *, now: datetime) -> None:
    """Let all of these tasks fire again, each at its next fire time, or none."""
    tasks = _own(owner, ids, now=now, schedules=True)
    paused = [task for task in tasks if not task.periodic_task.enabled]
    resumed = [task.pk for task in paused]
    periodic.set_enabled(resumed, True)
    for task in paused:
        task.periodic_task.enabled = True
    plan(paused, now=now)
    Run.objects.filter(task__in=resumed).not_started().update(wake_at=Now())


@transaction.atomic(durable=True)
def adopt_edits(ids: Sequence[uuid.UUID], *, now: datetime) -> int:
    """Make tasks follow what was changed in their schedules by somebody else.

    Returns how many there were. What was dispatched ahead by the old schedule and has
    not started is taken back first.
    """
    locked = Task.objects.filter(pk__in=ids, ended_at=None).with_schedule()
    tasks = list(locked.select_for_update(of=("self",), skip_locked=True))
    _pause([task for task in tasks if not task.periodic_task.enabled])
    _forget_ahead([task for task in tasks if task.periodic_task.enabled])
    plan(tasks, now=now)
    return len(tasks)


def plan(tasks: Sequence[Task], *, now: datetime) -> None:
    """Set where each task continues, from its schedule, in one statement."""
    rows = [(task.pk, *_continue(task, now)) for task in tasks]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE tasks_api_task task SET
                next_fire_at = planned.next_fire_at, planned_from = planned.planned_from,
                pause_reason = planned.pause_reason, last_fire_at = planned.last_fire_at
            FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::text[],
                        %s::timestamptz[])
                AS planned(id, next_fire_at, planned_from, pause_reason, last_fire_at)
            WHERE task.id = planned.id
            """,
            columns(rows),
        )
    periodic.set_enabled([task_id for task_id, *_, reason, _ in rows if reason], False)


def _forget_ahead(tasks: Sequence[Task]) -> None:
    """Drop the runs that an edit made untrue: dispatched by the old schedule, not begun."""
    _delete_ahead([task.pk for task in tasks])
    one_offs = [task.pk for task in tasks if task.periodic_task.one_off]
    _delete_unstarted(one_offs)
    last = Run.objects.filter(task__in=one_offs, scheduled_for=F("task__last_fire_at"))
    begun = set(last.values_list("task_id", flat=True))
    for task in tasks:
        if task.pk not in begun:
            task.last_fire_at = None


def _continue(
    task: Task, now: datetime
) -> tuple[datetime | None, str, str, datetime | None]:
    stored = periodic.stored_of(task)
    planned_from = periodic.plan_of(stored)
    try:
        upcoming = periodic.first_fire(stored, now=now, last_fire_at=task.last_fire_at)
    except ScheduleError as error:
        return None, planned_from, str(error), task.last_fire_at
    return upcoming, planned_from, "", task.last_fire_at


@transaction.atomic
def fire_task(task_id: uuid.UUID, *, now: datetime) -> uuid.UUID | None:
    """Make a run of a task at once, beside its schedule; None when it has ended."""
    task = Task.objects.alive(now).filter(pk=task_id).first()
    if task is None:
        return None
    run = Run(id=id_for(now), task=task, tenant_id=task.tenant_id, scheduled_for=now)
    run.wake_at = now
    run.save(force_insert=True)
    return run.pk


def _own(
    owner: User, ids: Iterable[str], *, now: datetime, schedules: bool = False
) -> list[Task]:
    """Lock tasks of one owner. All of them exist and are his, or none is touched."""
    wanted = {parse_id(task_id) for task_id in ids}
    rows = Task.objects.alive(now).filter(pk__in=wanted).select_related("periodic_task")
    if schedules:
        rows = rows.with_schedule()
    # In one order everywhere, so that two requests never wait for each other.
    rows = rows.order_by("pk")
    tasks = list(rows.select_for_update(of=("self",)))
    if len(tasks) < len(wanted):
        raise TaskNotFound("Task not found")
    if any(task.owner_id != owner.pk for task in tasks):
        raise NotYourTask("Task does not belong to this user")
    return tasks


def parse_id(task_id: str) -> uuid.UUID:
    """The id that a client wrote; whatever cannot be one is the id of no task."""
    try:
        return uuid.UUID(task_id)
    except ValueError:
        raise TaskNotFound("Task not found") from None


def _take_back(task_ids: Collection[uuid.UUID], *, reason: str) -> None:
    """Cancel what has not started; what was only dispatched ahead never happened."""
    _delete_ahead(task_ids)
    # The state is in the statement's own WHERE: a worker that claims a run meanwhile wins.
    Run.objects.filter(task__in=task_ids).not_started().update(
        state=RunState.CANCELLED, reason=reason, wake_at=None, finished_at=Now()
    )


def _delete_ahead(task_ids: Collection[uuid.UUID]) -> None:
    _delete_runs(
        "task_id = ANY(%s::uuid[]) AND state = 'pending' AND attempt_count = 0"
        " AND scheduled_for > now()",
        task_ids,
    )


def _delete_unstarted(task_ids: Collection[uuid.UUID]) -> None:
    _delete_runs(
        "task_id = ANY(%s::uuid[]) AND state = 'pending' AND attempt_count = 0",
        task_ids,
    )


def _delete_runs(condition: str, task_ids: Collection[uuid.UUID]) -> None:
    # Not QuerySet.delete(), which reads first: the row might be claimed in between.
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM tasks_api_run WHERE {condition}",  # noqa: S608 (constants)
            [array(task_ids)],
        )
