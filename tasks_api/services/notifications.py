"""Tell a tenant, by a signed request to its notification URL, what the service did by itself.

A notice is a one-time task of the tenant, written in the transaction that it tells of:
it is sent, signed, guarded, retried and kept like any other, and lost like none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from accounts.models import Tenant, User
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Backoff, Surface, TaskSpec
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Task
from tasks_api.storage import task_rows

# About a day: whoever watches over tasks may be down together with their target.
RETRY = Backoff(
    max_attempts=12, min_delay=5, max_delay=3 * 3600, statuses="400-409,411-599"
)


class Notice(NamedTuple):
    """What happened to a task, which has its owner loaded, and why."""

    type: str
    task: Task
    reason: str
    last_error: str


def write(notices: Sequence[Notice], *, now: datetime) -> None:
    """Have tenants told that have a notification URL; of notices themselves nobody is.

    Belongs into the transaction that does what is told.
    """
    told = [notice for notice in notices if notice.task.surface != Surface.NOTICES]
    tenants = Tenant.objects.filter(pk__in={notice.task.tenant_id for notice in told})
    urls = dict(
        tenants.exclude(notification_url="").values_list("pk", "notification_url")
    )
    of_owner: dict[User, list[TaskSpec]] = {}
    for notice in told:
        if url := urls.get(notice.task.tenant_id):
            of_owner.setdefault(notice.task.owner, []).append(_spec(notice, url, now))
    for owner, specs in of_owner.items():
        task_rows.insert_tasks(owner, specs, now=now)


def _spec(notice: Notice, url: str, now: datetime) -> TaskSpec:
    task = notice.task
    event = {
        "type": notice.type,
        "timestamp": format_timestamp(now),
        "data": {
            "task_id": str(task.pk),
            "task_name": task.name,
            "reason": notice.reason,
            "last_error": notice.last_error,
        },
    }
    return TaskSpec(
        Surface.NOTICES,
        url,
        Once(now),
        json.dumps(event, ensure_ascii=False),
        retry=RETRY,
    )
