"""Client names: among the living tasks of a tenant and a surface, each is unique."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db import transaction

from accounts.models import Tenant, User
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from tasks_api.domain.exceptions import NameTaken, TaskAccessDenied
from tasks_api.domain.specs import Surface
from tasks_api.models import Task, TaskQuerySet
from tasks_api.services.removal import end_expired


def tenant_of(user: User) -> Tenant:
    """Return the tenant of a user who may have tasks."""
    assert user.tenant is not None
    return user.tenant


def lock_name(tenant: Tenant, surface: Surface, name: str = "") -> None:
    """Lock a name until the transaction ends, so that no other request can give it.

    An empty name locks all names of the surface.
    """
    locks.acquire(LockKind.NAMES, tenant.pk, surface, name)


@transaction.atomic
def require_free(
    names: Collection[str], owner: User, surface: Surface, *, now: datetime
) -> None:
    """Raise NameTaken with the names that living tasks of the tenant have."""
    tasks = Task.objects.filter(tenant=owner.tenant_id, surface=surface)
    named = tasks.filter(name__in=names, ended_at=None).exclude(name="")
    end_expired(named, now=now)
    if taken := set(named.values_list("name", flat=True)):
        raise NameTaken(taken)


def lock_named(user: User, named: TaskQuerySet) -> Task | None:
    """Lock the task of a name, if there is one, with its schedule.

    Raises TaskAccessDenied if another user owns it.
    """
    tasks = named.visible_to(user).with_schedule()
    task = tasks.select_for_update(no_key=True, of=("self",)).first()
    if task is None and named.exists():
        raise TaskAccessDenied("What has this id belongs to another user")
    return task
