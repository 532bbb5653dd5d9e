"""Read and show the fields of a lane."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasks_api.api import fields
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.lane_limits import (
    DEFAULT_BREAKER_FOR,
    HOST_RULE,
    MAX_BREAKER_AFTER,
    MAX_BREAKER_FOR,
    MAX_CONCURRENCY,
    MAX_RATE,
    NAME_RULE,
    is_host,
    is_name,
)
from tasks_api.domain.lanes import PERIODS
from tasks_api.domain.states import BreakerState
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Lane
from tasks_api.services.lanes import LaneRuns, next_slot
from tasks_api.services.pausing import Hold


def read_new_lane(data: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a new lane."""
    value = fields.require_field(data, "name")
    if not (isinstance(value, str) and is_name(value)):
        fields.raise_invalid("name", NAME_RULE)
    return {"name": value, **read_changes(data)}


def read_changes(data: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a body gives; null takes a limit away."""
    found: dict[str, Any] = {}
    if "host" in data:
        found["host"] = _read_host(data["host"])
    if "rate" in data:
        found |= _read_rate(data["rate"])
    if "concurrency" in data:
        found["concurrency"] = fields.number(data, "concurrency", 1, MAX_CONCURRENCY)
    if "breaker" in data:
        found |= _read_breaker(data["breaker"])
    return found


def read_hold(data: Mapping[str, Any], now: datetime) -> Hold:
    until = fields.optional_moment(data, "until")
    if until is not None and until <= now:
        raise InvalidTask("until", "until should be in the future")
    return Hold(fields.reason(data), until)


def _read_host(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and is_host(value):
        return value.lower()
    fields.raise_invalid("host", HOST_RULE)


def _read_rate(value: object) -> dict[str, Any]:
    if value is None:
        return {"rate_limit": None, "rate_per": "second", "burst": 1}
    rate = _require_mapping("rate", value)
    limit = fields.number(rate, "limit", 1, MAX_RATE, label="rate.limit")
    if limit is None:
        raise InvalidTask("rate.limit", "Missing key: rate.limit")
    per = rate.get("per", "second")
    if not isinstance(per, str) or per not in PERIODS:
        raise InvalidTask(
            "rate.per",
            "Invalid value of rate.per. Value should be second, minute or hour",
        )
    burst = fields.number(rate, "burst", 1, limit, label="rate.burst") or 1
    return {"rate_limit": limit, "rate_per": per, "burst": burst}


def _read_breaker(value: object) -> dict[str, Any]:
    if value is None:
        return {"breaker_after": None, "breaker_for": DEFAULT_BREAKER_FOR}
    breaker = _require_mapping("breaker", value)
    after = fields.number(breaker, "after", 1, MAX_BREAKER_AFTER, label="breaker.after")
    if after is None:
        raise InvalidTask("breaker.after", "Missing key: breaker.after")
    seconds = fields.number(breaker, "for", 1, MAX_BREAKER_FOR, label="breaker.for")
    return {"breaker_after": after, "breaker_for": seconds or DEFAULT_BREAKER_FOR}


def _require_mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        fields.raise_invalid(name, "should be an object")
    return value


def render_lane(lane: Lane, runs: LaneRuns, now: datetime) -> dict[str, Any]:
    """A lane with its limits and its present state."""
    return {
        "name": lane.name,
        "host": lane.host or None,
        "rate": lane.rate_limit
        and {"limit": lane.rate_limit, "per": lane.rate_per, "burst": lane.burst},
        "concurrency": lane.concurrency,
        "breaker": lane.breaker_after
        and {"after": lane.breaker_after, "for": lane.breaker_for},
        "created_at": format_timestamp(lane.created_at),
        "state": _render_state(lane, runs, now),
    }


def _render_state(lane: Lane, runs: LaneRuns, now: datetime) -> dict[str, Any]:
    is_paused = lane.is_paused(now)
    is_held = lane.held_until is not None and lane.held_until > now
    is_broken = lane.breaker_state != BreakerState.CLOSED
    return {
        "waiting": runs.waiting,
        "running": runs.running,
        "next_slot_at": _format(next_slot(lane, now)),
        "paused": is_paused,
        "reason": (lane.hold_reason if is_paused else "") or None,
        "until": _format(lane.resume_at if is_paused else None),
        "rate_share": round(lane.slowdown, 3),
        "held_until": _format(lane.held_until if is_held else None),
        "breaker": lane.breaker_state,
        "breaker_until": _format(lane.breaker_until if is_broken else None),
    }


def _format(moment: datetime | None) -> str | None:
    return format_timestamp(moment) if moment else None
