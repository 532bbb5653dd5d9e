"""Apply a list of tasks to those with a tag; a plan does the same and rolls back."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from django.db import transaction

from accounts import audit
from accounts.models import User
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from tasks_api.domain.exceptions import InvalidTask, VersionConflict
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task, TaskQuerySet, TaskTag
from tasks_api.services import admission, pausing, removal, tasks
from tasks_api.services.admission import LaneVerdict
from tasks_api.services.calendars import resolve_calendars
from tasks_api.services.finding import lock_rows
from tasks_api.services.fingerprints import fingerprint_of
from tasks_api.services.wanted_tasks import Wanted

# The most tasks with one tag.
MAX_TAGGED_TASKS = 10_000


class Action(StrEnum):
    """The change of a task that makes it equal to the list."""

    CREATE = "create"
    CHANGE = "change"
    PAUSE = "pause"
    RESUME = "resume"
    DELETE = "delete"
    KEEP = "keep"
    # The task of the list never fires again, and no living task has its name.
    OVER = "over"


@dataclass(frozen=True)
class DesiredTask:
    """One task of the list. A task without a spec never fires again."""

    name: str
    spec: TaskSpec | None

    @property
    def is_paused(self) -> bool | None:
        """The wanted state; None keeps the present state."""
        return self.spec.is_paused if self.spec else None


class Step(NamedTuple):
    """The change of one task; a step with the action OVER has no id."""

    name: str
    action: Action
    task_id: uuid.UUID | None


class Plan(NamedTuple):
    """The steps in the order of the list, then deletions; and the tasks after them.

    The fingerprint changes if the list changes, or a task that the list is compared
    with.
    """

    fingerprint: str
    steps: Sequence[Step]
    tasks: Mapping[uuid.UUID, Task]
    # What lanes with a rate say about the tasks that enter them.
    admission: Sequence[LaneVerdict] = ()


@dataclass(frozen=True)
class LockedTasks:
    """The living tasks of a user that have a tag, or one of the names of a list.

    The tasks are locked until the transaction ends. `names_of_others` are names of the
    list that tasks of other users of the tenant have.
    """

    owner: User
    surface: Surface
    tasks: Sequence[Task]
    names_of_others: Collection[str]

    @cached_property
    def by_name(self) -> Mapping[str, Task]:
        return {task.name: task for task in self.tasks if task.name}


def lock_tasks_of_list(
    owner: User, tag: str, names: Sequence[str], *, surface: Surface, now: datetime
) -> LockedTasks:
    """Lock the tasks that a list may change, and its tag against another list."""
    locks.acquire(LockKind.DECLARATION, owner.pk, surface, tag)
    tagged = TaskTag.objects.filter(owner=owner, tag=tag).values_list("task", flat=True)
    ids = set(tagged[: MAX_TAGGED_TASKS + 1])
    if len(ids) > MAX_TAGGED_TASKS:
        raise InvalidTask("tag", f"More than {MAX_TAGGED_TASKS} tasks have this tag")
    # Read tags and names in two queries, because each has an index of its own.
    named = _named(owner, names, surface=surface)
    ids |= set(named.values_list("pk", flat=True))
    own = (
        Task.objects.for_owner(owner).for_surface(surface).alive(now).filter(pk__in=ids)
    )
    found = list(lock_rows(own.with_schedule().select_related("owner")))
    others = named.alive(now).exclude(owner=owner)
    if owner.bounds is not None:
        # The owner's tasks that the token did not make are out of its reach.
        others = named.alive(now).exclude(pk__in=[task.pk for task in found])
    names_of_others = set(others.values_list("name", flat=True))
    return LockedTasks(owner, surface, found, names_of_others)


def _named(owner: User, names: Sequence[str], *, surface: Surface) -> TaskQuerySet:
    alive = Task.objects.filter(tenant=owner.tenant_id, surface=surface, ended_at=None)
    return alive.filter(name__in=names).exclude(name="")


def apply_list(
    locked: LockedTasks,
    desired: Sequence[DesiredTask],
    *,
    digest: str,
    expected: str | None,
    dry_run: bool,
    now: datetime,
) -> Plan:
    """Create, change, pause, resume and delete tasks so that they equal the list.

    Locked tasks that are not in the list are deleted. Raises VersionConflict if the
    plan is not the `expected` one. A dry run does the same, and rolls the caller's
    transaction back: so a plan cannot differ from its application, but locks the tasks
    as long. It does not refuse tasks that do not fit their lanes, as an application
    does with DoesNotFit.
    """
    fingerprint = _fingerprint(digest, desired, locked.tasks)
    if expected is not None and expected != fingerprint and not dry_run:
        raise VersionConflict("The plan is another one now; look at it again")
    was_paused = {task.pk: not task.periodic_task.enabled for task in locked.tasks}
    gone = _remove_unlisted(locked, desired, now=now)
    desired, verdicts = _judge(locked, desired, now=now)
    if not dry_run:
        admission.refuse(verdicts)
    changed = _change(locked, desired, now=now)
    ids = _create(locked, desired, now=now)
    _set_paused(locked, desired, ids, was_paused, now=now)

    listed = [ids[each.name] for each in desired if each.spec]
    after = Task.objects.filter(pk__in=listed).with_schedule().in_bulk()
    steps = [_step(each, ids.get(each.name), changed, was_paused) for each in desired]
    steps += [Step(task.name, Action.DELETE, task.pk) for task in gone]
    transaction.set_rollback(dry_run)
    return Plan(fingerprint, steps, after, verdicts)


def _fingerprint(
    digest: str, desired: Sequence[DesiredTask], found: Sequence[Task]
) -> str:
    over = [each.name for each in desired if each.spec is None]
    return fingerprint_of(f"{digest} {over}", found)


def _remove_unlisted(
    locked: LockedTasks, desired: Sequence[DesiredTask], *, now: datetime
) -> list[Task]:
    names = {each.name for each in desired}
    gone = [task for task in locked.tasks if not task.name or task.name not in names]
    if gone:
        ids = [task.pk for task in gone]
        removal.remove_tasks(Task.objects.filter(pk__in=ids), now=now)
    return gone


def _judge(
    locked: LockedTasks, desired: Sequence[DesiredTask], *, now: datetime
) -> tuple[Sequence[DesiredTask], Sequence[LaneVerdict]]:
    """Return the list with its calendars, the places that the service chose, and its admission.

    The indexes of the verdicts are those of the list.
    """
    indexes = [index for index, each in enumerate(desired) if each.spec]
    specs = [each.spec for each in desired if each.spec]
    resolved = resolve_calendars(locked.owner, specs, now=now)
    wanted = [
        Wanted(spec, locked.by_name.get(desired[index].name))
        for index, spec in zip(indexes, resolved, strict=True)
    ]
    judged = admission.judge_tasks(locked.owner, wanted, now=now)
    placed = dict(zip(indexes, judged.tasks, strict=True))
    return [
        replace(each, spec=placed[index].spec) if index in placed else each
        for index, each in enumerate(desired)
    ], [
        replace(each, indexes=[indexes[number] for number in each.indexes])
        for each in judged.verdicts
    ]


def _change(
    locked: LockedTasks, desired: Sequence[DesiredTask], *, now: datetime
) -> set[uuid.UUID]:
    """Change the living tasks of the list; return those that differed."""
    there = [
        (locked.by_name[each.name], each.spec)
        for each in desired
        if each.spec and each.name in locked.by_name
    ]
    rewritten = tasks.rewrite_tasks(locked.owner, there, now=now, is_admitted=True)
    changed = {task.pk for task in rewritten}
    audit.record(locked.owner.tenant_id, "task.change", sorted(changed))
    return changed


def _create(
    locked: LockedTasks, desired: Sequence[DesiredTask], *, now: datetime
) -> dict[str, uuid.UUID]:
    """Create the missing tasks of the list; return the ids of all tasks by name."""
    ids = {name: task.pk for name, task in locked.by_name.items()}
    new = [each.spec for each in desired if each.spec and each.name not in ids]
    if not new:
        return ids
    made = tasks.create_tasks(locked.owner, new, now=now, is_admitted=True)
    return ids | {row.columns["name"]: row.id for row in made}


def _set_paused(
    locked: LockedTasks,
    desired: Sequence[DesiredTask],
    ids: Mapping[str, uuid.UUID],
    was_paused: Mapping[uuid.UUID, bool],
    *,
    now: datetime,
) -> None:
    for is_paused, verb in ((True, pausing.pause_tasks), (False, pausing.resume_tasks)):
        differing = [
            str(ids[each.name])
            for each in desired
            if each.spec
            and each.is_paused is is_paused
            # A new task has the wanted state already.
            and was_paused.get(ids[each.name], is_paused) is not is_paused
        ]
        if differing:
            verb(locked.owner, differing, now=now, surface=locked.surface)


def _step(
    each: DesiredTask,
    task_id: uuid.UUID | None,
    changed: Collection[uuid.UUID],
    was_paused: Mapping[uuid.UUID, bool],
) -> Step:
    if task_id is None:
        return Step(each.name, Action.OVER, None)
    action = Action.KEEP
    if task_id not in was_paused:
        action = Action.CREATE
    elif task_id in changed:
        action = Action.CHANGE
    elif each.is_paused is not None and each.is_paused != was_paused[task_id]:
        action = Action.PAUSE if each.is_paused else Action.RESUME
    return Step(each.name, action, task_id)
