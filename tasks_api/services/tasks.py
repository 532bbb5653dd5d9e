"""What a user can do with tasks: create, replace, remove, pause, resume."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from django.db import DEFAULT_DB_ALIAS, IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts import audit, encryption
from accounts.models import Tenant, User
from scheduler_service.db import locks
from scheduler_service.db.arrays import array, columns
from scheduler_service.db.locks import LockKind
from tasks_api.domain.exceptions import (
    NameTaken,
    NotNow,
    NotYourTask,
    ScheduleError,
    TaskBusy,
    TaskNotFound,
)
from tasks_api.domain.ids import id_for
from tasks_api.domain.specs import Overlap, Surface, TaskSpec
from tasks_api.models import Run, Task, TaskQuerySet
from tasks_api.services import notifications
from tasks_api.storage import (
    beat_tables,
    run_rows,
    schedule_changes,
    task_counts,
    task_rows,
)


def create_task(owner: User, spec: TaskSpec, *, now: datetime) -> Task:
    """Store a task. Raises NameTaken if the tenant has one of its name.

    Of what is returned, the database is asked for its schedule when somebody asks.
    """
    [row] = create_tasks(owner, [spec], now=now)
    if spec.is_paused:
        return Task.objects.get(pk=row.id)
    known = {**row._asdict(), "tags": list(spec.tags), "version": 1}
    names = [f.attname for f in Task._meta.concrete_fields if f.attname in known]
    return Task.from_db(DEFAULT_DB_ALIAS, names, [known[name] for name in names])


def create_tasks(
    owner: User, specs: Sequence[TaskSpec], *, now: datetime
) -> list[task_rows.Row]:
    """Store tasks of one surface, all of them or none, in a few statements.

    Their names must differ. Raises NameTaken with those that are taken.
    """
    names = {spec.name for spec in specs if spec.name}
    try:
        if names:
            _free(names, owner, specs[0].surface, now=now)
        if any(spec.is_paused for spec in specs):
            return _create_paused(owner, specs, now=now)
        return task_rows.insert(owner, specs, now=now)
    except IntegrityError as error:
        if task_rows.NAME_ONCE not in str(error):
            raise
        # Somebody else gave one of them at this moment.
        raise NameTaken(names) from None


@transaction.atomic
def _create_paused(
    owner: User, specs: Sequence[TaskSpec], *, now: datetime
) -> list[task_rows.Row]:
    """Store tasks of which some are paused, before anybody could fire them."""
    rows = task_rows.insert(owner, specs, now=now)
    made = zip(rows, specs, strict=True)
    _set_paused(owner, [row.id for row, spec in made if spec.is_paused], True)
    return rows


@transaction.atomic
def _free(names: set[str], owner: User, surface: str, *, now: datetime) -> None:
    tasks = Task.objects.filter(tenant=owner.tenant_id, surface=surface)
    named = tasks.filter(name__in=names, ended_at=None).exclude(name="")
    _bury(named, now=now)
    if taken := set(named.values_list("name", flat=True)):
        raise NameTaken(taken)


@transaction.atomic
def put_named(
    owner: User,
    name: str,
    read: Callable[[Task | None], TaskSpec],
    *,
    surface: Surface,
    now: datetime,
) -> tuple[Task, bool]:
    """Create the task of a name, or make the one that has it what `read` says.

    `read` is given the task as it is, or None, and may refuse. A task that is there
    keeps its id, its history and its pause. Returns it, and whether it is new.
    """
    tenant = owner.tenant
    assert tenant is not None
    _lock(tenant, surface, name)
    named = Task.objects.for_tenant(tenant).named(surface, name)
    _bury(named, now=now)
    task = _reached(owner, named)
    if task is not None:
        return _change(owner, task, read, now=now), False
    return create_task(owner, read(None), now=now), True


@transaction.atomic
def change_task(
    owner: User,
    task_id: str,
    read: Callable[[Task], TaskSpec],
    *,
    surface: Surface,
    now: datetime,
) -> Task:
    """Make a task what `read` says, which is given it as it is, and may refuse."""
    [task] = _own(owner, [task_id], now=now, surface=surface, schedules=True)
    return _change(owner, task, read, now=now)


def _change(
    owner: User, task: Task, read: Callable[[Task], TaskSpec], *, now: datetime
) -> Task:
    if not owner.reaches(tenant_id=task.tenant_id, owner_id=task.owner_id):
        raise NotYourTask("Task does not belong to this user")
    spec = read(task)
    is_changed = bool(rewrite(owner, [(task, spec)], now=now))
    if is_changed:
        audit.record(task.tenant_id, "task.change", [task.pk])
    if spec.is_paused is not None:
        is_changed |= _set_paused(owner, [task.pk], spec.is_paused)
    return Task.objects.with_schedule().get(pk=task.pk) if is_changed else task


def rewrite(
    owner: User, wanted: Sequence[tuple[Task, TaskSpec]], *, now: datetime
) -> list[Task]:
    """Make tasks that the caller has locked others, in few statements, and log nothing.

    Returns those that were something else. Raises TaskBusy with the name of one whose
    request is under way, where that is in the way.
    """
    for task, spec in wanted:
        _claim_name(owner, task, spec, now=now)
    one_offs = {task.pk for task, _ in wanted if task.periodic_task.one_off}
    changed, was_moved, moved_at = task_rows.rewrite(wanted)
    if moved_at is None:
        return changed
    moved = Task.objects.filter(pk__in=[task.pk for task in was_moved])
    were_one_offs = [task.pk for task in was_moved if task.pk in one_offs]
    if were_one_offs:
        _refuse_under_way(were_one_offs)
        _delete_unstarted(were_one_offs)
    tasks = list(moved.with_schedule())
    for task in tasks:
        # Nothing of the old schedule counts for the new one.
        task.last_fire_at = None
    plan(tasks, now=moved_at)
    return changed


def _claim_name(owner: User, task: Task, spec: TaskSpec, *, now: datetime) -> None:
    """Let a task have another name, if it is free."""
    if spec.name and spec.name != task.name:
        assert owner.tenant is not None
        _lock(owner.tenant, spec.surface, spec.name)
        _free({spec.name}, owner, spec.surface, now=now)


def _refuse_under_way(ids: Collection[uuid.UUID]) -> None:
    runs = Run.objects.filter(task__in=ids, scheduled_for=F("task__last_fire_at"))
    begun = runs.filter(attempt_count__gt=0)
    if (name := begun.values_list("task__name", flat=True).first()) is not None:
        named = f"{name}: " if name else ""
        raise TaskBusy(
            f"{named}The request of this task is under way; it cannot be moved"
        )


def _reached(owner: User, named: TaskQuerySet) -> Task | None:
    """Lock the task of a name, if there is one. Raises NotYourTask where others have it."""
    tasks = named.reached_by(owner).with_schedule()
    task = tasks.select_for_update(no_key=True, of=("self",)).first()
    if task is None and named.exists():
        raise NotYourTask("What has this id belongs to another user")
    return task


@transaction.atomic
def put_task(owner: User, spec: TaskSpec, *, now: datetime) -> None:
    """Create a recurring task, or replace the tenant's one of that name.

    A replaced task keeps its id and its history, and its last run. What waits for a
    retry is cancelled; a request under way finishes, and is not made again. Raises
    NotYourTask where another user has the name.
    """
    tenant = owner.tenant
    assert tenant is not None
    _lock(tenant, spec.surface)
    named = Task.objects.for_tenant(tenant).named(spec.surface, spec.name)
    _bury(named, now=now)
    task = _reached(owner, named)
    if task is None:
        task_rows.insert(owner, [spec], now=now)
        return
    audit.record(tenant.pk, "task.replace", [task.pk])
    task_rows.replace(task, spec, owner, now=now)
    task.periodic_task.enabled = True
    _stop_without_owner([task])
    begun = Run.objects.filter(task=task, attempt_count__gt=0).not_started()
    begun.cancel("The task was replaced.")


@transaction.atomic
def put_set(
    owner: User, specs: Sequence[TaskSpec], *, surface: Surface, now: datetime
) -> None:
    """Make these the tenant's only named tasks of a surface, all at once.

    Those that stay as they are keep their place in time; the others are new.
    """
    tenant = owner.tenant
    assert tenant is not None
    _lock(tenant, surface)
    tasks = Task.objects.for_tenant(tenant).of(surface)
    _bury(tasks, now=now)
    wanted = {spec.name: spec for spec in specs}
    gone = []
    alive = tasks.filter(ended_at=None).exclude(name="").order_by("pk")
    rows = alive.select_for_update(no_key=True)
    for task_id, name, *place in rows.values_list(
        "pk", "name", *task_rows.Place._fields
    ):
        spec = wanted.get(name)
        if spec and task_rows.Place(*place).is_of(
            beat_tables.stored_as(spec.schedule, created_at=now)
        ):
            del wanted[name]
        else:
            gone.append(task_id)
    _remove(gone)
    audit.record(tenant.pk, "task.remove", gone)
    if wanted:
        task_rows.insert(owner, list(wanted.values()), now=now)


def _lock(tenant: Tenant, surface: str, name: str = "") -> None:
    """Let one request at a time give a tenant's tasks this name, or any, until it commits."""
    locks.acquire(LockKind.NAMES, tenant.pk, surface, name)


