"""Make the tasks with a tag what a list says: planned by doing it, and taken back."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from django.db import transaction

from accounts import audit
from accounts.models import User
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from tasks_api.domain.exceptions import InvalidTask, StaleTask
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task, TaskQuerySet, TaskTag
from tasks_api.services import tasks

# Tasks with a tag that one list may stand for.
MOST_TAGGED = 10_000

Shown = TypeVar("Shown")


class Action(StrEnum):
    """What is done to a task so that it is what the list says."""

    CREATE = "create"
    CHANGE = "change"
    PAUSE = "pause"
    RESUME = "resume"
    DELETE = "delete"
    KEEP = "keep"
    # Its last moment has passed, and it is gone: nothing is left to do.
    OVER = "over"


@dataclass(frozen=True)
class Wanted:
    """One task of the list. Without a spec it is over."""

    name: str
    spec: TaskSpec | None

    @property
    def is_paused(self) -> bool | None:
        """None is as it is."""
        return self.spec.is_paused if self.spec else None


@dataclass(frozen=True)
class Step(Generic[Shown]):
    """What is done to one task, and how it was and is shown."""

    name: str
    action: Action
    before: Shown | None
    after: Shown | None


@dataclass(frozen=True)
class Plan(Generic[Shown]):
    """Steps in the order of the list, those that are deleted last.

    The fingerprint is another one whenever the list is, or what it was laid beside.
    """

    fingerprint: str
    steps: Sequence[Step[Shown]]


@transaction.atomic
def apply(
    owner: User,
    tag: str,
    names: Sequence[str],
    read: Callable[[Mapping[str, Task], Collection[str]], Sequence[Wanted]],
    *,
    show: Callable[[Task], Shown],
    digest: str,
    expected: str | None,
    dry_run: bool,
    surface: Surface,
    now: datetime,
) -> Plan[Shown]:
    """Make a user's tasks with a tag those of a list, all of it or nothing.

    `read` is given the user's living tasks by their names, and the names that others of
    the tenant have, and may refuse. Tasks with the tag that are not in the list are
    deleted. A dry run does the same and takes it back, so a plan cannot differ from what
    is done: it holds the tasks for as long as that takes. Raises StaleTask where the
    plan is not the `expected` one.
    """
    _one_at_a_time(owner, tag, surface)
    found = _lock(owner, tag, names, surface=surface, now=now)
    before = {task.pk: show(task) for task in found}
    was_paused = {task.pk: not task.periodic_task.enabled for task in found}
    by_name = {task.name: task for task in found if task.name}
    others = _names_of_others(owner, names, surface=surface, now=now)
    wanted = read(by_name, others)
    fingerprint = _fingerprint(digest, wanted, found)
    if expected is not None and expected != fingerprint and not dry_run:
        raise StaleTask("The plan is another one now; look at it again")

    kept = {by_name[each.name].pk for each in wanted if each.name in by_name}
    gone = [task for task in found if task.pk not in kept]
    if gone:
        ids = [task.pk for task in gone]
        tasks.remove_tasks(Task.objects.filter(pk__in=ids), now=now)
    changed = _change(owner, wanted, by_name, now=now)
    new = [each.spec for each in wanted if each.spec and each.name not in by_name]
    made = tasks.create_tasks(owner, new, now=now) if new else []
    ids_of = {name: task.pk for name, task in by_name.items()}
    ids_of |= {row.name: row.id for row in made}
    _set_paused(owner, wanted, ids_of, was_paused, surface=surface, now=now)

    after = _shown([ids_of[each.name] for each in wanted if each.spec], show)
    steps = [
        _step(each, ids_of.get(each.name), before, after, changed, was_paused)
        for each in wanted
    ]
    steps += [Step(task.name, Action.DELETE, before[task.pk], None) for task in gone]
    transaction.set_rollback(dry_run)
    return Plan(fingerprint, steps)


def _one_at_a_time(owner: User, tag: str, surface: Surface) -> None:
    locks.acquire(LockKind.DECLARATION, owner.pk, surface, tag)


def _names_of_others(
    owner: User, names: Sequence[str], *, surface: Surface, now: datetime
) -> set[str]:
    """The names that the tenant's other users have given to living tasks."""
    theirs = _named(owner, names, surface=surface).alive(now).exclude(owner=owner)
    return set(theirs.values_list("name", flat=True))


