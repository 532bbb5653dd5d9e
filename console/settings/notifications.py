"""Who is told of what: the channels and rules of a tenant, and what was sent lately."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.pages import MemberRequest, for_members
from console.settings.channel_forms import KIND_LABELS
from console.settings.rule_forms import DIGEST_LABELS
from scheduler_service.db import clock
from tasks_api.domain.notices import SENTENCES, ChannelKind, ChannelSettings, Event
from tasks_api.services import channels, notice_sending, rules, sent_messages

MAX_NAMED_RECIPIENTS = 2


class ChannelRow(NamedTuple):
    """A channel as the list shows it."""

    channel: Any
    kind: str
    target: str
    sent_in_hour: int


@for_members
@require_safe
def notifications(request: MemberRequest) -> HttpResponse:
    if request.htmx:
        return render(request, "console/settings/_sent.html", _read_sent(request))
    context = {
        "channels": _list_channels(request),
        "rules": [(rule, _say(rule)) for rule in rules.list_with_names(request.tenant)],
        **_read_sent(request),
    }
    return render(request, "console/settings/notifications.html", context)


def _read_sent(request: MemberRequest) -> dict[str, Any]:
    sent = sent_messages.list_sent(request.user)
    is_under_way = not all(message.is_over for message in sent)
    return {"sent": sent, "is_under_way": is_under_way}


def _list_channels(request: MemberRequest) -> list[ChannelRow]:
    hour = notice_sending.hour_of(clock.now())
    found = channels.list_channels(request.tenant).order_by("name")
    return [
        ChannelRow(
            channel,
            KIND_LABELS[ChannelKind(channel.kind)],
            target_of(channel, request) if request.user.reaches_tenant else "",
            channel.max_per_hour - channel.messages_left(hour),
        )
        for channel in found[: channels.MAX_CHANNELS + 1]
    ]


def target_of(channel: Any, request: MemberRequest) -> str:
    """Where a channel sends, without what is secret."""
    if channel.kind == ChannelKind.NOTIFICATION_URL:
        return ChannelSettings(url=request.tenant.notification_url).masked_url
    try:
        stored: ChannelSettings = channel.settings
    except ValueError:
        return "unreadable: SECRET_KEY does not decrypt it"
    named = ", ".join(stored.recipients[:MAX_NAMED_RECIPIENTS])
    more = len(stored.recipients) - MAX_NAMED_RECIPIENTS
    if named:
        return f"{named} and {more} more" if more > 0 else named
    key = "integration key" if stored.routing_key else ""
    return " ".join(filter(None, [stored.topic, key, stored.masked_url]))


def _say(rule: Any) -> dict[str, str]:
    """A rule in words."""
    digest = DIGEST_LABELS.get(
        rule.digest_seconds, f"Every {rule.digest_seconds} seconds"
    )
    return {
        "events": ", ".join(_say_event(Event(each), rule) for each in rule.events),
        "when": digest.lower(),
        "quiet": _say_quiet(rule),
    }


def _say_quiet(rule: Any) -> str:
    if (quiet := rule.quiet_hours) is None:
        return ""
    return f"quiet {quiet.begins:%H:%M} to {quiet.ends:%H:%M}, {quiet.zone}"


def _say_event(event: Event, rule: Any) -> str:
    subject = "run" if event.startswith("run.") else "task"
    if event == Event.TASK_FAILING:
        return f"a task failed {rule.streak} times in a row"
    if event == Event.RUN_LATE:
        return f"a run was {rule.late_after} s late"
    return f"a {subject} {SENTENCES[event]}"
