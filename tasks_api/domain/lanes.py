"""The rule of lanes: when the runs of a lane may start.

A lane gives out slots. A run starts within the start window of its slot, or not at all:
then its slot is lost, and it waits for another one. The slots are far enough apart that
no window of the lane's period has more starts than the limit, wherever it begins.

With a limit of n per period p, a burst of b and a start window of e, the spacing is
(p + e) / (n - b + 1). The slot of the n-th run after a run lies at least p + e after that
run's slot. That run started before e was over, so the two starts are more than p apart.

A run whose start window is longer by y counts as one whose slot is y later. Take runs that
start within p from a moment t on: their slots lie before t + p, and they count from t - e
on. Each run moves the end of the slots by the spacing at least, and the end lies at most b
spacings after the slot of the last run. So they are fewer than (p + e) / spacing + b, which
is n + 1. A longer window is paid with what is left of the burst: the end of the slots must
not lie further ahead than b spacings with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from tasks_api.domain.states import BreakerState

PERIODS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
}
# The time by which a slot may lie ahead when it is given out.
AHEAD = timedelta(milliseconds=250)
# The time before a slot at which workers look for it.
LEAD = timedelta(milliseconds=50)
MIN_START_WINDOW = timedelta(milliseconds=100)
MAX_START_WINDOW = timedelta(seconds=1)
# The start window, as a part of the period.
START_WINDOW_RATIO = 20
# A worker that is busy may need so long for each request of a batch until it begins. Runs
# whose windows it misses are taken twice, so a large batch has longer ones.
START_TIME = timedelta(milliseconds=2)
# The part of the burst that is left after a batch, which longer windows may use up.
WIDENING_RATIO = 0.5
# After a change of its limits, a lane starts nothing until all slots from before are over.
SETTLING_TIME = AHEAD + MAX_START_WINDOW

# A target that asks for less gets half of it, but never less than this part of the rate.
SLOWDOWN_FACTOR = 0.5
MIN_SLOWDOWN = 1 / 64
# The target's requests of one second count as one.
SLOWDOWN_INTERVAL = timedelta(seconds=1)
# What a second of success gives back.
RECOVERY_PER_SECOND = 0.05
# A Retry-After header may hold a lane for so long.
MAX_HOLD = timedelta(hours=1)

# Expected slots of a lane without a rate, which keep its runs in their order.
_TICK = timedelta(microseconds=1)


class LaneState(NamedTuple):
    """The limits and the state of a lane, as a statement reads them."""

    id: int
    tenant_id: int
    rate_limit: int | None
    rate_per: str
    burst: int
    concurrency: int | None
    is_paused: bool
    resume_at: datetime | None
    next_slot_at: datetime | None
    line_ends_at: datetime | None
    slowdown: float
    held_until: datetime | None
    breaker_state: str
    breaker_until: datetime | None
    # The ceilings of operators.
    max_per_second: int | None
    max_concurrency: int | None


class Pace(NamedTuple):
    """How far slots are apart, how many may be at once, and how long each is open."""

    spacing: timedelta
    burst: int
    start_window: timedelta


class Grant(NamedTuple):
    """The slots that a lane gives out, and its first slot after each number of them."""

    slots: list[datetime]
    next_slot_at: list[datetime | None]


def start_window(per: str) -> timedelta:
    part = PERIODS[per] / START_WINDOW_RATIO
    return min(max(part, MIN_START_WINDOW), MAX_START_WINDOW)


def spacing(limit: int, per: str, burst: int) -> timedelta:
    """Return how far slots are apart, rounded up."""
    span = PERIODS[per] + start_window(per)
    micros = span // _TICK
    return _TICK * -(-micros // (limit - burst + 1))


def pace_of(lane: LaneState) -> Pace | None:
    """Return the pace of a lane, slowed down and below its ceiling; None: no limit.

    While a lane is slowed down, it gives out no two slots at once.
    """
    rates = [
        (limit, per)
        for limit, per in (
            (lane.rate_limit, lane.rate_per),
            (lane.max_per_second, "second"),
        )
        if limit is not None
    ]
    if not rates:
        return None
    burst = min(lane.burst, *(limit for limit, _ in rates))
    return Pace(
        max(spacing(limit, per, burst) for limit, per in rates) / lane.slowdown,
        burst if lane.slowdown == 1 else 1,
        min(start_window(per) for _, per in rates),
    )


def places_of(lane: LaneState) -> int | None:
    """Return how many requests may be under way at once; None: no limit."""
    known = [n for n in (lane.concurrency, lane.max_concurrency) if n is not None]
    if not known:
        return None
    # A lane without a rate slows down by its places.
    has_rate = lane.rate_limit is not None or lane.max_per_second is not None
    return min(known) if has_rate else max(1, math.floor(min(known) * lane.slowdown))


def held_until(lane: LaneState, now: datetime) -> datetime | None:
    """Return when nothing but its pace holds a lane any more; None: nobody knows.

    A lane that is paused until further notice has no such moment.
    """
    if lane.is_paused and lane.resume_at is None:
        return None
    moments = [now, lane.held_until or now]
    if lane.is_paused:
        moments.append(lane.resume_at or now)
    if lane.breaker_state != BreakerState.CLOSED:
        moments.append(lane.breaker_until or now)
    return max(moments)


def look_at(lane: LaneState, now: datetime) -> datetime | None:
    """Return when workers should look at the runs that wait; None: nobody knows.

    That is shortly before the next slot. They give out all slots up to AHEAD then.
    """
    moment = held_until(lane, now)
    pace = pace_of(lane)
    if moment is None or pace is None or lane.next_slot_at is None:
        return moment
    return max(moment, _first_slot(lane.next_slot_at, pace, now) - LEAD)


def give_slots(lane: LaneState, now: datetime, *, running: int, most: int) -> Grant:
    """Give out at most so many slots, up to a moment ahead."""
    grant = Grant([], [lane.next_slot_at])
    if (until := held_until(lane, now)) is None or until > now:
        return grant
    if (places := places_of(lane)) is not None:
        most = min(most, places - running)
    if lane.breaker_state != BreakerState.CLOSED:
        most = min(most, 1)
    for slot, following in _slots(lane, now):
        if slot > now + AHEAD or len(grant.slots) >= most:
            break
        grant.slots.append(slot)
        grant.next_slot_at.append(following)
    return grant


def widen(lane: LaneState, grant: Grant, started: int) -> timedelta:
    """Return how much longer runs may take to start, after so many got slots at once."""
    pace, following = pace_of(lane), grant.next_slot_at[started]
    if not started or pace is None or following is None:
        return timedelta()
    slot = grant.slots[0]
    if grant.slots[started - 1] != slot:
        return timedelta()
    left = slot + pace.spacing * pace.burst - following
    longest = min(
        left * WIDENING_RATIO,
        START_TIME * started,
        MAX_START_WINDOW - pace.start_window,
    )
    return max(longest, timedelta())


def slot_after(
    lane: LaneState, grant: Grant, started: int, widened: timedelta
) -> datetime | None:
    """Return the first slot after runs that got the first ones of a grant."""
    following, pace = grant.next_slot_at[started], pace_of(lane)
    if following is None or pace is None or not widened:
        return following
    return max(following, grant.slots[0] + widened + pace.spacing * started)


def expected_spacing(lane: LaneState) -> timedelta:
    """Return how far the runs that wait start from each other at best."""
    pace = pace_of(lane._replace(slowdown=1))
    return pace.spacing if pace else _TICK


def line_begins_at(
    lane: LaneState, grant: Grant, now: datetime, *, has_line: bool
) -> datetime:
    """Return when a run that comes after a grant starts at best."""
    moments = [now, lane.held_until or now]
    if has_line:
        moments.append(lane.line_ends_at or now)
    following, pace = grant.next_slot_at[-1], pace_of(lane)
    if following and pace:
        moments.append(_first_slot(following, pace, now))
    return max(moments)


def _slots(
    lane: LaneState, now: datetime
) -> Iterator[tuple[datetime, datetime | None]]:
    pace = pace_of(lane)
    following = lane.next_slot_at or now
    while True:
        if pace is None:
            yield now, lane.next_slot_at
            continue
        slot = _first_slot(following, pace, now)
        following = max(slot, following) + pace.spacing
        yield slot, following


def _first_slot(following: datetime, pace: Pace, now: datetime) -> datetime:
    return max(now, following - pace.spacing * (pace.burst - 1))
