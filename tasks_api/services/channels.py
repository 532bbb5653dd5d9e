"""Create, change, test and remove the channels of a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.models import Tenant, User
from scheduler_service.db import clock
from tasks_api.domain.exceptions import (
    ChannelExists,
    ChannelNotFound,
    InvalidState,
)
from tasks_api.domain.notices import CHANNEL_SCHEME, ChannelKind, ChannelSettings
from tasks_api.domain.specs import Surface
from tasks_api.models import Channel, Task
from tasks_api.services import notice_sending, removal, rule_cache

MAX_CHANNELS = 50
DEFAULT_MAX_PER_HOUR = 20
# The name of the channel that stands for the notification URL of a tenant.
NOTIFICATION_URL_NAME = "notification URL"
_AUDITED = ("name", "kind", "max_per_hour", "is_paused")


def list_channels(tenant: Tenant) -> QuerySet[Channel]:
    """The channels of a tenant, with one for its notification URL if it has that."""
    found = Channel.objects.filter(tenant=tenant)
    is_known = found.filter(kind=ChannelKind.NOTIFICATION_URL).exists
    if tenant.notification_url and not is_known():
        _add_notification_url(tenant)
    return found


def _add_notification_url(tenant: Tenant) -> None:
    row_id, name = clock.new_id(), NOTIFICATION_URL_NAME
    if Channel.objects.filter(tenant=tenant, name=name).exists():
        name = f"{name} {row_id.hex[-6:]}"
    channel = Channel(
        id=row_id,
        tenant=tenant,
        name=name,
        kind=ChannelKind.NOTIFICATION_URL,
        sealed_settings=ChannelSettings().to_json(),
        max_per_hour=DEFAULT_MAX_PER_HOUR,
    )
    # Another request may add it at the same moment.
    Channel.objects.bulk_create([channel], ignore_conflicts=True)


def get_channel(tenant: Tenant, channel_id: UUID) -> Channel:
    channel = list_channels(tenant).filter(pk=channel_id).first()
    if channel is None:
        raise ChannelNotFound("Channel not found")
    return channel


@transaction.atomic
def create_channel(
    user: User,
    *,
    kind: ChannelKind,
    settings: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> Channel:
    """Create a channel for a user's tenant; `settings` are those of its kind."""
    tenant = lock_tenant(user)
    if tenant.channels.count() >= MAX_CHANNELS:
        raise InvalidState(f"A tenant has at most {MAX_CHANNELS} channels")
    channel = Channel(
        tenant=tenant,
        owner=user,
        kind=kind,
        sealed_settings=ChannelSettings(**settings).to_json(),
        **{"max_per_hour": DEFAULT_MAX_PER_HOUR, **fields},
    )
    _save(channel)
    audit.record(tenant.pk, "channel.create", [channel.pk], _changes({}, channel))
    return channel


@transaction.atomic
def change_channel(
    user: User,
    channel_id: UUID,
    *,
    settings: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> Channel:
    """Change the given settings and fields of a channel; the others stay."""
    channel = _lock_channel(user, channel_id)
    before = {name: getattr(channel, name) for name in _AUDITED}
    for name, value in fields.items():
        setattr(channel, name, value)
    changes = dict(_changes(before, channel))
    if settings:
        merged = _merge(channel, settings)
        if channel.sealed_settings != merged:
            channel.sealed_settings = merged
            changes["settings"] = audit.REDACTED, audit.REDACTED
    channel.owner = channel.owner or user
    _save(channel)
    ids = [channel.pk] if changes else []
    audit.record(channel.tenant_id, "channel.change", ids, changes)
    return channel


@transaction.atomic
def remove_channel(user: User, channel_id: UUID, *, now: datetime) -> None:
    """Remove a channel with its rules and with what it has not sent yet."""
    channel = _lock_channel(user, channel_id)
    if channel.kind == ChannelKind.NOTIFICATION_URL:
        raise InvalidState("The operators of the service set the notification URL")
    unsent = Task.objects.for_tenant(channel.tenant).for_surface(Surface.NOTICES)
    removal.remove_tasks(unsent.filter(url=f"{CHANNEL_SCHEME}{channel.pk}"), now=now)
    channel.delete()
    rule_cache.forget(channel.tenant_id)
    audit.record(channel.tenant_id, "channel.remove", [channel_id])


@transaction.atomic
def send_test(user: User, channel_id: UUID, *, now: datetime) -> UUID:
    """Send a test message, at once; returns the task that sends it."""
    channel = _lock_channel(user, channel_id)
    if channel.is_paused:
        raise InvalidState("The channel is paused")
    if channel.messages_left(notice_sending.hour_of(now)) <= 0:
        raise InvalidState(
            f"The channel has sent its {channel.max_per_hour} messages of this hour"
        )
    task_id = notice_sending.make_test(channel, user, now=now)
    audit.record(channel.tenant_id, "channel.test", [channel.pk])
    return task_id


def lock_tenant(user: User) -> Tenant:
    """Lock a user's tenant, so that two requests cannot both take the last place."""
    assert user.tenant_id is not None
    return Tenant.objects.select_for_update(no_key=True).get(pk=user.tenant_id)


def _lock_channel(user: User, channel_id: UUID) -> Channel:
    tenant = user.tenant
    assert tenant is not None
    get_channel(tenant, channel_id)
    locked = Channel.objects.select_related("tenant", "owner").select_for_update(
        no_key=True, of=("self",)
    )
    channel = locked.filter(tenant=tenant, pk=channel_id).first()
    if channel is None:
        raise ChannelNotFound("Channel not found")
    return channel


def _save(channel: Channel) -> None:
    try:
        with transaction.atomic():
            channel.save()
    except IntegrityError:
        raise ChannelExists(f"There is a channel {channel.name} already") from None
    rule_cache.forget(channel.tenant_id)


def _changes(before: Mapping[str, Any], channel: Channel) -> audit.Changes:
    return audit.find_changes(
        before, {name: getattr(channel, name) for name in _AUDITED}
    )


def _merge(channel: Channel, settings: Mapping[str, Any]) -> str:
    """The settings with the given ones in their places; what is masked stays."""
    try:
        stored = channel.settings
    except ValueError:
        # SECRET_KEY does not decrypt them, so only whole new ones are of use.
        stored = ChannelSettings()
    shown = {"url": stored.masked_url, "token": audit.REDACTED}
    shown["routing_key"] = audit.REDACTED
    given = {
        name: value for name, value in settings.items() if value != shown.get(name)
    }
    return stored._replace(**given).to_json()
