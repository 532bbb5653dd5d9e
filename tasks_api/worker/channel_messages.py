"""Build the messages of channels, whose settings are read when a message is sent.

So a changed channel counts at once, and no task holds a copy of its secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.conf import settings

from accounts import encryption
from tasks_api.delivery import mail, message_formats, request
from tasks_api.delivery.request import BuildError, ClaimedRun, Credentials
from tasks_api.domain.notices import (
    CHANNEL_SCHEME,
    ChannelKind,
    ChannelSettings,
    Message,
)
from tasks_api.domain.request_options import JSON_TYPE
from tasks_api.domain.specs import Surface
from tasks_api.models import Channel

Built = request.Request | mail.Mail
Build = Callable[[ClaimedRun, Credentials], Built]


def is_message(run: ClaimedRun) -> bool:
    return run.surface == Surface.NOTICES and run.url.startswith(CHANNEL_SCHEME)


def with_channels(build: Build, runs: Sequence[ClaimedRun], *, now: datetime) -> Build:
    """Like `build`, but messages are built for their channels, which are read once."""
    messages = [run for run in runs if is_message(run)]
    if not messages:
        return build
    channels = _load_channels(_channel_id(run) for run in messages)

    def build_either(run: ClaimedRun, credentials: Credentials) -> Built:
        if not is_message(run):
            return build(run, credentials)
        channel = channels.get(_channel_id(run))
        if channel is None or channel.tenant_id != run.tenant_id:
            raise BuildError("the channel was removed")
        return _build_message(run, channel, credentials, now)

    return build_either


def _channel_id(run: ClaimedRun) -> UUID:
    return UUID(run.url.removeprefix(CHANNEL_SCHEME))


def _load_channels(ids: Iterable[UUID]) -> dict[UUID, Channel]:
    found = Channel.objects.select_related("tenant").filter(pk__in=set(ids))
    return {channel.pk: channel for channel in found}


def _build_message(
    run: ClaimedRun, channel: Channel, credentials: Credentials, now: datetime
) -> Built:
    kind, message = ChannelKind(channel.kind), Message.from_json(run.body)
    target = _read_settings(channel)
    if kind == ChannelKind.EMAIL:
        return mail.Mail(
            str(run.run_id),
            message_formats.subject_of(message),
            message_formats.mail_text(message),
            target.recipients,
        )
    payload = message_formats.render(kind, target, message)
    timeout = settings.SCHEDULER_REQUEST_TIMEOUT
    if kind in (ChannelKind.WEBHOOK, ChannelKind.NOTIFICATION_URL):
        signed = run._replace(url=payload.url, body=payload.body, request="")
        return request.build_request(signed, credentials, now=now, timeout=timeout)
    headers = [("Content-Type", JSON_TYPE), ("User-Agent", request.USER_AGENT)]
    headers += payload.headers
    return request.Request(
        "POST",
        payload.url,
        tuple(headers),
        payload.body.encode(),
        timeout,
        heeds_retry_headers=True,
    )


def _read_settings(channel: Channel) -> ChannelSettings:
    try:
        if channel.kind == ChannelKind.NOTIFICATION_URL:
            url = encryption.open_url(channel.tenant.notification_url)
            if not url:
                raise BuildError("the tenant has no notification URL")
            return ChannelSettings(url=url)
        return channel.settings
    except encryption.Undecryptable:
        raise BuildError("SECRET_KEY does not open the notification URL") from None
    except ValueError as error:
        if isinstance(error, BuildError):
            raise
        raise BuildError("SECRET_KEY does not open the channel") from None
