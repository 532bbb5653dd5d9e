"""A spread that the service chooses puts tasks where the least is due."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil, floor

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_api.domain.admission import longest_window
from tasks_api.domain.lines import Horizon, Load, moments_of
from tasks_api.domain.places import WINDOWS, Neighbours, Places
from tasks_api.domain.schedules import Cron, Interval, Schedule, with_offset

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
DAY = Horizon(NOW, NOW + 24 * HOUR, NOW)
WEEK = Horizon(NOW, NOW + 7 * 24 * HOUR, NOW)


def hourly(size: int, second: int = 0, window: int = 0) -> Load:
    return Load(size, Interval(NOW + HOUR + second * SECOND, HOUR), window)


def choose_places(
    wanted: Load, others: list[Load], *, rate: float, longest: int, horizon: Horizon
) -> Places:
    neighbours = Neighbours(others, rate=rate, horizon=horizon)
    return neighbours.place(wanted, longest=longest)


def test_tasks_share_the_seconds_of_the_smallest_window_with_room() -> None:
    few = choose_places(hourly(1000), [], rate=20, longest=3599, horizon=DAY)
    many = choose_places(hourly(10_000), [], rate=20, longest=3599, horizon=DAY)

    assert few.window == 60
    assert set(Counter(few.offsets).values()) == {16, 17}
    assert many.window == 900
    assert set(Counter(many.offsets).values()) == {11, 12}


def test_a_slow_lane_has_fewer_places() -> None:
    found = choose_places(hourly(100), [], rate=20 / 60, longest=3599, horizon=DAY)

    assert found == (300, [3 * number for number in range(100)])


def test_a_frequent_task_stays_within_its_period() -> None:
    often = Load(5, Interval(NOW + 10 * SECOND, 10 * SECOND))

    found = choose_places(often, [], rate=1, longest=9, horizon=DAY)

    assert found == (9, [0, 1, 2, 3, 4])


def test_seconds_that_are_busy_in_one_hour_of_the_day_are_left_free() -> None:
    nightly = [Load(1, Cron("0 3 * * *"), 0), Load(120, Cron("0 4 * * *"), 40)]

    found = choose_places(hourly(2), nightly, rate=4, longest=3599, horizon=DAY)

    assert found == (60, [40, 41])


def test_seconds_that_are_busy_on_one_day_of_the_week_are_left_free() -> None:
    weekly = [Load(1, Cron("0 3 * * sat"), 0), Load(59, Cron("0 9 * * fri"), 58)]

    found = choose_places(hourly(1), weekly, rate=4, longest=3599, horizon=WEEK)

    assert found == (60, [58])


@settings(max_examples=60, deadline=None)
@given(
    busy=st.lists(
        st.tuples(st.integers(1, 30), st.integers(0, 70)), min_size=1, max_size=80
    ),
    size=st.integers(1, 300),
)
def test_no_place_could_be_swapped_for_an_emptier_one(
    busy: list[tuple[int, int]], size: int
) -> None:
    others = [hourly(count, second) for count, second in busy]
    before: Counter[int] = Counter()
    for count, second in busy:
        before[second] += count

    found = choose_places(hourly(size), others, rate=1, longest=61, horizon=DAY)

    after = before + Counter(found.offsets)
    highest = max(after[second] for second in found.offsets)
    assert found.window == 60
    assert len(found.offsets) == size
    assert all(after[second] >= highest - 1 for second in range(60))


def test_a_window_that_reaches_over_several_moments_counts_at_each() -> None:
    every_minute = Load(1, Interval(NOW + 60 * SECOND, 60 * SECOND))
    flow = replace(hourly(3600), window=3000)

    found = choose_places(
        every_minute,
        [flow],
        rate=5,
        longest=59,
        horizon=Horizon(NOW, NOW + 2 * HOUR, NOW),
    )

    assert found == (59, [0])


def of_model(
    wanted: Load, others: list[Load], *, rate: float, longest: int, horizon: Horizon
) -> Places:
    """Count what is due in each place after each moment, one after another."""
    width = max(1, ceil(1 / rate))
    windows = [each for each in WINDOWS if width < each < longest] or [longest]
    for window in windows:
        busiest = [0.0] * (window // width)
        for moment in moments_of(wanted, horizon):
            busy = [0.0] * len(busiest)
            for load in others:
                span = max(1, ceil(load.window / width))
                for at in moments_of(load, horizon):
                    first = (at - moment) // (width * 10**6)
                    for place in range(max(0, first), min(len(busy), first + span)):
                        busy[place] += load.size / span
            busiest = list(map(max, busiest, busy))
        room = max(1, floor(rate * width))
        if sum(max(0, floor(room - each + 1e-6)) for each in busiest) >= wanted.size:
            break
    offsets = []
    for _ in range(wanted.size):
        place = min(range(len(busiest)), key=busiest.__getitem__)
        busiest[place] += 1
        offsets.append(place * width)
    return Places(window, offsets)


schedules = st.one_of(
    st.builds(
        lambda first, every: Interval(NOW + first * SECOND, every * SECOND),
        st.integers(-100, 400),
        st.sampled_from([60, 90, 300, 500]),
    ),
    st.sampled_from([Cron("*/7 * * * *"), Cron("13,14 13 * * *"), Cron("2 * * * *")]),
)


@settings(max_examples=60, deadline=None)
@given(
    others=st.lists(
        st.builds(
            Load, st.integers(1, 9), schedules, st.sampled_from([0, 0, 1, 32, 256])
        ),
        max_size=6,
    ),
    new=st.lists(st.tuples(st.integers(1, 40), schedules), min_size=1, max_size=3),
    rate=st.sampled_from([0.3, 1, 2.5]),
)
def test_places_are_those_of_a_plain_count(
    others: list[Load], new: list[tuple[int, Schedule]], rate: float
) -> None:
    horizon = Horizon(NOW, NOW + HOUR, NOW)
    neighbours = Neighbours(others, rate=rate, horizon=horizon)
    beside = list(others)
    for size, schedule in new:
        wanted = Load(size, schedule)
        limits = {"longest": longest_window(wanted)}

        found = neighbours.place(wanted, **limits)

        assert found == of_model(wanted, beside, rate=rate, horizon=horizon, **limits)
        beside += (
            Load(1, with_offset(schedule, offset), 0) for offset in found.offsets
        )
