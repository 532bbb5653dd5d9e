"""Write tasks: new ones, many in a statement, and one in the place of another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import F

from accounts import audit
from accounts.models import User
from scheduler_service.statements import prepared
from tasks_api import periodic, tallies
from tasks_api.arrays import array, columns
from tasks_api.models import Task, TaskTag, new_id
from tasks_api.schedules import Cron, Schedule, first_after
from tasks_api.specs import (
    Misfire,
    Overlap,
    RetryPolicy,
    Surface,
    TaskSpec,
    summary,
)


class Row(NamedTuple):
    """A new task; the order is that of _INSERT's columns."""

    id: UUID
    tenant_id: int
    owner_id: int
    periodic_task_id: int
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
    retry: str
    cron_seconds: str
    cron_years: str
    schedule_text: str
    next_fire_at: datetime | None
    planned_from: str
    created_at: datetime


# The constraint that keeps a name from two tasks that are alive.
NAME_ONCE = "task_name_once_while_alive"

_COLUMNS = ", ".join(Row._fields)
# With their entry in the audit log, which as a statement of its own would cost a seventh
# of what storing a task costs.
_INSERT = f"""
    WITH entry AS ({audit.INSERT}), fresh AS (
        SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::int[],
            %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
            %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
            %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::timestamptz[])
            AS fresh({_COLUMNS})
    ), made AS (
        INSERT INTO tasks_api_task ({_COLUMNS}, pause_reason, end_reason)
        SELECT {_COLUMNS.replace("tags", "tags::text[]")}, '', '' FROM fresh
    ) {tallies.begun("fresh")}
"""  # noqa: S608 (constants)


def insert(owner: User, specs: Sequence[TaskSpec], *, now: datetime) -> list[Row]:
    """Store new tasks with their schedules, and say so in the audit log.

    Names must be free.
    """
    ids = [spec.task_id or new_id() for spec in specs]
    stored = [periodic.stored_as(spec.schedule, created_at=now) for spec in specs]
    schedule_ids = periodic.create(
        [
            periodic.New(task_id, describe(spec, owner), each)
            for task_id, spec, each in zip(ids, specs, stored, strict=True)
        ]
    )
    rows = [
        _row(owner, *of_task, now=now)
        for of_task in zip(ids, schedule_ids, specs, stored, strict=True)
    ]
    with prepared(rows=len(rows)) as cursor:
        entry = audit.values(owner.tenant_id, audit.CREATE, ids)
        cursor.execute(_INSERT, [*entry, *columns(rows)])
    _tag(owner.pk, {row.id: spec.tags for row, spec in zip(rows, specs, strict=True)})
    return rows


def _tag(owner_id: int, tags: Mapping[UUID, Sequence[str]]) -> None:
    """Let tasks be found by their tags."""
    rows = [(owner_id, task_id, tag) for task_id in tags for tag in tags[task_id]]
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


def _row(
    owner: User,
    task_id: UUID,
    schedule_id: int,
    spec: TaskSpec,
    stored: periodic.Stored,
    *,
    now: datetime,
) -> Row:
    assert owner.tenant_id is not None
    return Row(
        id=task_id,
        tenant_id=owner.tenant_id,
        owner_id=owner.pk,
        periodic_task_id=schedule_id,
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
        retry=_written(spec.retry),
        cron_seconds=stored.seconds,
        cron_years=stored.years,
        schedule_text=spec.schedule_text,
        next_fire_at=_first_fire(spec.schedule, now),
        planned_from=periodic.plan_of(stored),
        created_at=now,
    )


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
    stored = periodic.stored_as(spec.schedule, created_at=task.created_at)
    # As its schedule is now, which somebody may have edited a moment ago.
    plan = periodic.plan_of(periodic.stored_of(task))
    place = Place(plan, task.cron_seconds, task.cron_years)
    starts_anew = not place.is_of(stored)
    if starts_anew:
        periodic.replace(
            task.periodic_task_id, stored, description=describe(spec, owner)
        )
        task.planned_from = periodic.plan_of(stored)
        task.cron_seconds, task.cron_years = stored.seconds, stored.years
        task.next_fire_at = first_after(spec.schedule, now)
    task.method, task.url, task.queue = spec.method, spec.url, spec.queue
    task.body, task.expected_status = spec.body, spec.expected_status
    task.overlap, task.misfire = spec.overlap, spec.misfire
    task.retry = _written(spec.retry)
    task.schedule_text, task.pause_reason = spec.schedule_text, ""
    task.replaced_at = now
    task.version = F("version") + 1
    task.save(update_fields=_REPLACED)
    return starts_anew


