"""Channels and rules of a tenant, and runs that end in front of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts.models import User
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import GiveUp, RetryAfter, Succeed, Verdict
from tasks_api.domain.ids import id_for
from tasks_api.domain.notices import ChannelKind, Message
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Channel, NotificationRule, PendingNotice, Run, Task
from tasks_api.services import channels, notice_sending, rules, tasks
from tasks_api.worker import verdicts
from tasks_api.worker.record import AttemptResult
from tests.integration.support.stored_tasks import take_runs

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
RETRY = RetryAfter("HTTP 503", 60)


def make_channel(
    owner: User, kind: ChannelKind = ChannelKind.WEBHOOK, **more: Any
) -> Channel:
    settings = more.pop("settings", {"url": "https://example.com/told"})
    fields = {"name": f"{kind} {Channel.objects.count()}", **more}
    return channels.create_channel(owner, kind=kind, settings=settings, fields=fields)


def make_rule(
    owner: User, channel: Channel, *events: str, **more: Any
) -> NotificationRule:
    fields = {"channel_id": channel.pk, "events": list(events), **more}
    return rules.create_rule(owner, fields)


def make_periodic(owner: User, name: str = "job", **more: Any) -> Task:
    now = timezone.now()
    spec = TaskSpec(
        Surface.TASKS,
        more.pop("url", "http://127.0.0.1:9/"),
        Interval(now + HOUR, more.pop("every", HOUR)),
        "{}",
        name=name,
        **more,
    )
    return tasks.create_task(owner, spec, now=now)


def claim_runs(task: Task, count: int = 1, *, late: float = 0.0) -> list[ClaimedRun]:
    """Runs of a task that a worker holds, and that are late by so many seconds."""
    first = timezone.now() - timedelta(seconds=late)
    moments = [first - n * timedelta(milliseconds=1) for n in range(count)]
    made = [
        Run(
            id=id_for(moment, task.tenant_id),
            task=task,
            tenant_id=task.tenant_id,
            scheduled_for=moment,
            wake_at=moment,
        )
        for moment in moments
    ]
    Run.objects.bulk_create(made)
    return take_runs(run.pk for run in made)


def end(task: Task, *fails: bool, late: float = 0.0) -> set[UUID]:
    """Record runs of a task in one batch, each as failed or succeeded."""
    found = [GiveUp("HTTP 500") if each else Succeed() for each in fails]
    return end_with(task, found, late=late)


def end_with(task: Task, found: Sequence[Verdict], *, late: float = 0.0) -> set[UUID]:
    claimed = claim_runs(task, len(found), late=late)
    return verdicts.write_results(
        [
            AttemptResult(run, HttpResult(500, "", 1), verdict, timezone.now())
            for run, verdict in zip(claimed, found, strict=True)
        ]
    )


def pending(channel: Channel) -> list[tuple[str, UUID | None, int]]:
    rows = PendingNotice.objects.filter(channel=channel).order_by("pk")
    return [(row.type, row.task_id, row.count) for row in rows]


def send_due(now: datetime | None = None) -> None:
    while notice_sending.send_due(now=now or timezone.now() + SECOND):
        pass


def messages(channel: Channel) -> list[Message]:
    """What the tasks say that send messages of a channel, the oldest first."""
    of_channel = Task.objects.filter(
        surface=Surface.NOTICES, url=f"channel://{channel.pk}"
    )
    return [Message.from_json(task.body) for task in of_channel.order_by("pk")]
