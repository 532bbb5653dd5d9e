"""Store, replace and rewrite tasks, many in a statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as replace_in
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import F

from accounts import audit, encryption
from accounts.models import User
from scheduler_service.db import clock
from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.domain.request_options import parse_options
from tasks_api.domain.schedule_parts import without_spread
from tasks_api.domain.schedules import (
    Interval,
    Once,
    Schedule,
    first_after,
    grid_of,
    with_offset,
    with_spread,
)
from tasks_api.domain.specs import (
    RequestOptions,
    Surface,
    TaskSpec,
    summary,
)
from tasks_api.models import Task
from tasks_api.storage import (
    lane_rows,
    schedule_changes,
    schedule_rows,
    stored_schedules,
)
from tasks_api.storage.schedule_statements import TASK_ONLY_COLUMNS
from tasks_api.storage.stored_schedules import SCHEDULE_COLUMNS, StoredSchedule
from tasks_api.storage.task_columns import (
    SPEC_COLUMNS,
    columns_of,
    parameters,
)
from tasks_api.storage.task_statements import (
    INSERT_TAGS,
    INSERT_TASKS,
    UPDATE_TASKS,
    UPDATED_COLUMNS,
)


class NewTask(NamedTuple):
    """A task that was stored, and the values of its columns."""

    id: UUID
    columns: dict[str, Any]
    stored: StoredSchedule


# The constraint that gives a name to one living task only.
NAME_CONSTRAINT = "task_name_once_while_alive"


def insert_tasks(
    owner: User, specs: Sequence[TaskSpec], *, now: datetime
) -> list[NewTask]:
    """Store new tasks with their schedules, all or none, and write an audit entry.

    Raises an IntegrityError of NAME_CONSTRAINT if a name is not free.
    """
    lane_rows.require_lanes(owner.tenant_id, specs)
    made = [_new_task(owner, spec, now=now) for spec in specs]
    schedules = schedule_rows.prepare_schedules(
        [
            (describe(spec, owner), task.stored)
            for spec, task in zip(specs, made, strict=True)
        ]
    )
    rows = [parameters(task.columns.values()) for task in made]
    with prepared(rows=len(rows)) as cursor:
        entry = audit.entry_values(
            owner.tenant_id, audit.TASK_CREATE, [task.id for task in made]
        )
        cursor.execute(INSERT_TASKS, [*entry, *columns(rows), *columns(schedules)])
    return made


def _new_task(owner: User, spec: TaskSpec, *, now: datetime) -> NewTask:
    task_id = spec.task_id or clock.new_id()
    schedule = schedule_for(spec, task_id)
    stored = stored_schedules.to_stored(schedule, created_at=now)
    # The order is that of INSERT_TASKS.
    values = {
        "id": task_id,
        "tenant_id": owner.tenant_id,
        "owner_id": owner.pk,
        "surface": spec.surface,
        "next_fire_at": _first_fire(schedule, now),
        "bounds_id": owner.bounds and owner.bounds.pk,
        **columns_of(spec),
        **stored._asdict(),
    }
    return NewTask(task_id, values, stored)


def schedule_for(spec: TaskSpec, task_id: UUID) -> Schedule:
    """Return the schedule of a task with this id, with its offset in a spread."""
    if spec.spread_offset is not None:
        return with_offset(spec.schedule, spec.spread_offset)
    return with_spread(spec.schedule, spec.spread, task_id)


def _first_fire(schedule: Schedule, now: datetime) -> datetime | None:
    if not isinstance(grid_of(schedule), Interval | Once):
        return first_after(schedule, now)
    # Search from the start, not from now: an interval with a past start fires at once.
    return schedule.first_from(datetime.min.replace(tzinfo=UTC))


def replace_task(task: Task, spec: TaskSpec, owner: User, *, now: datetime) -> bool:
    """Replace a recurring task by another one, under its id and with its history.

    With the same schedule, the task keeps its next fire time, so no due fire time is
    lost. With another schedule it starts anew. Returns whether the schedule differs.
    """
    lane_rows.require_lanes(task.tenant_id, [spec])
    schedule = schedule_for(spec, task.pk)
    stored = stored_schedules.to_stored(schedule, created_at=task.created_at)
    # Read the present schedule, because the task's copy may be older than an edit.
    before = stored_schedules.load_schedule(task)
    starts_anew = not stored_schedules.fires_alike(before, stored)
    if starts_anew:
        at = schedule_changes.record_change(
            [task.pk], schedule_changes.ChangeKind.REPLACED
        )
        schedule_rows.replace_schedule(
            task.periodic_task_id, stored, description=describe(spec, owner)
        )
        for name in SCHEDULE_COLUMNS:
            setattr(task, name, getattr(stored, name))
        task.next_fire_at = first_after(schedule, at)
    values = columns_of(spec)
    for name in _REPLACED_OF_SPEC:
        setattr(task, name, values[name])
    task.pause_reason = ""
    task.runs_made = 0
    task.replaced_at = now
    task.version = F("version") + 1
    task.save(update_fields=_REPLACED)
    lane_rows.assign_lanes([task])
    return starts_anew


# The name stays: the task was found by it.
_REPLACED_OF_SPEC = [name for name in SPEC_COLUMNS if name not in ("name", "tags")]
_REPLACED = (
    *SCHEDULE_COLUMNS,
    *_REPLACED_OF_SPEC,
    "next_fire_at",
    "pause_reason",
    "runs_made",
    "replaced_at",
    "version",
)


def load_spec(task: Task) -> TaskSpec:
    """Return the spec of a stored task, without its policies.

    Raises ScheduleError if the admin stored a schedule that cannot be computed.
    """
    return TaskSpec(
        surface=Surface(task.surface),
        url=task.url,
        schedule=without_spread(stored_schedules.schedule_of(task)),
        body=task.body,
        name=task.name,
        tags=tuple(task.tags),
        queue=task.queue,
        schedule_text=task.schedule_text,
    )


class RewriteResult(NamedTuple):
    """The changed tasks, those whose schedule changed, and the moment of that."""

    changed: list[Task]
    moved: list[Task]
    moved_at: datetime | None


def rewrite_tasks(wanted: Sequence[tuple[Task, TaskSpec]]) -> RewriteResult:
    """Change tasks to their specs, under their ids, in a constant number of statements.

    Paused tasks stay paused. The caller must compute the next fire times of tasks whose
    schedule changed. A task that equals its spec is not written and keeps its version.
    """
    changed: list[tuple[Task, TaskSpec]] = []
    moved: list[tuple[Task, StoredSchedule]] = []
    retagged: list[tuple[Task, TaskSpec]] = []
    for task, spec in wanted:
        before = stored_schedules.load_schedule(task)
        stored = stored_schedules.to_stored(
            schedule_for(spec, task.pk), created_at=task.created_at
        )._replace(is_paused=before.is_paused)
        values = _wanted_columns(task, spec, stored)
        is_moved = stored != before
        if not is_moved and all(getattr(task, name) == values[name] for name in values):
            continue
        changed.append((task, spec))
        if is_moved:
            moved.append((task, stored))
        if task.tags != values["tags"]:
            retagged.append((task, spec))
        for name, value in values.items():
            setattr(task, name, value)
        task.version += 1
    moved_at = _change_schedules(moved) if moved else None
    if changed:
        lane_rows.require_lanes(
            changed[0][0].tenant_id,
            [spec for task, spec in changed],
        )
        _update([task for task, _ in changed])
        lane_rows.leave_old_lanes([task for task, _ in changed])
        _update_descriptions(changed)
    if retagged:
        _replace_tags(retagged)
    return RewriteResult(
        [task for task, _ in changed], [task for task, _ in moved], moved_at
    )


def _change_schedules(moved: Sequence[tuple[Task, StoredSchedule]]) -> datetime:
    """Give tasks other schedules; returns the moment from which those count."""
    at = schedule_changes.record_change(
        [task.pk for task, _ in moved], schedule_changes.ChangeKind.EDITED
    )
    schedule_rows.change_schedules(moved)
    return at


def _wanted_columns(
    task: Task, spec: TaskSpec, stored: StoredSchedule
) -> dict[str, Any]:
    """Return the wanted values of columns; keep sealed texts whose clear text stays."""
    values = columns_of(spec) | {
        name: getattr(stored, name) for name in TASK_ONLY_COLUMNS
    }
    if _is_same_request(task.request, spec.request):
        values["request"] = task.request
    if encryption.is_same_url(task.url, spec.url):
        values["url"] = task.url
    return values


def _update(tasks: Sequence[Task]) -> None:
    """Write the columns of tasks that their owners choose."""
    rows = [
        parameters([task.pk, *(getattr(task, name) for name in UPDATED_COLUMNS)])
        for task in tasks
    ]
    with prepared(rows=len(rows)) as cursor:
        cursor.execute(UPDATE_TASKS, columns(rows))


def _update_descriptions(changed: Sequence[tuple[Task, TaskSpec]]) -> None:
    found = [
        (task.periodic_task_id, description)
        for task, spec in changed
        if (description := describe(spec, task.owner)) != task.periodic_task.description
    ]
    if found:
        schedule_rows.update_descriptions(found)


def _replace_tags(retagged: Sequence[tuple[Task, TaskSpec]]) -> None:
    """Replace the rows by which tasks are found by their tags."""
    rows = [
        (task.tenant_id, task.owner_id, task.pk, tag)
        for task, spec in retagged
        for tag in spec.tags
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM tasks_api_tasktag WHERE task_id = ANY(%s::uuid[])",
            [array([task.pk for task, _ in retagged])],
        )
    if not rows:
        return
    with prepared(rows=len(rows)) as cursor:
        cursor.execute(
            INSERT_TAGS,
            columns(rows),
        )


def _is_same_request(stored: str, wanted: RequestOptions) -> bool:
    """Compare requests in clear text: sealed anew, the same values look different."""
    if not stored:
        return wanted == RequestOptions()
    was = parse_options(stored)
    if replace_in(was, sealed_values="") != replace_in(wanted, sealed_values=""):
        return False
    try:
        return _decrypted_values(was) == _decrypted_values(wanted)
    except encryption.Undecryptable:
        return False


def _decrypted_values(options: RequestOptions) -> str:
    return encryption.decrypt(options.sealed_values) if options.sealed_values else ""


def describe(spec: TaskSpec, owner: User) -> str:
    """Return the description of a schedule in the admin."""
    task = summary(name=spec.name, method=spec.method, url=spec.url, queue=spec.queue)
    return f"{task} for {owner}"
