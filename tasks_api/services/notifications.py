"""Send notices to tenants: signed requests that say what the service did by itself.

A notice is a one-time task of the tenant, stored in the transaction that it reports. So
it is signed, sent, retried and kept like any other task, and none gets lost.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from accounts.models import Tenant, User
from tasks_api.domain.notices import Event
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Backoff, Surface, TaskSpec
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Task
from tasks_api.services.events import TaskEvent, store_events
from tasks_api.storage import task_rows

# Retries for about a day, because the receiver of notices may be down with the target.
NOTICE_RETRY = Backoff(
    max_attempts=12, min_delay=5, max_delay=3 * 3600, statuses="400-409,411-599"
)


class Notice(NamedTuple):
    """An event of a task and its reason; the task's owner must be loaded."""

    type: str
    task: Task
    reason: str
    last_error: str


def notify_tenants(notices: Sequence[Notice], *, now: datetime) -> None:
    """Store notices for tenants that have a notification URL, or rules that ask for them.

    The caller must make the reported change in the same transaction. Notices about
    notices are not stored.
    """
    relevant = [notice for notice in notices if notice.task.surface != Surface.NOTICES]
    store_events([_to_event(notice) for notice in relevant], now=now)
    tenants = Tenant.objects.filter(
        pk__in={notice.task.tenant_id for notice in relevant}
    )
    urls = dict(
        tenants.exclude(notification_url="").values_list("pk", "notification_url")
    )
    specs_of_owner: dict[User, list[TaskSpec]] = {}
    for notice in relevant:
        if url := urls.get(notice.task.tenant_id):
            specs_of_owner.setdefault(notice.task.owner, []).append(
                _spec(notice, url, now)
            )
    for owner, specs in specs_of_owner.items():
        task_rows.insert_tasks(owner, specs, now=now)


def _to_event(notice: Notice) -> TaskEvent:
    task = notice.task
    return TaskEvent(Event(notice.type), task.tenant_id, task.pk, notice.reason)


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
        retry=NOTICE_RETRY,
    )
