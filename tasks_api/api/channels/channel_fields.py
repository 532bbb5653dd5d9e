"""Read and show the fields of a channel. What it keeps secret is never shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from accounts import audit
from tasks_api.api import fields
from tasks_api.api.channels.base import read_given, read_paused, read_text
from tasks_api.delivery import targets
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.notice_limits import (
    MAX_CHANNEL_NAME_LENGTH,
    MAX_PER_HOUR,
    MAX_RECIPIENTS,
    MAX_SECRET_LENGTH,
    TOPIC,
)
from tasks_api.domain.notices import (
    REQUIRED_SETTINGS,
    ChannelKind,
    ChannelSettings,
    settings_of,
)
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Channel
from tasks_api.services.channels import DEFAULT_MAX_PER_HOUR

# The kinds that clients create.
KINDS = [kind for kind in ChannelKind if kind != ChannelKind.NOTIFICATION_URL]
# The end of a URL as responses show it.
MASKED_END = "/…"


def read_kind(data: Mapping[str, Any]) -> ChannelKind:
    value = fields.require_field(data, "kind")
    if value not in list(KINDS):
        raise InvalidTask(
            "kind",
            f"Invalid value of kind. Value should be one of {', '.join(KINDS)}",
        )
    if value == ChannelKind.EMAIL and not settings.EMAIL_URL:
        raise InvalidTask(
            "kind",
            "Invalid value of kind. This service sends no mail, because its operators "
            "have not set EMAIL_URL",
        )
    return ChannelKind(value)


def read_columns(data: Mapping[str, Any]) -> dict[str, Any]:
    """The given fields that every kind has, by the names of their columns."""
    given = read_given(
        data, {"name": _read_name, "max_per_hour": _read_limit, "paused": read_paused}
    )
    return {"is_paused" if name == "paused" else name: given[name] for name in given}


def read_settings(
    data: Mapping[str, Any], kind: ChannelKind, *, is_new: bool
) -> dict[str, Any]:
    """The given settings of a kind; a new channel needs those that its kind requires."""
    known, required = settings_of(kind), REQUIRED_SETTINGS[kind]
    for name in _SETTING_READERS:
        if name not in known and fields.is_given(data, name):
            raise InvalidTask(name, f"A channel of kind {kind} has no {name}")
    if is_new:
        for name in sorted(required):
            fields.require_field(data, name)
    given = {name: data[name] for name in known if name in data}
    if is_new and str(given.get("url", "")).endswith(MASKED_END):
        fields.raise_invalid("url", f"has {MASKED_END} in the place of its secret part")
    return {
        name: _EMPTY[name]
        if value is None and name not in required
        else _SETTING_READERS[name](value)
        for name, value in given.items()
    }


def _read_name(value: object) -> str:
    return read_text("name", value, longest=MAX_CHANNEL_NAME_LENGTH)


def _read_limit(value: object) -> int:
    read = fields.number({"max_per_hour": value}, "max_per_hour", 1, MAX_PER_HOUR)
    return DEFAULT_MAX_PER_HOUR if read is None else int(read)


def _read_url(value: object) -> str:
    if refusal := targets.refusal(value):
        raise InvalidTask("url", f"Invalid value of url. {refusal}")
    return str(value)


def _read_addresses(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_RECIPIENTS:
        fields.raise_invalid(
            "recipients", f"should be a list of 1 to {MAX_RECIPIENTS} addresses"
        )
    try:
        for address in value:
            validate_email(address)
    except (ValidationError, TypeError):
        fields.raise_invalid(
            "recipients", f"has an element that is no address: {address!r:.100}"
        )
    return tuple(dict.fromkeys(value))


def _read_topic(value: object) -> str:
    if isinstance(value, str) and TOPIC.fullmatch(value):
        return value
    fields.raise_invalid("topic", "should have 1 to 64 of A-Z, a-z, 0-9, - and _")


def _read_secret(name: str, value: object) -> str:
    text = read_text(name, value, longest=MAX_SECRET_LENGTH)
    # It is compared with what responses show, and is else a header.
    if text == audit.REDACTED or text.isascii():
        return text
    fields.raise_invalid(name, "has characters that are not ASCII")


_SETTING_READERS: Mapping[str, Callable[[Any], Any]] = {
    "url": _read_url,
    "recipients": _read_addresses,
    "routing_key": lambda value: _read_secret("routing_key", value),
    "topic": _read_topic,
    "token": lambda value: _read_secret("token", value),
}
_EMPTY = ChannelSettings()._asdict()


def render_channel(channel: Channel, *, with_settings: bool) -> dict[str, Any]:
    """A channel as a member sees it, or as an administrator does, with where it sends."""
    shown: dict[str, Any] = {
        "id": str(channel.pk),
        "name": channel.name,
        "kind": channel.kind,
        "max_per_hour": channel.max_per_hour,
        "paused": channel.is_paused,
        "created_at": format_timestamp(channel.created_at),
    }
    return shown | _render_settings(channel) if with_settings else shown


def _render_settings(channel: Channel) -> dict[str, Any]:
    kind = ChannelKind(channel.kind)
    if kind == ChannelKind.NOTIFICATION_URL:
        url = ChannelSettings(url=channel.tenant.notification_url).masked_url
        return {"url": url or None}
    try:
        stored = channel.settings
    except ValueError:
        # SECRET_KEY does not decrypt them.
        return dict.fromkeys(sorted(settings_of(kind)))
    values = {
        "url": stored.masked_url,
        "recipients": list(stored.recipients),
        "routing_key": stored.routing_key and audit.REDACTED,
        "topic": stored.topic,
        "token": stored.token and audit.REDACTED,
    }
    return {name: values[name] or None for name in sorted(settings_of(kind))}
