"""Channels and the rules that send events to them, as dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Channel:
    """Where a tenant is told of events. Only administrators see where it sends."""

    id: str
    name: str
    kind: str
    max_per_hour: int
    paused: bool
    created_at: datetime
    url: str | None = None
    recipients: list[str] | None = None
    routing_key: str | None = None
    topic: str | None = None
    token: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Rule:
    """Which events of which tasks are sent to a channel, and when."""

    id: str
    channel_id: str
    events: list[str]
    task_id: str | None
    tag: str | None
    streak: int
    late_after: int
    digest_seconds: int
    quiet_hours: Mapping[str, str] | None
    paused: bool
    created_at: datetime
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
