"""The schemas of channels and rules in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from tasks_api.api.channels.channel_fields import KINDS
from tasks_api.api.openapi import DONE_MESSAGE, count, optional, text
from tasks_api.api.tenant_openapi import closed
from tasks_api.domain.notice_limits import (
    MAX_CHANNEL_NAME_LENGTH,
    MAX_DIGEST,
    MAX_LATE_AFTER,
    MAX_PER_HOUR,
    MAX_RECIPIENTS,
    MAX_STREAK,
)
from tasks_api.domain.notices import ChannelKind, Event
from tasks_api.services.channels import DEFAULT_MAX_PER_HOUR
from tasks_api.services.rules import DEFAULT_LATE_AFTER, DEFAULT_STREAK


def _object(*, required: list[str], **properties: Any) -> dict[str, Any]:
    rule = {"type": "object", "properties": properties}
    return rule | {"required": required} if required else rule


def _paused(description: str) -> dict[str, Any]:
    return {"type": "boolean", "description": description}


_NAME = text(
    "The name of the channel, unique in the tenant.",
    minLength=1,
    maxLength=MAX_CHANNEL_NAME_LENGTH,
)
_LIMIT = {
    "type": "integer",
    "minimum": 1,
    "maximum": MAX_PER_HOUR,
    "description": "How many messages the channel sends within an hour of the clock. "
    f"Further notices wait for the next hour, in one message: {DEFAULT_MAX_PER_HOUR} if absent.",
}
_PAUSED = _paused("Whether the channel sends nothing for rules.")
_SETTINGS = {
    "url": text(
        "Where messages are posted: for the kinds webhook, slack, discord and teams, "
        "and optional for pagerduty and ntfy. Responses show only the host."
    ),
    "recipients": {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_RECIPIENTS,
        "items": {"type": "string", "format": "email"},
        "description": "The addresses that get mail: for the kind email.",
    },
    "routing_key": text(
        "The integration key of a service: for the kind pagerduty. Responses hide it."
    ),
    "topic": text("The topic on the server: for the kind ntfy."),
    "token": text("An access token: optional, for the kind ntfy. Responses hide it."),
}
CHANNEL_IN = _object(
    required=["name", "kind"],
    name=_NAME,
    kind=text("What messages are sent to.", enum=[kind.value for kind in KINDS]),
    **optional({**_SETTINGS, "max_per_hour": _LIMIT, "paused": _PAUSED}),
)
CHANNEL_CHANGE_IN = _object(
    required=[],
    name=_NAME,
    **optional({**_SETTINGS, "max_per_hour": _LIMIT, "paused": _PAUSED}),
)
CHANNEL_OUT = _object(
    required=["id", "name", "kind", "max_per_hour", "paused", "created_at"],
    id=text("The id of the channel."),
    name=_NAME,
    kind=text(
        "What messages are sent to; `notification_url` is the URL that operators set "
        "for the tenant.",
        enum=[kind.value for kind in ChannelKind],
    ),
    max_per_hour=_LIMIT,
    paused=_PAUSED,
    created_at=text("When the channel was made.", format="date-time"),
    **optional(
        {
            name: rule
            | {"description": f"{rule['description']} Administrators see it."}
            for name, rule in _SETTINGS.items()
        }
    ),
)
TEST_OUT = closed(
    task_id=text(
        "The task that sends the message. `GET /runs/?task=` with it says what became of it."
    ),
    message=DONE_MESSAGE,
)

_EVENTS = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "enum": [event.value for event in Event]},
    "description": "The events that the rule sends.",
}
_CHANNEL_ID = text("The channel to which the rule sends.")
_QUIET_HOURS = _object(
    required=["from", "to", "timezone"],
    **{
        "from": text("When they begin: `HH:MM`."),
        "to": text("When they end, on the next day if it is not later: `HH:MM`."),
        "timezone": text("The IANA time zone of both."),
    },
) | {
    "description": "A part of each day in which the rule sends nothing. What happens in "
    "it is sent at its end, in one message."
}
_RULE_OPTIONS = {
    "task_id": text("Only events of this task."),
    "tag": text("Only events of tasks with this tag.", maxLength=100),
    "streak": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_STREAK,
        "description": "The failed runs in a row that make a `task.failing`: "
        f"{DEFAULT_STREAK} if absent.",
    },
    "late_after": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_LATE_AFTER,
        "description": "The seconds after its fire time from which a run is late: "
        f"{DEFAULT_LATE_AFTER} if absent.",
    },
    "digest_seconds": count(
        "Gathers the notices of so many seconds into one message; 0 sends each at once.",
        maximum=MAX_DIGEST,
    ),
    "quiet_hours": _QUIET_HOURS,
    "paused": _paused("Whether the rule sends nothing."),
}
RULE_IN = _object(
    required=["channel_id", "events"],
    channel_id=_CHANNEL_ID,
    events=_EVENTS,
    **optional(_RULE_OPTIONS),
)
RULE_CHANGE_IN = _object(
    required=[], channel_id=_CHANNEL_ID, events=_EVENTS, **optional(_RULE_OPTIONS)
)
_NULLABLE = {name: _RULE_OPTIONS[name] for name in ("task_id", "tag", "quiet_hours")}
RULE_OUT = closed(
    id=text("The id of the rule."),
    channel_id=_CHANNEL_ID,
    events=_EVENTS,
    **{**_RULE_OPTIONS, **optional(_NULLABLE)},
    created_at=text("When the rule was made.", format="date-time"),
)

NOW = "2026-11-21T10:00:00Z"
CHANNEL = {
    "id": "01a1fc25-cc90-73cc-897d-06cb540be56b",
    "name": "on call",
    "kind": "slack",
    "max_per_hour": 20,
    "paused": False,
    "created_at": NOW,
    "url": "https://example.com/…",
}
RULE = {
    "id": "01a1fc25-ccbb-7241-824c-01539cec9869",
    "channel_id": CHANNEL["id"],
    "events": ["run.failed", "task.recovered"],
    "task_id": None,
    "tag": "billing",
    "streak": 3,
    "late_after": 60,
    "digest_seconds": 300,
    "quiet_hours": {"from": "22:00", "to": "07:00", "timezone": "Europe/Berlin"},
    "paused": False,
    "created_at": NOW,
}
