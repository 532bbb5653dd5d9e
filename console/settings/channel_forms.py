"""The forms of channels, one for each kind. What a channel keeps secret is never shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from accounts.url_checks import URL_CHECKS
from tasks_api.domain import notice_limits as limits
from tasks_api.domain.notices import (
    REQUIRED_SETTINGS,
    ChannelKind,
    ChannelSettings,
    settings_of,
)
from tasks_api.services.channels import DEFAULT_MAX_PER_HOUR

KIND_LABELS: Mapping[ChannelKind, str] = {
    ChannelKind.EMAIL: "E-mail",
    ChannelKind.SLACK: "Slack",
    ChannelKind.DISCORD: "Discord",
    ChannelKind.TEAMS: "Microsoft Teams",
    ChannelKind.PAGERDUTY: "PagerDuty",
    ChannelKind.NTFY: "ntfy",
    ChannelKind.WEBHOOK: "Web hook",
    ChannelKind.NOTIFICATION_URL: "Notification URL",
}
# Where people find what the form asks for.
KIND_HELP: Mapping[ChannelKind, str] = {
    ChannelKind.EMAIL: "Mail to people who have agreed to get it.",
    ChannelKind.SLACK: "In your Slack app: Incoming Webhooks, Add New Webhook.",
    ChannelKind.DISCORD: "In the settings of the Discord channel: Integrations, Webhooks.",
    ChannelKind.TEAMS: "In the Teams channel: Workflows, Send webhook alerts to a channel.",
    ChannelKind.PAGERDUTY: "In the PagerDuty service: Integrations, Events API V2.",
    ChannelKind.NTFY: "A topic of ntfy.sh, or of a server of your own.",
    ChannelKind.WEBHOOK: "A URL of yours, which gets signed events as JSON.",
    ChannelKind.NOTIFICATION_URL: "The operators of the service set the URL.",
}
# In the order of the form.
_LABELS = {
    "recipients": "Addresses",
    "topic": "Topic",
    "routing_key": "Integration key",
    "url": "URL",
    "token": "Access token",
}
_OPTIONAL_HELP = {
    (ChannelKind.PAGERDUTY, "url"): "Only for another region, such as "
    "https://events.eu.pagerduty.com/v2/enqueue.",
    (ChannelKind.NTFY, "url"): "Only for a server of your own.",
    (ChannelKind.NTFY, "token"): "Only if the topic is protected.",
}
# The settings that are never shown again.
_SEALED = ("url", "routing_key", "token")
MAX_URL_LENGTH = 2000


class RecipientsField(forms.CharField):
    """Mail addresses, one on each line or with commas between them."""

    widget = forms.Textarea(attrs={"rows": 3, "placeholder": "ops@example.com"})

    def clean(self, value: Any) -> Any:
        found = re.split(r"[\s,;]+", super().clean(value).strip())
        addresses = tuple(dict.fromkeys(filter(None, found)))
        if not addresses:
            raise ValidationError(self.error_messages["required"])
        for address in addresses:
            _check_address(address)
        if len(addresses) > limits.MAX_RECIPIENTS:
            raise ValidationError(f"At most {limits.MAX_RECIPIENTS} addresses.")
        return addresses


def _check_address(address: str) -> None:
    try:
        validate_email(address)
    except ValidationError:
        raise ValidationError(f"{address:.100} is no address.") from None


def _check_url(url: str) -> None:
    for find_problem in URL_CHECKS:
        if problem := find_problem(url):
            raise ValidationError(problem)


def _check_secret(text: str) -> None:
    if not (text.isascii() and text.isprintable()):
        raise ValidationError("It has characters that are not printable ASCII.")


def _check_topic(topic: str) -> None:
    if not limits.TOPIC.fullmatch(topic):
        raise ValidationError("1 to 64 of A-Z, a-z, 0-9, - and _.")


def _make_field(name: str, **more: Any) -> forms.Field:
    match name:
        case "recipients":
            return RecipientsField(**more)
        case "topic":
            return forms.CharField(validators=[_check_topic], **more)
        case "url":
            return forms.CharField(
                max_length=MAX_URL_LENGTH,
                validators=[_check_url],
                widget=forms.URLInput(attrs={"autocomplete": "off"}),
                **more,
            )
    return forms.CharField(
        max_length=limits.MAX_SECRET_LENGTH,
        validators=[_check_secret],
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        **more,
    )


class ChannelForm(forms.Form):
    """A channel of a kind: a new one, or one whose `stored` settings are there."""

    name = forms.CharField(
        max_length=limits.MAX_CHANNEL_NAME_LENGTH,
        help_text="What your tenant calls the channel, such as ops chat.",
    )
    max_per_hour = forms.IntegerField(
        min_value=1,
        max_value=limits.MAX_PER_HOUR,
        initial=DEFAULT_MAX_PER_HOUR,
        label="Messages an hour, at most",
        help_text="What is beyond that is gathered into one message of the next hour.",
    )
    is_paused = forms.BooleanField(
        required=False,
        label="Paused",
        help_text="A paused channel sends nothing, and drops what waits.",
    )
    field_order = ("name", *_LABELS)

    def __init__(
        self,
        *args: Any,
        kind: ChannelKind,
        stored: ChannelSettings | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._kind, self._stored = kind, stored
        self._settings = [name for name in _LABELS if name in settings_of(kind)]
        for name in self._settings:
            self._add_setting(name)
        self.order_fields(self.field_order)

    def _add_setting(self, name: str) -> None:
        is_required = name in REQUIRED_SETTINGS[self._kind]
        shown = getattr(self._stored, name, None)
        keeps = bool(shown) and name in _SEALED
        self.fields[name] = _make_field(
            name,
            label=_LABELS[name],
            required=is_required and not keeps,
            help_text=self._help(name, keeps=keeps),
        )
        if shown and not keeps:
            self.initial[name] = "\n".join(shown) if name == "recipients" else shown
        if keeps and not is_required:
            self.fields[f"remove_{name}"] = forms.BooleanField(
                required=False, label=f"Remove the {_LABELS[name]}"
            )

    def _help(self, name: str, *, keeps: bool) -> str:
        usual = _OPTIONAL_HELP.get((self._kind, name), "")
        if not keeps or self._stored is None:
            return usual
        now = f"It is {self._stored.masked_url} now" if name == "url" else "It is set"
        return f"{now}, and not shown again. Empty keeps it. {usual}".strip()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that were given; an empty one that was there is removed."""
        given = self.cleaned_data
        found = {name: given[name] for name in self._settings if given.get(name)}
        removed = {n: "" for n in self._settings if given.get(f"remove_{n}")}
        return {**found, **removed}

    @property
    def columns(self) -> dict[str, Any]:
        names = ("name", "max_per_hour", "is_paused")
        return {name: self.cleaned_data[name] for name in names}


def offered_kinds() -> list[tuple[str, str, str]]:
    """The kinds that an administrator may make, each with its name and where it leads."""
    return [
        (kind.value, label, KIND_HELP[kind])
        for kind, label in KIND_LABELS.items()
        if kind != ChannelKind.NOTIFICATION_URL
        and (kind != ChannelKind.EMAIL or settings.EMAIL_URL)
    ]
