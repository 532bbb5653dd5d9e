"""Create, replace and remove tasks by their client names."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import transaction

from accounts import audit
from accounts.models import User
from tasks_api.domain.exceptions import TaskNotFound
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task, TaskQuerySet
from tasks_api.services import limits
from tasks_api.services.names import lock_name, lock_named, tenant_of
from tasks_api.services.pausing import suspend_ownerless
from tasks_api.services.removal import end_expired, end_removed, remove_locked
from tasks_api.services.unstarted_runs import cancel_retries
from tasks_api.storage import stored_schedules, task_rows


def lock_task_or_name(
    user: User, name: str, *, surface: Surface, now: datetime
) -> Task | None:
    """Lock a name and the task that has it, until the transaction ends.

    Returns None if the name is free; only the caller may give it to a task then.
    Raises TaskAccessDenied if another user's task has it.
    """
    tenant = tenant_of(user)
    lock_name(tenant, surface, name)
    named = Task.objects.for_tenant(tenant).named(surface, name)
    end_expired(named, now=now)
    return lock_named(user, named)


@transaction.atomic
def upsert_task(owner: User, spec: TaskSpec, *, now: datetime) -> None:
    """Create a recurring task, or replace the tenant's task of that name.

    A replaced task keeps its id and its history. A run that waits for a retry is
    cancelled. A request under way finishes, and is not retried. Raises TaskAccessDenied
    if another user's task has the name.
    """
    tenant = tenant_of(owner)
    lock_name(tenant, spec.surface)
    named = Task.objects.for_tenant(tenant).named(spec.surface, spec.name)
    end_expired(named, now=now)
    task = lock_named(owner, named)
    if task is None:
        task_rows.insert_tasks(owner, limits.admit_new(owner, [spec], now=now), now=now)
        return
    [(task, spec)] = limits.admit_changes(owner, [(task, spec)], now=now)
    audit.record(tenant.pk, "task.replace", [task.pk])
    task_rows.replace_task(task, spec, owner, now=now)
    task.periodic_task.enabled = True
    suspend_ownerless([task])
    cancel_retries([task.pk], reason="The task was replaced.")


@transaction.atomic
def replace_all(
    owner: User, specs: Sequence[TaskSpec], *, surface: Surface, now: datetime
) -> None:
    """Replace all named tasks of the tenant on a surface, at once.

    A task whose schedule stays the same is kept; the others are removed or created.
    """
    tenant = tenant_of(owner)
    lock_name(tenant, surface)
    tasks = Task.objects.for_tenant(tenant).for_surface(surface)
    end_expired(tasks, now=now)
    desired = {spec.name: spec for spec in specs}
    kept, gone = _keep_unchanged(tasks, desired, now=now)
    end_removed(gone)
    audit.record(tenant.pk, "task.remove", gone)
    if new := [spec for spec in desired.values() if spec.name not in kept]:
        task_rows.insert_tasks(owner, limits.admit_new(owner, new, now=now), now=now)


def _keep_unchanged(
    tasks: TaskQuerySet, desired: Mapping[str, TaskSpec], *, now: datetime
) -> tuple[set[str], list[uuid.UUID]]:
    """Lock the named tasks; return the names of those to keep, and the other ids."""
    kept, gone = set(), []
    alive = tasks.filter(ended_at=None).exclude(name="").order_by("pk")
    rows = alive.select_for_update(no_key=True)
    for task_id, name, *stored in rows.values_list(
        "pk", "name", *stored_schedules.StoredSchedule._fields
    ):
        spec = desired.get(name)
        if spec and stored_schedules.fires_alike(
            stored_schedules.StoredSchedule._make(stored),
            stored_schedules.to_stored(spec.schedule, created_at=now),
        ):
            kept.add(name)
        else:
            gone.append(task_id)
    return kept, gone


@transaction.atomic
def remove_named(owner: User, name: str, *, surface: Surface, now: datetime) -> None:
    """Remove the task of a name.

    Raises TaskNotFound, or TaskAccessDenied if another user's task has the name.
    """
    named = Task.objects.for_tenant(tenant_of(owner)).named(surface, name).alive(now)
    task = lock_named(owner, named)
    if task is None:
        raise TaskNotFound("There is no job with this id")
    remove_locked(task)