def _bury(tasks: TaskQuerySet, *, now: datetime) -> None:
    """Mark those that are past their end, whose names are free again."""
    past = tasks.filter(ended_at=None, ends_at__lt=now).order_by("pk")
    locked = past.select_for_update(no_key=True)
    if ids := list(locked.values_list("pk", flat=True)):
        task_counts.end(
            ids, now=schedule_changes.close(ids, schedule_changes.What.OVER)
        )


@transaction.atomic
def remove_task(
    owner: User,
    task_id: str,
    *,
    now: datetime,
    surface: Surface | None = None,
    allow: Callable[[Task], None] = lambda task: None,
) -> None:
    """End a task, unless `allow`, which is given it as it is, refuses."""
    [task] = _own(owner, [task_id], now=now, surface=surface)
    allow(task)
    _remove([task.pk])
    audit.record(task.tenant_id, "task.remove", [task.pk])


@transaction.atomic
def remove_named(owner: User, name: str, *, surface: Surface, now: datetime) -> None:
    """End the task of a name. Raises TaskNotFound, and NotYourTask where others have it."""
    assert owner.tenant is not None
    named = Task.objects.for_tenant(owner.tenant).named(surface, name).alive(now)
    task = _reached(owner, named)
    if task is None:
        raise TaskNotFound("There is no job with this id")
    _remove([task.pk])
    audit.record(task.tenant_id, "task.remove", [task.pk])


