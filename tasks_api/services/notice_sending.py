"""Turn notices that are due into messages of their channels.

A message is a one-time task on the surface of notices, so it is sent, retried and kept
like any other task. Any number of beats may do this at once: each skips the channels that
another one has locked.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Exists, OuterRef

from accounts import audit
from accounts.models import Role, User
from scheduler_service.db.statements import fetch_all, prepared, with_limit
from tasks_api.domain.notices import (
    CHANNEL_SCHEME,
    MAX_LISTED_NOTICES,
    ChannelKind,
    Message,
    Notice,
)
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Channel, PendingNotice
from tasks_api.services.notice_statements import TAKE_NOTICES
from tasks_api.services.notifications import NOTICE_RETRY
from tasks_api.storage import task_rows

logger = logging.getLogger(__name__)

# Channels in one transaction.
BATCH_SIZE = 100
HOUR = timedelta(hours=1)
# The time until a channel whose messages could not be made is looked at again.
ERROR_DELAY = timedelta(minutes=1)


class _TakenNotice(NamedTuple):
    """The notices of a task with one event; the columns of TAKE_NOTICES."""

    type: str
    task_id: UUID | None
    at: datetime
    task_name: str
    run_id: UUID | None
    reason: str
    events: int
    total: int
    held_back: int


@transaction.atomic(durable=True)
def send_due(*, now: datetime, limit: int = BATCH_SIZE) -> bool:
    """Make messages of the notices that are due. Returns whether more may be due."""
    due = PendingNotice.objects.filter(send_at__lte=now)
    if not due.exists():
        return False
    channels = Channel.objects.select_related("tenant", "owner").select_for_update(
        no_key=True, skip_locked=True, of=("self",)
    )
    channels = channels.filter(tenant__frozen_at=None)
    locked = list(channels.filter(pk__in=due.values("channel")).order_by("pk")[:limit])
    for channel in locked:
        _send_alone(channel, now)
    if not locked:
        # A channel that was deleted while a worker wrote a notice for it.
        known = Channel.objects.filter(pk=OuterRef("channel"))
        due.filter(~Exists(known)).delete()
    return len(locked) == limit


def make_test(channel: Channel, owner: User, *, now: datetime) -> UUID:
    """Send a test message of a locked channel; returns the task that sends it."""
    message = Message(channel.tenant.name, format_timestamp(now))
    return _store(channel, owner, [message], now)[0]


def _send_alone(channel: Channel, now: datetime) -> None:
    """Send what is due in a channel. An error of one channel must not hold up the others."""
    try:
        with transaction.atomic():
            _send(channel, now)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("A channel cannot send", extra={"channel_id": channel.pk})
        due = PendingNotice.objects.filter(channel=channel, send_at__lte=now)
        due.update(send_at=now + ERROR_DELAY)


def _send(channel: Channel, now: datetime) -> None:
    due = PendingNotice.objects.filter(channel=channel, send_at__lte=now)
    owner = _find_owner(channel)
    if channel.is_paused or owner is None or not _has_target(channel):
        due.delete()
        return
    left = channel.messages_left(hour_of(now))
    if left > 0:
        _store(channel, owner, _take_messages(channel, left, now), now)
        return
    following = hour_of(now) + HOUR
    due.update(send_at=following, is_held=True)
    for rule in channel.rules.exclude(quiet_zone=""):
        held = PendingNotice.objects.filter(rule=rule, send_at=following)
        held.update(send_at=rule.send_moment(following))


def _find_owner(channel: Channel) -> User | None:
    """The user to whom messages belong: who made the channel, or an administrator."""
    if channel.owner is not None and channel.owner.is_active:
        return channel.owner
    active = User.objects.filter(tenant=channel.tenant, is_active=True)
    # "admin" comes before "member".
    assert Role.ADMIN < Role.MEMBER
    return active.order_by("role", "pk").first()


def _has_target(channel: Channel) -> bool:
    is_of_tenant = channel.kind == ChannelKind.NOTIFICATION_URL
    return not is_of_tenant or bool(channel.tenant.notification_url)


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _take_messages(channel: Channel, left: int, now: datetime) -> list[Message]:
    """Take the notices of a channel that are due, and make at most `left` messages."""
    with prepared() as cursor:
        cursor.execute(with_limit(TAKE_NOTICES, MAX_LISTED_NOTICES), [channel.pk, now])
        taken = fetch_all(cursor, _TakenNotice)[::-1]
    if not taken:
        return []
    groups = _divide(channel, [_to_notice(each) for each in taken], left)
    messages = [
        Message(
            channel.tenant.name,
            format_timestamp(now),
            tuple(group),
            count=sum(notice.count for notice in group),
            limit=channel.max_per_hour,
        )
        for group in groups
    ]
    # The last message counts what no message names.
    unlisted = taken[0].total - sum(message.count for message in messages)
    last = messages.pop()
    count = last.count + unlisted
    return [*messages, replace(last, count=count, held_back=taken[0].held_back)]


def _to_notice(taken: _TakenNotice) -> Notice:
    return Notice(
        taken.type,
        format_timestamp(taken.at),
        _to_text(taken.task_id),
        taken.task_name,
        taken.reason,
        _to_text(taken.run_id),
        taken.events,
    )


def _to_text(row_id: UUID | None) -> str | None:
    return None if row_id is None else str(row_id)


def _divide(
    channel: Channel, notices: Sequence[Notice], left: int
) -> list[list[Notice]]:
    """The notices of each message: all in one, but for PagerDuty those of each task.

    There, each task has an incident of its own, which its recovery closes.
    """
    if channel.kind != ChannelKind.PAGERDUTY:
        return [list(notices)]
    by_task = sorted(notices, key=lambda notice: notice.task_id or "")
    groups = [
        list(group) for _, group in groupby(by_task, key=lambda notice: notice.task_id)
    ]
    rest = [notice for group in groups[left - 1 :] for notice in group]
    return [*groups[: left - 1], rest] if len(groups) > left else groups


def _store(
    channel: Channel, owner: User, messages: Sequence[Message], now: datetime
) -> list[UUID]:
    """Store the tasks that send messages, and count them."""
    if not messages:
        return []
    hour = hour_of(now)
    sent = len(messages) + (channel.sent_in_hour if channel.hour == hour else 0)
    channel.hour, channel.sent_in_hour = hour, sent
    channel.save(update_fields=["hour", "sent_in_hour"])
    specs = [
        TaskSpec(
            Surface.NOTICES,
            f"{CHANNEL_SCHEME}{channel.pk}",
            Once(now),
            message.to_json(),
            retry=NOTICE_RETRY,
        )
        for message in messages
    ]
    with audit.acting_as(audit.SERVICE):
        return [task.id for task in task_rows.insert_tasks(owner, specs, now=now)]
