"""Messages have the shapes that their receivers document.

Each test names the document. Its rules are written out here, so that a mistake in the
renderer does not stand in the test as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_api.delivery import message_formats
from tasks_api.domain.notices import (
    ChannelKind,
    ChannelSettings,
    Event,
    Message,
    Notice,
)

TASK_ID = "01a1fc25-ccbb-7241-824c-01539cec9869"
RUN_ID = "01a1fc25-dbf0-73fe-a3eb-c67ddf45f5ca"
NOW = "2026-11-21T10:00:00Z"
URL = "https://example.com/hook"
SETTINGS = ChannelSettings(
    url=URL,
    recipients=("a@example.com",),
    routing_key="k" * 32,
    topic="ops",
    token="tk_x",
)
FAILED = Notice(Event.RUN_FAILED, NOW, TASK_ID, "report", "HTTP 500", RUN_ID)
ONE = Message("Acme", NOW, (FAILED,), count=1)
MANY = Message(
    "Acme",
    NOW,
    (FAILED, Notice(Event.TASK_RECOVERED, NOW, RUN_ID, "job", "after a failed run")),
    count=12,
    held_back=10,
    limit=20,
)
TEST = Message("Acme", NOW)
# Anything that a tenant or its targets may have written.
NASTY = Notice(
    Event.RUN_FAILED, NOW, TASK_ID, "<!here> @everyone & <b>", 'é\n\x01"' * 9000
)
HUGE = Message("Acme", NOW, (NASTY,) * 50, count=50)
MESSAGES = [ONE, MANY, TEST, HUGE]
NAMES = ["one", "many", "test", "huge"]

over_all_messages = pytest.mark.parametrize("message", MESSAGES, ids=NAMES)


def render(kind: ChannelKind, message: Message) -> dict[str, Any]:
    payload = message_formats.render(kind, SETTINGS, message)
    assert payload.url == URL
    body: dict[str, Any] = json.loads(payload.body)
    return body


def test_a_web_hook_gets_an_event() -> None:
    """Standard Webhooks, "Payload structure": type, timestamp and data; the type is words
    with full stops between."""
    assert render(ChannelKind.WEBHOOK, ONE) == {
        "type": "run.failed",
        "timestamp": NOW,
        "data": {
            "task_id": TASK_ID,
            "task_name": "report",
            "run_id": RUN_ID,
            "reason": "HTTP 500",
        },
    }
    digest = render(ChannelKind.WEBHOOK, MANY)
    assert (digest["type"], digest["timestamp"]) == ("digest", NOW)
    assert (digest["data"]["count"], digest["data"]["held_back"]) == (12, 10)
    types = [notice["type"] for notice in digest["data"]["notices"]]
    assert types == ["run.failed", "task.recovered"]
    assert render(ChannelKind.WEBHOOK, TEST)["type"] == "test"


@over_all_messages
def test_slack_gets_a_text_and_a_section(message: Message) -> None:
    """Slack, "Sending messages using incoming webhooks", "Formatting message text" (&, <
    and > are escaped in mrkdwn) and "Section block" (at most 3,000 characters)."""
    body = render(ChannelKind.SLACK, message)

    assert body.keys() == {"text", "blocks"}
    assert not re.search(r"<|>|&(?!amp;|lt;|gt;)", body["text"])
    [block] = body["blocks"]
    assert block["type"] == "section"
    assert block["text"]["type"] == "plain_text"
    assert 0 < len(block["text"]["text"]) <= 3000


@over_all_messages
def test_discord_gets_content_and_an_embed(message: Message) -> None:
    """Discord, "Webhook resource: Execute Webhook" (content: at most 2,000 characters),
    "Embed limits" (description: at most 4,096) and "Allowed mentions" (none)."""
    body = render(ChannelKind.DISCORD, message)

    assert body["allowed_mentions"] == {"parse": []}
    assert 0 < len(body["content"]) <= 2000
    [embed] = body["embeds"]
    assert 0 < len(embed["description"]) <= 4096


@over_all_messages
def test_teams_gets_an_adaptive_card(message: Message) -> None:
    """Microsoft Learn, "Create incoming webhooks with Workflows for Microsoft Teams" (a
    message with an Adaptive Card, at most 28 KB) and "Adaptive Card: TextBlock"."""
    body = render(ChannelKind.TEAMS, message)

    assert body["type"] == "message"
    [attachment] = body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.2")
    assert {block["type"] for block in card["body"]} == {"TextBlock"}
    assert all(block["text"] and block["wrap"] for block in card["body"])
    assert len(json.dumps(body, ensure_ascii=False).encode()) <= 28 * 1024


@over_all_messages
def test_pagerduty_gets_an_alert(message: Message) -> None:
    """PagerDuty, "Events API v2: Send an alert event" (required: routing_key,
    event_action, payload with summary, source and severity; summary: at most 1,024
    characters; dedup_key: at most 255; the event: at most 512 KB)."""
    body = render(ChannelKind.PAGERDUTY, message)

    assert body["routing_key"] == "k" * 32
    assert body["event_action"] == "trigger"
    assert 0 < len(body["dedup_key"]) <= 255
    payload = body["payload"]
    assert 0 < len(payload["summary"]) <= 1024
    assert payload["source"]
    assert payload["severity"] in {"critical", "error", "warning", "info"}
    assert payload["timestamp"] == NOW


def test_a_task_that_recovers_resolves_its_own_incident() -> None:
    """PagerDuty, "Events API v2": a resolve names the dedup_key of its trigger."""
    recovered = Notice(
        Event.TASK_RECOVERED, NOW, TASK_ID, "report", "after 3 failed runs"
    )
    relief = Message("Acme", NOW, (FAILED, recovered), count=2)

    opened, closed = (render(ChannelKind.PAGERDUTY, each) for each in (ONE, relief))

    assert closed == {
        "routing_key": "k" * 32,
        "event_action": "resolve",
        "dedup_key": opened["dedup_key"],
    }
    assert opened["dedup_key"] == TASK_ID


@over_all_messages
def test_ntfy_gets_a_message_of_a_topic(message: Message) -> None:
    """ntfy, "Publish as JSON" (topic, message, title, tags, priority 1 to 5; posted to the
    root of the server), "Limitations" (4,096 bytes) and "Access tokens"."""
    payload = message_formats.render(ChannelKind.NTFY, SETTINGS, message)
    body = json.loads(payload.body)

    assert body.keys() == {"topic", "message", "title", "tags", "priority"}
    assert body["topic"] == "ops"
    assert 0 < len(body["message"].encode()) <= 4096
    assert body["priority"] in range(1, 6)
    assert payload.headers == (("Authorization", "Bearer tk_x"),)


def test_pagerduty_and_ntfy_are_found_at_their_own_urls() -> None:
    elsewhere = SETTINGS._replace(url="")

    urls = {
        kind: message_formats.render(kind, elsewhere, ONE).url
        for kind in (ChannelKind.PAGERDUTY, ChannelKind.NTFY)
    }

    assert urls == {
        ChannelKind.PAGERDUTY: "https://events.pagerduty.com/v2/enqueue",
        ChannelKind.NTFY: "https://ntfy.sh/",
    }


@over_all_messages
def test_a_subject_is_one_short_line(message: Message) -> None:
    """RFC 5322, 2.1.1 and 2.2: a header field has no line breaks of its own."""
    subject = message_formats.subject_of(message)

    assert 0 < len(subject) <= 150
    assert "\n" not in subject


def test_a_message_says_what_happened_and_what_was_held_back() -> None:
    text = message_formats.mail_text(MANY)

    assert f"{NOW} report failed: HTTP 500\n" in text
    assert f"{NOW} job has recovered: after a failed run\n" in text
    assert "And 10 more.\n" in text
    assert "10 of these were held back" in text
    assert "at most 20 messages an hour" in text


@pytest.mark.parametrize("event", list(Event))
def test_each_event_is_a_sentence(event: Event) -> None:
    once = Notice(event, NOW, TASK_ID, "report", "why")
    others = Notice(event, NOW, None, "", "", count=7)

    assert re.fullmatch(r"report [a-z ]+: why", once.sentence)
    assert re.fullmatch(r"7 more times a task [a-z ]+", others.sentence)


@given(
    clip=st.sampled_from([message_formats.clip, message_formats.clip_bytes]),
    text=st.text(max_size=60),
    limit=st.integers(3, 50),
)
def test_a_clipped_text_fits_and_a_short_one_stays(
    clip: Callable[[str, int], str], text: str, limit: int
) -> None:
    text = text.encode(errors="ignore").decode()
    in_bytes = clip is message_formats.clip_bytes

    clipped = clip(text, limit)

    assert len(clipped.encode() if in_bytes else clipped) <= limit
    fits = len(text.encode() if in_bytes else text) <= limit
    assert (clipped == text) is fits


@over_all_messages
def test_a_stored_message_is_read_as_it_was(message: Message) -> None:
    assert Message.from_json(message.to_json()) == message
    assert ChannelSettings.from_json(SETTINGS.to_json()) == SETTINGS
