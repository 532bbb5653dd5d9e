"""Count the tasks that a user reaches, for an overview."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from accounts.models import User
from tasks_api.domain.specs import Surface
from tasks_api.storage import task_counts


class TaskCount(NamedTuple):
    """How many living tasks came in through one wire format."""

    surface: Surface
    total: int


def count_tasks(user: User, *, now: datetime) -> list[TaskCount]:
    """The living tasks of the user, or of the tenant for those who reach it, by format."""
    if user.tenant_id is None:
        return []
    owners: list[int] = [user.pk]
    if user.reaches_tenant:
        of_tenant = User.objects.filter(tenant=user.tenant_id)
        owners = list(of_tenant.order_by("pk").values_list("pk", flat=True))
    return [
        TaskCount(
            surface,
            task_counts.count_alive(user.tenant_id, owners, surface, now=now),
        )
        for surface in Surface
        if surface != Surface.NOTICES
    ]