@transaction.atomic
def remove_tasks(tasks: TaskQuerySet, *, now: datetime) -> int:
    """Remove those of the tasks that are alive; returns how many there were."""
    rows = tasks.alive(now).order_by("pk").select_for_update(no_key=True, of=("self",))
    gone = list(rows)
    _remove([task.pk for task in gone])
    log("task.remove", gone)
    return len(gone)


def log(action: str, tasks: Iterable[Task]) -> None:
    """Say in the audit log of each tenant what was done to its tasks."""
    of_tenant: dict[int, list[uuid.UUID]] = {}
    for task in tasks:
        of_tenant.setdefault(task.tenant_id, []).append(task.pk)
    for tenant_id, ids in of_tenant.items():
        audit.record(tenant_id, action, ids)


@transaction.atomic
def end_tasks(gone: Mapping[uuid.UUID, str], *, now: datetime) -> None:
    """End the tasks whose URLs are gone for good, unless they have others by now.

    A run under way finishes.
    """
    alive = Task.objects.filter(pk__in=gone, ended_at=None).order_by("pk")
    rows = alive.select_related("owner").select_for_update(no_key=True, of=("self",))
    ended = [t for t in rows if encryption.is_same_url(t.url, gone[t.pk])]
    if not ended:
        return
    locked = [task.pk for task in ended]
    at = schedule_changes.close(locked, schedule_changes.What.OVER)
    beat_tables.end(locked, now=at, reason="gone (HTTP 410)")
    reason = "The target of the task is gone (HTTP 410)."
    _take_back(locked, reason=reason)
    with audit.acting_as(audit.SERVICE):
        log("task.end", ended)
        notifications.write(
            [
                notifications.Notice("task.ended", task, reason, "HTTP 410")
                for task in ended
            ],
            now=at,
        )