def spec_of(task: Task) -> TaskSpec:
    """A stored task as its owner wants it. Its schedule comes with it.

    Raises ScheduleError where the admin stored one that cannot be computed.
    """
    return TaskSpec(
        surface=Surface(task.surface),
        url=task.url,
        schedule=periodic.schedule_of(task),
        body=task.body,
        method=task.method,
        name=task.name,
        tags=tuple(task.tags),
        queue=task.queue,
        expected_status=task.expected_status,
        overlap=Overlap(task.overlap),
        misfire=Misfire(task.misfire),
        retry=RetryPolicy(**json.loads(task.retry)) if task.retry else None,
        schedule_text=task.schedule_text,
    )


def rewrite(task: Task, spec: TaskSpec) -> bool:
    """Make a task what its owner wants it to be now, under its id.

    Paused or not, it stays so. Returns whether its schedule is another one: where it
    continues then is for the caller to plan. What is as it was is not written, and no
    version of its own.
    """
    before = periodic.stored_of(task)
    stored = periodic.stored_as(spec.schedule, created_at=task.created_at)
    stored = stored._replace(enabled=before.enabled)
    is_moved = stored != before
    wanted = _columns(spec)
    if not is_moved and all(getattr(task, name) == wanted[name] for name in wanted):
        return False
    if is_moved:
        periodic.change(task, stored)
    if task.tags != wanted["tags"]:
        TaskTag.objects.filter(task=task).delete()
        _tag(task.owner_id, {task.pk: spec.tags})
    description = describe(spec, task.owner)
    if description != task.periodic_task.description:
        periodic.redescribe(task, description)
    for name, value in wanted.items():
        setattr(task, name, value)
    task.cron_seconds, task.cron_years = stored.seconds, stored.years
    task.version += 1
    task.save(update_fields=[*wanted, "cron_seconds", "cron_years", "version"])
    return is_moved


def _columns(spec: TaskSpec) -> dict[str, Any]:
    """What a task stores of what its owner wants, but for its schedule."""
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
        "retry": _written(spec.retry),
        "schedule_text": spec.schedule_text,
    }


class Place(NamedTuple):
    """What says when a stored task fires, as columns of Task."""

    planned_from: str
    cron_seconds: str
    cron_years: str

    def is_of(self, stored: periodic.Stored) -> bool:
        """Whether a task with this schedule fires just like that."""
        return self[1:] == (stored.seconds, stored.years) and periodic.fires_alike(
            self.planned_from, periodic.plan_of(stored)
        )


_REPLACED = (
    "planned_from",
    "cron_seconds",
    "cron_years",
    "next_fire_at",
    "method",
    "url",
    "queue",
    "body",
    "expected_status",
    "overlap",
    "misfire",
    "retry",
    "schedule_text",
    "pause_reason",
    "replaced_at",
    "version",
)


def describe(spec: TaskSpec, owner: User) -> str:
    """A schedule's line in the admin."""
    task = summary(name=spec.name, method=spec.method, url=spec.url, queue=spec.queue)
    return f"{task} for {owner}"


def _written(policy: RetryPolicy | None) -> str:
    return json.dumps(asdict(policy)) if policy else ""
