"""The messages of the channels of a tenant, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from accounts.models import User
from tasks_api.domain.notices import CHANNEL_SCHEME, Message, Notice
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import FINAL_STATES
from tasks_api.models import Channel, Run, Task
from tasks_api.services.channels import NOTIFICATION_URL_NAME

MAX_LISTED = 20


class SentMessage(NamedTuple):
    """A message, its channel, and its last run; a removed channel has no name."""

    title: str
    channel: str
    made_at: datetime
    run: Run | None

    @property
    def is_over(self) -> bool:
        return self.run is not None and self.run.state in FINAL_STATES


def list_sent(user: User, *, limit: int = MAX_LISTED) -> list[SentMessage]:
    """The newest messages that belong to a user, or to the tenant for those who reach it."""
    notices = Task.objects.visible_to(user).for_surface(Surface.NOTICES)
    # Notices are few, and have an index. The order of ids is that of all tasks.
    tasks = list(notices.order_by("-created_at")[:limit])
    ids = Run.objects.newest_ids([task.pk for task in tasks], each=1)
    run_of = {run.task_id: run for run in Run.objects.filter(pk__in=ids)}
    channels = Channel.objects.filter(tenant=user.tenant_id)
    names = {str(pk): name for pk, name in channels.values_list("pk", "name")}
    return [
        SentMessage(
            _title(task), _channel(task, names), task.created_at, run_of.get(task.pk)
        )
        for task in tasks
    ]


def _channel(task: Task, names: Mapping[str, str]) -> str:
    if not task.url.startswith(CHANNEL_SCHEME):
        return NOTIFICATION_URL_NAME
    return names.get(task.url.removeprefix(CHANNEL_SCHEME), "")


def _title(task: Task) -> str:
    if task.url.startswith(CHANNEL_SCHEME):
        return Message.from_json(task.body).title
    # What the notification URL gets without a rule.
    event = json.loads(task.body)
    data = event["data"]
    return Notice(
        event["type"],
        event["timestamp"],
        data["task_id"],
        data["task_name"],
        data["reason"],
    ).sentence