@transaction.atomic
def pause_failing(failing: Mapping[uuid.UUID, tuple[int, str]]) -> None:
    """Pause tasks whose runs fail one after the other, and tell their tenants.

    For each, how many failed and why the last one did. Those that are paused stay so.
    """
    rows = Task.objects.filter(pk__in=failing, ended_at=None).order_by("pk")
    rows = rows.select_related("periodic_task", "owner")
    tasks = [
        task
        for task in rows.select_for_update(no_key=True, of=("self",))
        if task.periodic_task.enabled
    ]
    if not tasks:
        return
    at = schedule_changes.close(
        [task.pk for task in tasks], schedule_changes.What.PAUSED
    )
    stop(tasks)
    told = []
    for task in tasks:
        count, error = failing[task.pk]
        several = f"{count} runs in a row" if count > 1 else "A run"
        task.pause_reason = f"{several} failed; the last one: {error}"
        told.append(notifications.Notice("task.paused", task, task.pause_reason, error))
    Task.objects.bulk_update(tasks, ["pause_reason"])
    with audit.acting_as(audit.SERVICE):
        log("task.pause", tasks)
        notifications.write(told, now=at)


def _remove(ids: Collection[uuid.UUID]) -> None:
    if not ids:
        return
    at = schedule_changes.close(ids, schedule_changes.What.REMOVED)
    beat_tables.end(ids, now=at, reason="removed")
    _take_back(ids, reason="The task was removed.")


@transaction.atomic
def pause_tasks(
    owner: User,
    ids: Sequence[str],
    *,
    now: datetime,
    surface: Surface | None = None,
) -> None:
    """Stop the schedules of all of these tasks, or of none.

    A run under way finishes. A one-off that was due waits, and runs on resume.
    """
    _pause_each(owner, _own(owner, ids, now=now, surface=surface))


def _set_paused(owner: User, ids: Collection[uuid.UUID], is_paused: bool) -> bool:
    """Pause or resume tasks that the caller has locked; returns whether any was not so."""
    rows = Task.objects.filter(pk__in=ids).with_schedule().order_by("pk")
    return bool((_pause_each if is_paused else _resume_each)(owner, list(rows)))


def _pause_each(owner: User, tasks: Sequence[Task]) -> list[Task]:
    """Pause those of the tasks that are not; returns them."""
    going = [task for task in tasks if task.periodic_task.enabled]
    if any(task.suspended for task in tasks):
        # From now on they are paused like others, also when their user is back.
        held = [task.pk for task in tasks if task.suspended]
        Task.objects.filter(pk__in=held).update(suspended=False, pause_reason="")
    schedule_changes.close([task.pk for task in going], schedule_changes.What.PAUSED)
    stop(going)
    audit.record(owner.tenant_id, "task.pause", [task.pk for task in going])
    return going


def stop(tasks: Sequence[Task]) -> None:
    """Pause tasks that the caller has locked, and whose schedules it has closed."""
    ids = [task.pk for task in tasks]
    beat_tables.set_enabled(ids, False)
    Task.objects.filter(pk__in=ids).update(next_fire_at=None)
    recurring = [task.pk for task in tasks if not task.periodic_task.one_off]
    _take_back(recurring, reason="The task was paused.", spares_by_hand=True)


@transaction.atomic
def resume_tasks(
    owner: User,
    ids: Sequence[str],
    *,
    now: datetime,
    surface: Surface | None = None,
) -> None:
    """Let all of these tasks fire again, each at its next fire time, or none."""
    _resume_each(owner, _own(owner, ids, now=now, surface=surface, schedules=True))


def _resume_each(owner: User, tasks: Sequence[Task]) -> list[Task]:
    """Resume those of the tasks that are paused; returns them."""
    _refuse_without_owner(owner, tasks)
    paused = [task for task in tasks if not task.periodic_task.enabled]
    go_on(paused)
    audit.record(owner.tenant_id, "task.resume", [task.pk for task in paused])
    return paused


def _refuse_without_owner(owner: User, tasks: Sequence[Task]) -> None:
    others = {task.owner_id for task in tasks if task.owner_id != owner.pk}
    gone = User.objects.filter(pk__in=others, is_active=False) if others else []
    if not owner.is_active or gone:
        raise NotNow(
            "The user of the task is deactivated; activate them, or hand their tasks over"
        )


