"""The limits of a lane and what it does now, in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tasks_api.domain.lanes import PERIODS
from tasks_api.domain.schedule_words import duration_words
from tasks_api.domain.states import BreakerState


class LaneState(NamedTuple):
    """What a lane does now, with the class that colours it.

    `until` is when that ends by itself.
    """

    word: str
    css_class: str
    detail: str = ""
    until: datetime | None = None


OPEN = LaneState("open", "good")


def states_of(lane: Any, now: datetime) -> list[LaneState]:
    """All that holds a lane or slows it down, or that it is open."""
    return list(_holds(lane, now)) or [OPEN]


def _holds(lane: Any, now: datetime) -> Iterator[LaneState]:
    if lane.is_paused(now):
        yield LaneState("paused", "paused", lane.hold_reason, lane.resume_at)
    if lane.breaker_state != BreakerState.CLOSED:
        yield _breaker_state(lane)
    if lane.held_until is not None and lane.held_until > now:
        detail = "The target asked for it with Retry-After."
        yield LaneState("held", "held", detail, lane.held_until)
    if lane.slowdown < 1:
        detail = (
            "The target answered 429 or 503. "
            "Each second with a success gives back a twentieth of the rate."
        )
        yield LaneState(f"slowed to {lane.slowdown:.0%}", "slowed", detail)


def _breaker_state(lane: Any) -> LaneState:
    if lane.breaker_state == BreakerState.HALF_OPEN:
        detail = "One request, the probe, is tried. Its success closes the breaker."
        return LaneState("breaker half open", "broken", detail)
    failures = f"{lane.failures:,} requests in a row failed. "
    detail = f"{failures if lane.failures > 1 else ''}Nothing starts, then one request is tried."
    return LaneState("breaker open", "broken", detail, lane.breaker_until)


def limit_sentences(lane: Any) -> list[str]:
    return list(_limits(lane)) or ["It has no limit of its own."]


def _limits(lane: Any) -> Iterator[str]:
    if lane.rate_limit is not None:
        burst = f", of which {lane.burst:,} may start at once" if lane.burst > 1 else ""
        yield f"{_count(lane.rate_limit, 'request')} may start {_per(lane)}{burst}."
    if lane.concurrency is not None:
        verb = "is" if lane.concurrency == 1 else "are"
        yield f"At most {_count(lane.concurrency, 'request')} {verb} under way at once."
    if lane.breaker_after is not None:
        time = duration_words(timedelta(seconds=lane.breaker_for))
        failures = _count(lane.breaker_after, "failure")
        yield f"After {failures} in a row, nothing starts for {time}."


def ceiling_sentences(lane: Any, ceiling: Any) -> list[str]:
    """What operators allow, where that is less than what the lane says."""
    return [] if ceiling is None else list(_ceilings(lane, ceiling))


def _ceilings(lane: Any, ceiling: Any) -> Iterator[str]:
    most = ceiling.max_per_second
    if most is not None and (_rate(lane) is None or most < _rate(lane)):
        yield f"The operators of the service let {_count(most, 'request')} start a second."
    most = ceiling.max_concurrency
    if most is not None and (lane.concurrency is None or most < lane.concurrency):
        yield f"The operators of the service let {_count(most, 'request')} be under way at once."


def short_limits(lane: Any) -> str:
    """The limits of a lane in a few words, such as `20 a second, 5 at once`."""
    parts = []
    if lane.rate_limit is not None:
        parts.append(f"{lane.rate_limit:,} {_per(lane)}")
    if lane.concurrency is not None:
        parts.append(f"{lane.concurrency:,} at once")
    return ", ".join(parts) or "no limit of its own"


def _per(lane: Any) -> str:
    return "an hour" if lane.rate_per == "hour" else f"a {lane.rate_per}"


def _rate(lane: Any) -> float | None:
    """The requests a second that the lane itself lets start."""
    if lane.rate_limit is None:
        return None
    return float(lane.rate_limit / PERIODS[lane.rate_per].total_seconds())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
