"""Write tasks: new ones, many in a statement, and one in the place of another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import replace as replace_in
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args, get_type_hints
from uuid import UUID

from django.db import connection
from django.db.models import F

from accounts import audit, encryption
from accounts.models import User
from accounts.statements import INSERT_ENTRY
from scheduler_service.db import clock
from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.domain.request_options import options_of
from tasks_api.domain.schedules import (
    Cron,
    Schedule,
    bare,
    first_after,
    spread,
)
from tasks_api.domain.specs import (
    Backoff,
    RequestOptions,
    RetryPolicy,
    Surface,
    TaskSpec,
    summary,
)
from tasks_api.models import Task
from tasks_api.storage import beat_tables, schedule_changes, task_counts


class Row(NamedTuple):
    """A new task, as columns of its table."""

    id: UUID
    tenant_id: int
    owner_id: int
    surface: str
    name: str
    # A text[] as PostgreSQL writes it: an array of arrays cannot be unnested by rows.
    tags: str
    method: str
    url: str
    queue: str
    body: str
    expected_status: str
    overlap: str
    misfire: str
    catchup_window: int | None
    spread: int
    spread_offset: int
    dst: str
    retry: str
    request: str
    pause_after_failures: int | None
    cron_seconds: str
    cron_years: str
    schedule_text: str
    next_fire_at: datetime | None
    planned_from: str
    ends_at: datetime | None
    created_at: datetime


# The constraint that keeps a name from two tasks that are alive.
NAME_ONCE = "task_name_once_while_alive"

_TYPES = {
    UUID: "uuid",
    str: "text",
    int: "bigint",
    bool: "bool",
    datetime: "timestamptz",
}
_GIVEN = {**get_type_hints(Row), **get_type_hints(beat_tables.New)}
# Of `int | None`, the int.
_KINDS = [(*get_args(kind), kind)[0] for kind in _GIVEN.values()]
_TYPE_OF = {name: _TYPES[kind] for name, kind in zip(_GIVEN, _KINDS, strict=True)}
_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _TYPE_OF.values())
_COLUMNS = ", ".join(Row._fields)
# One statement, which costs a third of what several would with a transaction around
# them: the tasks, their schedules, their tags, their count, and the entry in the audit log.
_INSERT = f"""
    WITH entry AS ({INSERT_ENTRY}), fresh AS MATERIALIZED (
        SELECT new.*, {beat_tables.IDS} FROM unnest({_ARRAYS}) AS new({", ".join(_GIVEN)})
    ), {beat_tables.CREATED}, made AS (
        INSERT INTO tasks_api_task ({_COLUMNS}, periodic_task_id, pause_reason, end_reason)
        SELECT {_COLUMNS.replace("tags", "tags::text[]")}, periodic_task_id, '', '' FROM fresh
    ), tagged AS (
        INSERT INTO tasks_api_tasktag (owner_id, task_id, tag)
        SELECT owner_id, id, unnest(tags::text[]) FROM fresh WHERE tags <> '{{}}'
    ) {task_counts.begun("fresh")}
