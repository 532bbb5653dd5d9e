"""Write messages in the formats of those who receive them, as their documents say.

Texts are clipped to the limits of each receiver. Names and reasons come from tenants and
their targets, so nothing in them may act as markup that calls people.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tasks_api.domain.notices import (
    ChannelKind,
    ChannelSettings,
    Event,
    Message,
    Notice,
)

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
NTFY_URL = "https://ntfy.sh/"
# Characters: Slack's section, Discord's content and embed, PagerDuty's summary.
MAX_SLACK_TEXT = 3000
MAX_DISCORD_CONTENT, MAX_DISCORD_EMBED = 2000, 4096
MAX_PAGERDUTY_SUMMARY = 1024
# Teams takes 28 KB a message, in which JSON escapes some characters, and ntfy 4,096 bytes
# of text.
MAX_TEAMS_BYTES = 10_000
MAX_NTFY_BYTES = 4096
MAX_SUBJECT = 150
ELLIPSIS = "…"
# PagerDuty's words for how bad it is.
_SEVERITIES = {
    Event.RUN_FAILED: "error",
    Event.RUN_OVERDUE: "error",
    Event.TASK_FAILING: "critical",
    Event.TASK_PAUSED: "critical",
    Event.TASK_ENDED: "critical",
    Event.RUN_LATE: "warning",
    Event.RUN_MISSED: "warning",
}


class Payload(NamedTuple):
    """What is posted: where, the JSON of the body, and headers beside its type."""

    url: str
    body: str
    headers: tuple[tuple[str, str], ...] = ()


def render(kind: ChannelKind, settings: ChannelSettings, message: Message) -> Payload:
    """The request that tells a message to a channel, which is none of mail."""
    return _RENDERERS[kind](settings, message)


def _webhook(settings: ChannelSettings, message: Message) -> Payload:
    """An event as Standard Webhooks recommends it: type, timestamp and data."""
    return Payload(settings.url, _dump(_to_event(message)))


def _to_event(message: Message) -> Mapping[str, Any]:
    if message.is_test:
        said = {"message": " ".join(message.lines)}
        return {"type": "test", "timestamp": message.timestamp, "data": said}
    if message.count == 1:
        return _notice_event(message.notices[0])
    data = {
        "count": message.count,
        "held_back": message.held_back,
        "notices": [
            {
                **(event := _notice_event(notice)),
                "data": {**event["data"], "count": notice.count},
            }
            for notice in message.notices
        ],
    }
    return {"type": "digest", "timestamp": message.timestamp, "data": data}


def _notice_event(notice: Notice) -> dict[str, Any]:
    data = {
        "task_id": notice.task_id,
        "task_name": notice.task_name,
        "run_id": notice.run_id,
        "reason": notice.reason,
    }
    return {"type": notice.type, "timestamp": notice.timestamp, "data": data}


def _slack(settings: ChannelSettings, message: Message) -> Payload:
    text = clip(_whole_text(message), MAX_SLACK_TEXT)
    # `text` is what notifications show. Slack reads &, < and > in it as markup.
    section = {"type": "plain_text", "text": text, "emoji": False}
    body = {
        "text": _escape(clip(message.title, MAX_SLACK_TEXT)),
        "blocks": [{"type": "section", "text": section}],
    }
    return Payload(settings.url, _dump(body))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _discord(settings: ChannelSettings, message: Message) -> Payload:
    body = {
        "content": clip(message.title, MAX_DISCORD_CONTENT),
        "embeds": [{"description": clip(_details(message), MAX_DISCORD_EMBED)}],
        "allowed_mentions": {"parse": []},
    }
    return Payload(settings.url, _dump(body))


def _teams(settings: ChannelSettings, message: Message) -> Payload:
    # A single line feed is no new line in a text block.
    details = clip_bytes(_details(message).replace("\n", "\n\n"), MAX_TEAMS_BYTES)
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": [
            {
                "type": "TextBlock",
                "text": clip(message.title, MAX_SUBJECT),
                "weight": "Bolder",
                "wrap": True,
            },
            {"type": "TextBlock", "text": details, "wrap": True},
        ],
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return Payload(
        settings.url, _dump({"type": "message", "attachments": [attachment]})
    )


def _pagerduty(settings: ChannelSettings, message: Message) -> Payload:
    """An alert that opens the incident of a task, or closes it when it recovers."""
    tasks = {notice.task_id for notice in message.notices}
    task_id = next(iter(tasks)) if len(tasks) == 1 else None
    body: dict[str, Any] = {
        "routing_key": settings.routing_key,
        "event_action": "trigger",
        "dedup_key": task_id or f"{message.tenant} {message.timestamp}",
    }
    if task_id and message.is_relief:
        body["event_action"] = "resolve"
    else:
        body |= {"client": "scheduler-service", "payload": _alert(message, task_id)}
    return Payload(settings.url or PAGERDUTY_URL, _dump(body))


def _alert(message: Message, task_id: str | None) -> Mapping[str, Any]:
    newest = message.notices[-1] if message.notices else None
    return {
        "summary": clip(message.title, MAX_PAGERDUTY_SUMMARY),
        "source": task_id or message.tenant,
        "severity": _SEVERITIES.get(Event(newest.type), "info") if newest else "info",
        "timestamp": message.timestamp,
        "class": newest.type if newest else "test",
        "custom_details": _to_event(message)["data"],
    }


def _ntfy(settings: ChannelSettings, message: Message) -> Payload:
    is_good = message.is_test or message.is_relief
    body = {
        "topic": settings.topic,
        "title": clip(message.title, MAX_SUBJECT),
        "message": clip_bytes(_details(message), MAX_NTFY_BYTES),
        "tags": ["white_check_mark" if is_good else "warning"],
        "priority": 3 if is_good else 4,
    }
    token = settings.token
    headers = (("Authorization", f"Bearer {token}"),) if token else ()
    return Payload(settings.url or NTFY_URL, _dump(body), headers)


_RENDERERS: Mapping[ChannelKind, Callable[[ChannelSettings, Message], Payload]] = {
    ChannelKind.WEBHOOK: _webhook,
    ChannelKind.NOTIFICATION_URL: _webhook,
    ChannelKind.SLACK: _slack,
    ChannelKind.DISCORD: _discord,
    ChannelKind.TEAMS: _teams,
    ChannelKind.PAGERDUTY: _pagerduty,
    ChannelKind.NTFY: _ntfy,
}


def subject_of(message: Message) -> str:
    """The title as the subject of a mail, which is one line."""
    return clip(" ".join(message.title.split()), MAX_SUBJECT)


def mail_text(message: Message) -> str:
    return f"{_details(message)}\n\n-- \nSent for {message.tenant} by the scheduler.\n"


def _whole_text(message: Message) -> str:
    return f"{message.title}\n{_details(message)}"


def _details(message: Message) -> str:
    return "\n".join(message.lines)


def clip(text: str, limit: int) -> str:
    """At most `limit` characters of a text."""
    return text if len(text) <= limit else text[: limit - 1] + ELLIPSIS


def clip_bytes(text: str, limit: int) -> str:
    """At most `limit` bytes of a text in UTF-8."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    return raw[: limit - len(ELLIPSIS.encode())].decode(errors="ignore") + ELLIPSIS


def _dump(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False)