def go_on(paused: Sequence[Task]) -> None:
    """Resume paused tasks that the caller has locked, with their schedules loaded."""
    if not paused:
        return
    resumed = [task.pk for task in paused]
    at = schedule_changes.close(resumed, schedule_changes.What.RESUMED)
    Task.objects.filter(pk__in=resumed, suspended=True).update(suspended=False)
    beat_tables.set_enabled(resumed, True)
    for task in paused:
        task.periodic_task.enabled = True
    plan(paused, now=at)
    Run.objects.filter(task__in=resumed).not_started().update(wake_at=Now())
    streaks = Task.objects.filter(pk__in=resumed, failure_streak__gt=0)
    streaks.update(failure_streak=0)


@transaction.atomic(durable=True)
def adopt_edits(ids: Sequence[uuid.UUID]) -> int:
    """Make tasks follow what was changed in their schedules by somebody else.

    Returns how many there were. What was dispatched ahead by the old schedule and has
    not started is taken back first.
    """
    locked = Task.objects.filter(pk__in=ids, ended_at=None).with_schedule()
    tasks = list(locked.select_for_update(no_key=True, of=("self",), skip_locked=True))
    at = schedule_changes.close(
        [task.pk for task in tasks], schedule_changes.What.EDITED
    )
    _stop_without_owner(tasks)
    stop([task for task in tasks if not task.periodic_task.enabled])
    _forget_one_offs([task for task in tasks if task.periodic_task.enabled])
    plan(tasks, now=at)
    log("schedule.change", tasks)
    return len(tasks)


