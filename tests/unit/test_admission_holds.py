"""What admission promises holds when the slots of a lane are given out to real spreads."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tasks_api.domain.admission import Capacity, judge
from tasks_api.domain.lanes import LaneState, give_slots, look_at, spacing
from tasks_api.domain.lines import Load, LoadChange
from tasks_api.domain.schedules import Interval, Schedule, with_spread
from tasks_api.domain.states import BreakerState

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
HOURLY = Interval(NOON + HOUR, HOUR)
# Runs start so much later than a line of the exact rate would let them: offsets are
# random, and a lane gives out somewhat less than its rate.
CHANCE = 10.0


def lane(limit: int, burst: int = 1) -> LaneState:
    return LaneState(
        id=1,
        tenant_id=1,
        rate_limit=limit,
        rate_per="second",
        burst=burst,
        concurrency=None,
        is_paused=False,
        resume_at=None,
        next_slot_at=None,
        line_ends_at=None,
        slowdown=1,
        held_until=None,
        breaker_state=BreakerState.CLOSED,
        breaker_until=None,
        max_per_second=None,
        max_concurrency=None,
    )


def due_times(count: int, spread: int, schedule: Schedule) -> list[datetime]:
    """Return when tasks with some ids fire in the hour after one o'clock."""
    found = []
    for number in range(count):
        spread_out = with_spread(schedule, spread, UUID(int=number))
        at = spread_out.first_from(NOON)
        assert at
        found.append(at)
    return sorted(found)


def start_times(state: LaneState, due: Iterable[datetime]) -> list[datetime]:
    """Give each run a slot of the lane, in the order in which the runs are due."""
    found = []
    for at in due:
        now = at
        while not (grant := give_slots(state, now, running=0, most=1)).slots:
            looked = look_at(state, now)
            assert looked
            now = max(looked, now + SECOND / 1000)
        state = state._replace(next_slot_at=grant.next_slot_at[-1])
        found.append(max(at, grant.slots[0]))
    return found


@pytest.mark.parametrize(
    ("count", "limit", "burst", "spread"),
    [(10_000, 20, 1, 600), (1_000, 2, 1, 600), (5_000, 20, 11, 600), (900, 20, 1, 0)],
)
def test_what_is_admitted_starts_within_its_window(
    count: int, limit: int, burst: int, spread: int
) -> None:
    state = lane(limit, burst)
    capacity = Capacity(limit - burst + 1, SECOND)
    change = LoadChange([], [Load(count, HOURLY, spread)])
    assert judge(change, capacity, now=NOON).fits
    due = due_times(count, spread, HOURLY)

    started = start_times(state, due)

    longest = max(spread, capacity.patience)
    share = (SECOND / spacing(limit, "second", burst)) / capacity.rate
    latest = max(at - (NOON + HOUR) for at in started).total_seconds()
    assert latest <= longest / share + CHANCE


def test_nobody_waits_long_among_ten_thousand_in_ten_minutes() -> None:
    due = due_times(10_000, 600, HOURLY)

    started = start_times(lane(20), due)

    waits = [after - before for before, after in zip(due, started, strict=True)]
    assert max(waits) < timedelta(seconds=10)
    assert max(started) < NOON + HOUR + timedelta(seconds=610)


def test_three_hundred_seconds_would_have_been_too_few() -> None:
    due = due_times(10_000, 300, HOURLY)

    started = start_times(lane(20), due)

    assert max(started) > NOON + HOUR + timedelta(seconds=500)
