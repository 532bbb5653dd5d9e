"""Write audit entries about tasks, one for each tenant."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from accounts import audit
from tasks_api.models import Task


def record_for_tenants(action: str, tasks: Iterable[Task]) -> None:
    """Write one entry for each tenant that has some of the tasks."""
    ids_of_tenant: dict[int, list[uuid.UUID]] = {}
    for task in tasks:
        ids_of_tenant.setdefault(task.tenant_id, []).append(task.pk)
    for tenant_id, ids in ids_of_tenant.items():
        audit.record(tenant_id, action, ids)