"""  # noqa: S608 (constants)


def insert(owner: User, specs: Sequence[TaskSpec], *, now: datetime) -> list[Row]:
    """Store new tasks with their schedules, all or none, and say so in the audit log.

    Names must be free, or an IntegrityError tells of NAME_ONCE.
    """
    ids = [spec.task_id or clock.new_id() for spec in specs]
    plans = [
        schedule_for(spec, task_id) for spec, task_id in zip(specs, ids, strict=True)
    ]
    stored = [beat_tables.stored_as(plan, created_at=now) for plan in plans]
    rows = [
        _row(owner, *of_task, now=now)
        for of_task in zip(ids, specs, plans, stored, strict=True)
    ]
    schedules = beat_tables.new(
        [
            (describe(spec, owner), each)
            for spec, each in zip(specs, stored, strict=True)
        ]
    )
    with prepared(rows=len(rows)) as cursor:
        entry = audit.entry_values(owner.tenant_id, audit.TASK_CREATE, ids)
        cursor.execute(_INSERT, [*entry, *columns(rows), *columns(schedules)])
    return rows


def _row(
    owner: User,
    task_id: UUID,
    spec: TaskSpec,
    schedule: Schedule,
    stored: beat_tables.Stored,
    *,
    now: datetime,
) -> Row:
    assert owner.tenant_id is not None
    return Row(
        id=task_id,
        tenant_id=owner.tenant_id,
        owner_id=owner.pk,
        surface=spec.surface,
        name=spec.name,
        tags=array(spec.tags) if spec.tags else "{}",
        method=spec.method,
        url=spec.url,
        queue=spec.queue,
        body=spec.body,
        expected_status=spec.expected_status,
        overlap=spec.overlap,
        misfire=spec.misfire,
        catchup_window=spec.catchup_window,
        spread=spec.spread,
        spread_offset=stored.offset_seconds,
        dst=stored.dst,
        retry=_written(spec.retry),
        request=_written_options(spec.request),
        pause_after_failures=spec.pause_after_failures,
        cron_seconds=stored.seconds,
        cron_years=stored.years,
        schedule_text=spec.schedule_text,
        next_fire_at=_first_fire(schedule, now),
        planned_from=beat_tables.plan_of(stored),
        ends_at=stored.expires,
        created_at=now,
    )


def schedule_for(spec: TaskSpec, task_id: UUID) -> Schedule:
    """When a task of this id fires, which its place in a spread is part of."""
    return spread(spec.schedule, spec.spread, task_id)


def _first_fire(schedule: Schedule, now: datetime) -> datetime | None:
    if isinstance(schedule, Cron):
        return first_after(schedule, now)
    # From the start, not from now: whoever lets the past in wants it to run at once.
    return schedule.first_from(datetime.min.replace(tzinfo=UTC))


def replace(task: Task, spec: TaskSpec, owner: User, *, now: datetime) -> bool:
    """Put another recurring task in the place of one, under its id and with its history.

    With the same schedule it keeps its place in it: a fire time that is due, or that
    passed unnoticed, is not lost. With another one it starts anew. Returns whether it
    is another one.
    """
    schedule = schedule_for(spec, task.pk)
    stored = beat_tables.stored_as(schedule, created_at=task.created_at)
    # As its schedule is now, which somebody may have edited a moment ago.
    plan = beat_tables.plan_of(beat_tables.stored_of(task))
    place = Place(
        plan, task.cron_seconds, task.cron_years, task.dst, task.spread_offset
    )
    starts_anew = not place.is_of(stored)
    if starts_anew:
        at = schedule_changes.close([task.pk], schedule_changes.What.REPLACED)
        beat_tables.replace(
            task.periodic_task_id, stored, description=describe(spec, owner)
        )
        task.planned_from, task.ends_at = beat_tables.plan_of(stored), stored.expires
        task.cron_seconds, task.cron_years = stored.seconds, stored.years
        task.dst, task.spread_offset = stored.dst, stored.offset_seconds
        task.next_fire_at = first_after(schedule, at)
    task.method, task.url, task.queue = spec.method, spec.url, spec.queue
    task.body, task.expected_status = spec.body, spec.expected_status
    task.overlap, task.misfire = spec.overlap, spec.misfire
    task.catchup_window, task.spread = spec.catchup_window, spec.spread
    task.retry = _written(spec.retry)
    task.request = _written_options(spec.request)
    task.pause_after_failures = spec.pause_after_failures
    task.schedule_text, task.pause_reason = spec.schedule_text, ""
    task.replaced_at = now
    task.version = F("version") + 1
    task.save(update_fields=_REPLACED)
    return starts_anew


def spec_of(task: Task) -> TaskSpec:
    """A stored task as its owner wants it, but for its policies.

    Raises ScheduleError where the admin stored a schedule that cannot be computed.
    """
    return TaskSpec(
        surface=Surface(task.surface),
        url=task.url,
        schedule=bare(beat_tables.schedule_of(task)),
        body=task.body,
        name=task.name,
        tags=tuple(task.tags),
        queue=task.queue,
        schedule_text=task.schedule_text,
    )


class Rewritten(NamedTuple):
    """Of many tasks, those that were something else; and whose schedule was, since when."""

    changed: list[Task]
    moved: list[Task]
    moved_at: datetime | None


def rewrite(wanted: Sequence[tuple[Task, TaskSpec]]) -> Rewritten:
    """Make tasks what their owner wants them to be now, under their ids, in few statements.

    Paused or not, they stay so. Where those continue whose schedule is another one is for
    the caller to plan. What is as it was is not written, and no version of its own.
    """
    changed: list[tuple[Task, TaskSpec]] = []
    moved: list[tuple[Task, beat_tables.Stored]] = []
    retagged: list[tuple[Task, TaskSpec]] = []
    for task, spec in wanted:
        before = beat_tables.stored_of(task)
        stored = beat_tables.stored_as(
            schedule_for(spec, task.pk), created_at=task.created_at
        )._replace(enabled=before.enabled)
        values = _columns(spec, stored)
        if _is_alike(task.request, spec.request):
            values["request"] = task.request
        if encryption.is_same_url(task.url, spec.url):
            values["url"] = task.url
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
    moved_at = None
    if moved:
        ids = [task.pk for task, _ in moved]
        moved_at = schedule_changes.close(ids, schedule_changes.What.EDITED)
        beat_tables.change(moved)
    if changed:
        _write([task for task, _ in changed], [*values, "version"])
        _describe_anew(changed)
    if retagged:
        _retag(retagged)
    return Rewritten(
        [task for task, _ in changed], [task for task, _ in moved], moved_at
    )


def _write(tasks: Sequence[Task], names: Sequence[str]) -> None:
    """Write these columns of tasks, in one statement."""
    types = _TYPE_OF | {"id": "uuid", "version": "int"}
    arrays = ", ".join(f"%s::{types[name]}[]" for name in ("id", *names))
    written = ", ".join(
        f"{name} = new.{name}" + ("::text[]" if name == "tags" else "")
        for name in names
    )
    rows = [
        (
            task.pk,
            *(
                array(task.tags) if name == "tags" else getattr(task, name)
                for name in names
            ),
        )
        for task in tasks
    ]
    with prepared(rows=len(rows)) as cursor:
        cursor.execute(
            f"""
            UPDATE tasks_api_task task SET {written}
            FROM unnest({arrays}) AS new(id, {", ".join(names)})
            WHERE task.id = new.id
            """,  # noqa: S608 (names of columns)
            columns(rows),
        )


def _describe_anew(changed: Sequence[tuple[Task, TaskSpec]]) -> None:
    found = [
        (task.periodic_task_id, description)
        for task, spec in changed
        if (description := describe(spec, task.owner)) != task.periodic_task.description
    ]
    if found:
        beat_tables.redescribe(found)


def _retag(retagged: Sequence[tuple[Task, TaskSpec]]) -> None:
    """Let tasks be found by other tags than before."""
    rows = [
        (task.owner_id, task.pk, tag) for task, spec in retagged for tag in spec.tags
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
            """
            INSERT INTO tasks_api_tasktag (owner_id, task_id, tag)
            SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::text[])
            """,
            columns(rows),
        )


def _is_alike(stored: str, wanted: RequestOptions) -> bool:
    """Whether a request stays as it is: sealed anew, the same values look different."""
    if not stored:
        return wanted == RequestOptions()
    was = options_of(stored)
    if replace_in(was, sealed_values="") != replace_in(wanted, sealed_values=""):
        return False
    try:
        return _opened(was) == _opened(wanted)
    except encryption.Undecryptable:
        return False


def _opened(options: RequestOptions) -> str:
    return encryption.decrypt(options.sealed_values) if options.sealed_values else ""


def _columns(spec: TaskSpec, stored: beat_tables.Stored) -> dict[str, Any]:
    """What stands on a task of what its owner wants."""
    return {
        "name": spec.name,
        "tags": list(spec.tags),
        "method": spec.method,
        "url": spec.url,
        "queue": spec.queue,
        "body": spec.body,
        "expected_status": spec.expected_status,
        "overlap": spec.overlap,
        "misfire": spec.misfire,
        "catchup_window": spec.catchup_window,
        "spread": spec.spread,
        "spread_offset": stored.offset_seconds,
        "dst": stored.dst,
        "retry": _written(spec.retry),
        "request": _written_options(spec.request),
        "pause_after_failures": spec.pause_after_failures,
        "cron_seconds": stored.seconds,
        "cron_years": stored.years,
        "schedule_text": spec.schedule_text,
    }


class Place(NamedTuple):
    """What says when a stored task fires, as columns of Task."""

    planned_from: str
    cron_seconds: str
    cron_years: str
    dst: str
    spread_offset: int

    def is_of(self, stored: beat_tables.Stored) -> bool:
        """Whether a task with this schedule fires just like that."""
        return self[1:] == stored.of_task and beat_tables.fires_alike(
            self.planned_from, beat_tables.plan_of(stored)
        )


_REPLACED = (
    "planned_from",
    "ends_at",
    "cron_seconds",
    "cron_years",
    "dst",
    "spread_offset",
    "next_fire_at",
    "method",
    "url",
    "queue",
    "body",
    "expected_status",
    "overlap",
    "misfire",
    "catchup_window",
    "spread",
    "retry",
    "request",
    "pause_after_failures",
    "schedule_text",
    "pause_reason",
    "replaced_at",
    "version",
)


def describe(spec: TaskSpec, owner: User) -> str:
    """A schedule's line in the admin."""
    task = summary(name=spec.name, method=spec.method, url=spec.url, queue=spec.queue)
    return f"{task} for {owner}"


def _written(policy: RetryPolicy | Backoff | None) -> str:
    return json.dumps(asdict(policy)) if policy else ""


def _written_options(options: RequestOptions) -> str:
    return "" if options == RequestOptions() else json.dumps(asdict(options))
