"""Channels and rules as clients of the API make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.test import APIClient

SECRET_URL = "https://hooks.example.com/services/T0/B0/s3cret"
BODIES: dict[str, dict[str, Any]] = {
    "webhook": {"url": SECRET_URL},
    "slack": {"url": SECRET_URL},
    "discord": {"url": SECRET_URL},
    "teams": {"url": SECRET_URL},
    "pagerduty": {"routing_key": "s3cret"},
    "ntfy": {"topic": "ops", "token": "s3cret"},
    "email": {"recipients": ["s3cret@example.com"]},
}


def error(answer: Any) -> str:
    message: str = answer.json()["error"]["message"]
    return message


def make_channel(admin: APIClient, **more: Any) -> dict[str, Any]:
    body = {"name": "on call", "kind": "slack", "url": SECRET_URL, **more}
    answer = admin.post("/channels/", body, format="json")
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made


def make_rule(
    admin: APIClient, channel: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    body = {"channel_id": channel["id"], "events": ["run.failed"], **more}
    answer = admin.post("/rules/", body, format="json")
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made
