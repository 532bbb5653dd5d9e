"""Read and show the fields of a rule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time
from typing import Any
from uuid import UUID

from tasks_api.api import fields
from tasks_api.api.channels.base import read_given, read_paused, read_text
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.notice_limits import (
    MAX_DIGEST,
    MAX_LATE_AFTER,
    MAX_STREAK,
    MAX_TAG_LENGTH,
)
from tasks_api.domain.notices import Event
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import NotificationRule
from tasks_api.services.rules import DEFAULT_LATE_AFTER, DEFAULT_STREAK


def read_columns(data: Mapping[str, Any]) -> dict[str, Any]:
    """The given fields of a rule, by the names of their columns."""
    given = read_given(
        data,
        {
            "channel_id": lambda value: _read_id("channel_id", value),
            "events": _read_events,
            "task_id": lambda value: (
                None if value is None else _read_id("task_id", value)
            ),
            "tag": _read_tag,
            "streak": lambda value: (
                _read_number("streak", value, 1, MAX_STREAK) or DEFAULT_STREAK
            ),
            "late_after": lambda value: (
                _read_number("late_after", value, 1, MAX_LATE_AFTER)
                or DEFAULT_LATE_AFTER
            ),
            "digest_seconds": lambda value: _read_number(
                "digest_seconds", value, 0, MAX_DIGEST
            ),
            "paused": read_paused,
        },
    )
    columns = {"is_paused" if name == "paused" else name: given[name] for name in given}
    if "quiet_hours" in data:
        columns |= _read_quiet_hours(data["quiet_hours"])
    return columns


def _read_id(name: str, value: object) -> UUID:
    try:
        return UUID(value)  # type: ignore[arg-type]  # anything else raises, too
    except (ValueError, AttributeError, TypeError):
        fields.raise_invalid(name, "should be an id")


def _read_events(value: object) -> list[str]:
    known = [event.value for event in Event]
    if not isinstance(value, list) or not value:
        fields.raise_invalid(
            "events", f"should be a list of some of {', '.join(known)}"
        )
    for each in value:
        if each not in known:
            fields.raise_invalid(
                "events", f"has {each!r:.50}, which is none of {', '.join(known)}"
            )
    return list(dict.fromkeys(value))


def _read_tag(value: object) -> str:
    return "" if value is None else read_text("tag", value, longest=MAX_TAG_LENGTH)


def _read_number(name: str, value: object, minimum: int, maximum: int) -> int:
    return int(fields.number({name: value}, name, minimum, maximum) or 0)


def _read_quiet_hours(value: object) -> dict[str, Any]:
    if value is None:
        return {"quiet_from": None, "quiet_until": None, "quiet_zone": ""}
    if not isinstance(value, Mapping):
        fields.raise_invalid("quiet_hours", "should be an object")
    begins, ends = _read_clock(value, "from"), _read_clock(value, "to")
    if begins == ends:
        fields.raise_invalid("quiet_hours.to", "should differ from quiet_hours.from")
    zone = fields.time_zone("quiet_hours.timezone", _require(value, "timezone"))
    return {"quiet_from": begins, "quiet_until": ends, "quiet_zone": zone}


def _read_clock(data: Mapping[str, Any], name: str) -> time:
    value = _require(data, name)
    if isinstance(value, str) and len(value) == 5:
        try:
            return time.fromisoformat(value)
        except ValueError:
            pass
    label = f"quiet_hours.{name}"
    fields.raise_invalid(label, "should be a time of day such as 22:00")


def _require(data: Mapping[str, Any], name: str) -> Any:
    if name not in data:
        label = f"quiet_hours.{name}"
        raise InvalidTask(label, f"Missing key: {label}")
    return data[name]


def render_rule(rule: NotificationRule) -> dict[str, Any]:
    return {
        "id": str(rule.pk),
        "channel_id": str(rule.channel_id),
        "events": rule.events,
        "task_id": None if rule.task_id is None else str(rule.task_id),
        "tag": rule.tag or None,
        "streak": rule.streak,
        "late_after": rule.late_after,
        "digest_seconds": rule.digest_seconds,
        "quiet_hours": _render_quiet_hours(rule),
        "paused": rule.is_paused,
        "created_at": format_timestamp(rule.created_at),
    }


def _render_quiet_hours(rule: NotificationRule) -> dict[str, str] | None:
    if (quiet := rule.quiet_hours) is None:
        return None
    return {
        "from": f"{quiet.begins:%H:%M}",
        "to": f"{quiet.ends:%H:%M}",
        "timezone": quiet.zone,
    }