def _named(owner: User, names: Sequence[str], *, surface: Surface) -> TaskQuerySet:
    alive = Task.objects.filter(tenant=owner.tenant_id, surface=surface, ended_at=None)
    return alive.filter(name__in=names).exclude(name="")


def _lock(
    owner: User, tag: str, names: Sequence[str], *, surface: Surface, now: datetime
) -> list[Task]:
    """A user's living tasks that have the tag, or one of the names."""
    tagged = TaskTag.objects.filter(owner=owner, tag=tag).values_list("task", flat=True)
    ids = set(tagged[: MOST_TAGGED + 1])
    if len(ids) > MOST_TAGGED:
        raise InvalidTask("tag", f"More than {MOST_TAGGED} tasks have this tag")
    # Not both in one condition: each has an index of its own.
    ids |= set(_named(owner, names, surface=surface).values_list("pk", flat=True))
    own = Task.objects.for_owner(owner).of(surface).alive(now).filter(pk__in=ids)
    rows = own.with_schedule().select_related("owner").order_by("pk")
    return list(rows.select_for_update(no_key=True, of=("self",)))


def _fingerprint(digest: str, wanted: Sequence[Wanted], found: Sequence[Task]) -> str:
    over = [each.name for each in wanted if each.spec is None]
    versions = [(task.pk.hex, task.version) for task in found]
    said = f"{digest} {over} {versions}"
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _change(
    owner: User,
    wanted: Sequence[Wanted],
    by_name: Mapping[str, Task],
    *,
    now: datetime,
) -> set[uuid.UUID]:
    """Make tasks what is wanted; returns those that were something else."""
    there = [
        (by_name[each.name], each.spec)
        for each in wanted
        if each.spec and each.name in by_name
    ]
    changed = {task.pk for task in tasks.rewrite(owner, there, now=now)}
    audit.record(owner.tenant_id, "task.change", sorted(changed))
    return changed


def _set_paused(
    owner: User,
    wanted: Sequence[Wanted],
    ids_of: Mapping[str, uuid.UUID],
    was_paused: Mapping[uuid.UUID, bool],
    *,
    surface: Surface,
    now: datetime,
) -> None:
    ids = {
        is_paused: [
            str(ids_of[each.name])
            for each in wanted
            if each.spec
            and each.is_paused is is_paused
            # What is new is so already.
            and was_paused.get(ids_of[each.name], is_paused) is not is_paused
        ]
        for is_paused in (True, False)
    }
    if ids[True]:
        tasks.pause_tasks(owner, ids[True], now=now, surface=surface)
    if ids[False]:
        tasks.resume_tasks(owner, ids[False], now=now, surface=surface)


def _shown(
    ids: Sequence[uuid.UUID], show: Callable[[Task], Shown]
) -> dict[uuid.UUID, Shown]:
    rows = Task.objects.filter(pk__in=ids).with_schedule()
    return {task.pk: show(task) for task in rows}


def _step(
    each: Wanted,
    task_id: uuid.UUID | None,
    before: Mapping[uuid.UUID, Shown],
    after: Mapping[uuid.UUID, Shown],
    changed: set[uuid.UUID],
    was_paused: Mapping[uuid.UUID, bool],
) -> Step[Shown]:
    if task_id is None:
        return Step(each.name, Action.OVER, None, None)
    action = Action.KEEP
    if task_id not in before:
        action = Action.CREATE
    elif task_id in changed:
        action = Action.CHANGE
    elif each.is_paused is not None and each.is_paused != was_paused[task_id]:
        action = Action.PAUSE if each.is_paused else Action.RESUME
    return Step(each.name, action, before.get(task_id), after[task_id])
