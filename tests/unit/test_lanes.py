"""No window of a lane's period has more starts than its limit, whatever happens."""

from __future__ import annotations

import bisect
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
TICK = timedelta(microseconds=1)
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
    ordered = sorted(starts)
    return max(
        (
            bisect.bisect_right(ordered, first + span) - place
            for place, first in enumerate(ordered)
        ),
        default=0,
    )


def starts_of(lane: LaneState, waits: list[timedelta], *, seed: int) -> list[datetime]:
    """When runs start if workers look after these waits, and lose some of the slots."""
    draw = random.Random(seed)
    now, starts = START, []
    for wait in waits:
        now += wait
        grant = give_slots(
            lane, now, running=0, most=draw.randint(0, 2 * lane.burst + 50)
        )
        started = draw.choice([len(grant.slots), draw.randint(0, len(grant.slots))])
        pace, widened = lanes.pace_of(lane), lanes.widen(lane, grant, started)
        assert pace is not None
        for slot in grant.slots[:started]:
            # The worst cases are at both ends of the start window.
            late = draw.choice([0.0, 0.0, draw.random(), 0.999])
            if draw.random() < 0.9:
                starts.append(slot + (pace.start_window + widened) * late)
        lane = lane._replace(
            next_slot_at=lanes.slot_after(lane, grant, started, widened),
            slowdown=draw.choice([1.0, 1.0, 0.5, lanes.MIN_SLOWDOWN]),
        )
    return starts


@given(
    limit=st.one_of(st.integers(1, 30), st.integers(1, 500)),
    per=PERIOD_NAMES,
    burst=st.one_of(st.integers(1, 40), st.integers(1, 500)),
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
    limit=st.one_of(st.integers(1, 30), st.integers(1, 300)),
    per=PERIOD_NAMES,
    part=st.floats(0.1, 1),
    batches=st.lists(st.integers(1, 500), min_size=1, max_size=5),
    looks=st.integers(3, 30),
)
def test_no_window_has_more_starts_though_long_start_windows_are_used_up(
    limit: int, per: str, part: float, batches: list[int], looks: int
) -> None:
    """The runs of some batches start as late as they may, and others right after them."""
    burst = max(1, int(limit * part))
    lane, span = (
        LANE._replace(rate_limit=limit, rate_per=per, burst=burst),
        PERIODS[per],
    )
    now, late, starts = START, START, []
    for number in range(len(batches) + 2 * looks):
        if number == len(batches):
            now = max(now, late)
        most = batches[number] if number < len(batches) else 1000
        grant = give_slots(lane, now, running=0, most=most)
        pace, widened = lanes.pace_of(lane), lanes.widen(lane, grant, len(grant.slots))
        assert pace is not None
        longest = pace.start_window + widened - TICK
        late = late if number else grant.slots[0] + longest
        starts += [min(slot + longest, max(slot, late)) for slot in grant.slots]
        following = lanes.slot_after(lane, grant, len(grant.slots), widened)
        lane = lane._replace(next_slot_at=following)
        now += span / looks / (4 if number < len(batches) else 1)
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


def test_a_large_batch_far_below_the_limit_has_a_long_start_window() -> None:
    lane = LANE._replace(rate_limit=100_000, burst=50_000)

    grant = give_slots(lane, START, running=0, most=500)

    # With the window of every run, as long as there is.
    assert lanes.widen(lane, grant, 500) > SECOND / 2
    # One request uses up none of the burst.
    assert lanes.widen(lane, grant, 1) == lanes.START_TIME
    assert lanes.widen(lane, grant, 0) == timedelta()


def test_a_batch_that_uses_up_the_burst_has_no_longer_start_window() -> None:
    lane = LANE._replace(rate_limit=8, burst=5)

    grant = give_slots(lane, START, running=0, most=5)

    assert grant.slots == [START] * 5
    assert lanes.widen(lane, grant, 5) == timedelta()


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
