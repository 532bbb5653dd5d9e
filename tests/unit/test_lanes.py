"""No window of a lane's period has more starts than its limit, whatever happens."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tasks_api.domain import lanes
from tasks_api.domain.lanes import PERIODS, LaneState, give_slots, start_window
from tasks_api.domain.states import BreakerState

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LANE = LaneState(
    id=1,
    tenant_id=1,
    rate_limit=20,
    rate_per="second",
    burst=1,
    concurrency=None,
    is_paused=False,
    resume_at=None,
    next_slot_at=None,
    line_ends_at=None,
    slowdown=1.0,
    held_until=None,
    breaker_state=BreakerState.CLOSED,
    breaker_until=None,
    max_per_second=None,
    max_concurrency=None,
)
PERIOD_NAMES = st.sampled_from(sorted(PERIODS))


def count_in_fullest_window(starts: list[datetime], span: timedelta) -> int:
    """The most starts in any window of this length, by looking at all of them."""
    return max(
        (sum(first <= each <= first + span for each in starts) for first in starts),
        default=0,
    )


def starts_of(lane: LaneState, waits: list[timedelta], *, seed: int) -> list[datetime]:
    """When runs start if workers look after these waits, and lose some of the slots."""
    draw = random.Random(seed)
    pace = lanes.pace_of(lane)
    assert pace is not None
    now, starts = START, []
    for wait in waits:
        now += wait
        grant = give_slots(lane, now, running=0, most=draw.randint(0, 50))
        for slot in grant.slots:
            # The worst cases are at both ends of the start window.
            late = draw.choice([0.0, 0.0, draw.random(), 0.999])
            if draw.random() < 0.9:
                starts.append(slot + pace.start_window * late)
        lane = lane._replace(
            next_slot_at=grant.next_slot_at[-1],
            slowdown=draw.choice([1.0, 1.0, 0.5, lanes.MIN_SLOWDOWN]),
        )
    return starts


@given(
    limit=st.integers(1, 30),
    per=PERIOD_NAMES,
    burst=st.integers(1, 40),
    waits=st.lists(st.floats(0, 1.5), max_size=40),
    parts=st.sampled_from([1, 5, 30]),
    seed=st.integers(0, 2**32),
)
def test_no_window_has_more_starts_than_the_limit(
    limit: int, per: str, burst: int, waits: list[float], parts: int, seed: int
) -> None:
    lane = LANE._replace(rate_limit=limit, rate_per=per, burst=burst)
    span = PERIODS[per]

    starts = starts_of(lane, [wait * span / parts for wait in waits], seed=seed)

    assert count_in_fullest_window(starts, span) <= limit


@given(
    ceiling=st.integers(1, 20),
    limit=st.one_of(st.none(), st.integers(1, 50)),
    per=PERIOD_NAMES,
    burst=st.integers(1, 40),
    waits=st.lists(st.floats(0, 0.5), max_size=40),
    seed=st.integers(0, 2**32),
)
def test_no_lane_is_faster_than_the_ceiling_of_operators(
    ceiling: int,
    limit: int | None,
    per: str,
    burst: int,
    waits: list[float],
    seed: int,
) -> None:
    lane = LANE._replace(
        max_per_second=ceiling, rate_limit=limit, rate_per=per, burst=burst
    )

    starts = starts_of(lane, [each * SECOND for each in waits], seed=seed)

    assert count_in_fullest_window(starts, SECOND) <= ceiling
    if limit is not None:
        assert count_in_fullest_window(starts, PERIODS[per]) <= limit


@given(limit=st.integers(1, 1000), per=PERIOD_NAMES)
def test_a_lane_without_burst_reaches_nine_tenths_of_its_limit(
    limit: int, per: str
) -> None:
    apart = lanes.spacing(limit, per, 1)

    # Spacings are rounded up to microseconds.
    assert PERIODS[per] / apart >= limit * 0.907


@given(waits=st.lists(st.floats(0.001, 0.3), min_size=5, max_size=50))
def test_a_lane_that_is_always_asked_gives_out_every_slot(waits: list[float]) -> None:
    lane, now = LANE, START
    slots: list[datetime] = []
    for wait in waits:
        now += wait * SECOND
        grant = give_slots(lane, now, running=0, most=500)
        slots += grant.slots
        lane = lane._replace(next_slot_at=grant.next_slot_at[-1])

    apart = lanes.spacing(20, "second", 1)
    # A slot is later than the spacing asks for only if nobody looked in time.
    late = max(timedelta(), max(waits) * SECOND - lanes.AHEAD)
    for before, after in itertools.pairwise(slots):
        assert apart <= after - before <= apart + late + lanes.AHEAD * bool(late)


def test_a_burst_starts_at_once_and_the_next_run_waits() -> None:
    lane, now = LANE._replace(rate_limit=8, burst=5), START

    slots = give_slots(lane, now, running=0, most=500).slots

    assert slots[:5] == [START] * 5
    assert all(slot > START + start_window("second") for slot in slots[5:])


def test_a_lane_without_a_rate_gives_out_its_places() -> None:
    lane = LANE._replace(rate_limit=None, concurrency=5)

    assert give_slots(lane, START, running=2, most=500).slots == [START] * 3
    assert give_slots(lane, START, running=7, most=500).slots == []
    slowed = lane._replace(slowdown=0.1)
    assert give_slots(slowed, START, running=0, most=500).slots == [START]


def test_a_lane_without_limits_gives_out_what_is_asked_for() -> None:
    lane = LANE._replace(rate_limit=None)

    assert len(give_slots(lane, START, running=9, most=500).slots) == 500


def test_a_paused_lane_opens_when_its_pause_is_over() -> None:
    paused = LANE._replace(is_paused=True)
    later = START + 3600 * SECOND

    assert lanes.look_at(paused, START) is None
    assert give_slots(paused, START, running=0, most=9).slots == []
    assert lanes.look_at(paused._replace(resume_at=later), START) == later


def test_an_open_breaker_lets_one_probe_pass_when_its_time_is_over() -> None:
    until = START + 30 * SECOND
    lane = LANE._replace(burst=9, breaker_state=BreakerState.OPEN, breaker_until=until)

    assert lanes.look_at(lane, START) == until
    assert give_slots(lane, START, running=0, most=9).slots == []
    assert give_slots(lane, until, running=0, most=9).slots == [until]


def test_a_lane_that_its_target_holds_waits() -> None:
    until = START + 30 * SECOND
    lane = LANE._replace(held_until=until)

    assert lanes.look_at(lane, START) == until
    assert give_slots(lane, START, running=0, most=9).slots == []
    assert give_slots(lane, until, running=0, most=1).slots == [until]