def _stop_without_owner(tasks: Sequence[Task]) -> None:
    """Let tasks wait again that somebody has let go while their user is deactivated."""
    gone = User.objects.filter(pk__in={task.owner_id for task in tasks})
    without = set(gone.filter(is_active=False).values_list("pk", flat=True))
    held = [task for task in tasks if task.owner_id in without]
    held = [task for task in held if task.surface != Surface.NOTICES]
    ids = [task.pk for task in held if task.periodic_task.enabled]
    beat_tables.set_enabled(ids, False)
    Task.objects.filter(pk__in=ids).update(suspended=True, next_fire_at=None)
    for task in held:
        task.periodic_task.enabled = False


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
                ends_at = planned.ends_at, last_fire_at = planned.last_fire_at,
                pause_reason = planned.pause_reason,
                version = version + (task.planned_from <> planned.planned_from)::int
            FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::timestamptz[],
                        %s::timestamptz[], %s::text[])
                AS planned(id, next_fire_at, planned_from, ends_at, last_fire_at,
                    pause_reason)
            WHERE task.id = planned.id
            """,
            columns(rows),
        )
    beat_tables.set_enabled([task_id for task_id, *_, reason in rows if reason], False)


def _forget_one_offs(tasks: Sequence[Task]) -> None:
    """Drop the runs of one-offs that an edit made untrue: of the old moment, not begun."""
    one_offs = [
        task.pk
        for task in tasks
        if task.periodic_task.one_off or beat_tables.is_one_off(task.planned_from)
    ]
    _delete_unstarted(one_offs)
    last = Run.objects.filter(task__in=one_offs, scheduled_for=F("task__last_fire_at"))
    begun = set(last.values_list("task_id", flat=True))
    for task in tasks:
        if task.pk not in begun:
            task.last_fire_at = None


def _continue(
    task: Task, now: datetime
) -> tuple[datetime | None, str, datetime | None, datetime | None, str]:
    """What plan() writes: next_fire_at, planned_from, ends_at, last_fire_at, pause_reason."""
    stored, last = beat_tables.stored_of(task), task.last_fire_at
    try:
        upcoming, reason = (
            beat_tables.first_fire(
                stored, now=now, last_fire_at=last, surface=task.surface
            ),
            "",
        )
    except ScheduleError as error:
        upcoming, reason = None, str(error)
    return upcoming, beat_tables.plan_of(stored), stored.expires, last, reason


def fire_task(task_id: uuid.UUID, *, now: datetime) -> uuid.UUID | None:
    """Make a run of a task at once, beside its schedule.

    None when the task has ended, or may not overlap with the run that it has. Of a task
    that lets one run wait, this one may be it.
    """
    return next(iter(fire_tasks([task_id], now=now)), None)


@transaction.atomic
def fire_tasks(task_ids: Collection[uuid.UUID], *, now: datetime) -> list[uuid.UUID]:
    """Make a run of each of these tasks at once, as `fire_task` does; the runs made.

    In some statements, however many tasks there are. Who calls rings after the commit.
    """
    # Locked as dispatch locks them, which may let a run begin at this moment.
    tasks = Task.objects.alive(now).filter(pk__in=task_ids).order_by("pk")
    runs = [
        _run_by_hand(task, now)
        for task in tasks.select_for_update(no_key=True, of=("self",))
    ]
    Run.objects.bulk_create(runs, ignore_conflicts=True)
    run_rows.move_up_in([run.task_id for run in runs if run.is_next])
    stored = Run.objects.filter(pk__in=[run.pk for run in runs])
    ids = set(stored.values_list("pk", flat=True))
    made = [run for run in runs if run.pk in ids]
    log("task.run", [run.task for run in made])
    return [run.pk for run in made]


def _run_by_hand(task: Task, now: datetime) -> Run:
    is_in_line = task.overlap == Overlap.QUEUE_ONE
    return Run(
        id=id_for(now, task.tenant_id),
        task=task,
        tenant_id=task.tenant_id,
        scheduled_for=now,
        wake_at=now,
        exclusive=task.overlap == Overlap.SKIP,
        is_next=is_in_line,
        reason=run_rows.WAITS if is_in_line else "",
        by_hand=True,
    )


@transaction.atomic
def run_now(owner: User, task_id: str, *, surface: Surface, now: datetime) -> uuid.UUID:
    """Make a run of a task at once, beside its schedule, paused or not.

    Who calls rings for it after the commit. Raises TaskBusy where it would overlap.
    """
    [task] = _own(owner, [task_id], now=now, surface=surface)
    run_id = fire_task(task.pk, now=now)
    if run_id is None:
        raise TaskBusy("The task may not overlap, and the run before is not over")
    return run_id


def _own(
    owner: User,
    ids: Iterable[str],
    *,
    now: datetime,
    surface: Surface | None,
    schedules: bool = False,
) -> list[Task]:
    """Lock tasks that a user reaches. All of them exist and are such, or none is touched."""
    wanted = {parse_id(task_id) for task_id in ids}
    found = Task.objects.alive(now).filter(pk__in=wanted)
    if surface is not None:
        found = found.filter(surface=surface)
    # What others have is counted and never locked, so nobody can hold it up.
    rows = found.reached_by(owner).select_related("periodic_task")
    if schedules:
        rows = rows.with_schedule()
    # In one order everywhere, so that two requests never wait for each other.
    rows = rows.order_by("pk")
    tasks = list(rows.select_for_update(no_key=True, of=("self",)))
    if len(tasks) == len(wanted):
        return tasks
    if found.count() < len(wanted):
        raise TaskNotFound("Task not found")
    raise NotYourTask("Task does not belong to this user")


def parse_id(task_id: str) -> uuid.UUID:
    """The id that a client wrote; whatever cannot be one is the id of no task."""
    try:
        return uuid.UUID(task_id)
    except ValueError:
        raise TaskNotFound("Task not found") from None


def _take_back(
    task_ids: Collection[uuid.UUID], *, reason: str, spares_by_hand: bool = False
) -> None:
    """Cancel what has not started; what somebody asked for goes beside the schedule."""
    # The state is in the statement's own WHERE: a worker that claims a run meanwhile wins.
    _change_runs(
        """
        UPDATE tasks_api_run SET state = 'cancelled', reason = %s, wake_at = NULL,
            finished_at = now()
        WHERE task_id = ANY(%s::uuid[]) AND state IN ('pending', 'retrying')
            AND NOT (by_hand AND %s)
        """,
        reason,
        array(task_ids),
        spares_by_hand,
    )


def _delete_unstarted(task_ids: Collection[uuid.UUID]) -> None:
    """Delete what the schedule made, and not what somebody asked for."""
    _change_runs(
        """
        DELETE FROM tasks_api_run
        WHERE task_id = ANY(%s::uuid[]) AND state = 'pending' AND attempt_count = 0
            AND NOT by_hand
        """,
        array(task_ids),
    )


def _change_runs(statement: str, *values: str | bool) -> None:
    # Not by QuerySet, which reads first: the row might be claimed in between. And of
    # thousands of ids, each would be a parameter of its own.
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
