"""Admission agrees with a queue in which each single run waits for its turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks_api.domain.admission import Capacity, judge
from tasks_api.domain.lines import (
    Horizon,
    Load,
    LoadChange,
    Moments,
    horizon_from,
    walk_line,
)
from tasks_api.domain.schedules import Cron, Interval, fire_times_between

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
PER_SECOND = Capacity(20, SECOND)


def hourly(size: int, window: int = 0, *, start: datetime = NOW + HOUR) -> Load:
    return Load(size, Interval(start, HOUR), window)


def queue_one_by_one(
    loads: Sequence[Load], rate: float, horizon: Horizon
) -> dict[tuple[int, datetime], float]:
    """Return the latest start after each moment of each load, in seconds."""
    due = []
    for index, load in enumerate(loads):
        window = timedelta(seconds=load.window)
        first = horizon.start - (window - timedelta.resolution if window else window)
        for moment in fire_times_between(
            load.schedule, first, horizon.end - timedelta.resolution
        ):
            for number in range(load.size):
                at = moment + (number + 1) / load.size * window
                # What comes over a window comes before what is due at its end.
                at -= timedelta.resolution if window else window
                if at >= horizon.start:
                    due.append((at, index, moment))
    latest: defaultdict[tuple[int, datetime], float] = defaultdict(float)
    free = horizon.start
    for at, together in groupby(sorted(due), key=itemgetter(0)):
        runs = list(together)
        started = max(at, free) + timedelta(seconds=(len(runs) - 1) / rate)
        free = started + timedelta(seconds=1 / rate)
        # Any of those that are due at once may be the last of them.
        for _, index, moment in runs:
            key = (index, moment)
            latest[key] = max(latest[key], (started - moment).total_seconds())
    return latest


@st.composite
def loads(draw: st.DrawFn) -> Load:
    every = draw(st.sampled_from([300, 600, 900, 1800, 3600]))
    start = NOW + draw(st.integers(1, 3600)) * SECOND
    schedules: list[Interval | Cron] = [
        Interval(start, timedelta(seconds=every)),
        Interval(start, timedelta(seconds=every), start + HOUR),
        Cron(f"{every % 60} * * * *"),
        Cron("*/20 * * * *", start=start),
    ]
    schedule = draw(st.sampled_from(schedules))
    window = draw(st.sampled_from([0, 0, 7, 60, 100, 290]))
    return Load(draw(st.integers(1, 3000)), schedule, window)


@settings(max_examples=60, deadline=None)
@given(
    old=st.lists(loads(), max_size=3),
    new=st.lists(loads(), min_size=1, max_size=2),
    rate=st.integers(5, 40),
)
def test_the_line_is_that_of_a_queue_of_single_runs(
    old: list[Load], new: list[Load], rate: int
) -> None:
    horizon = Horizon(NOW, NOW + 2 * HOUR, NOW)
    all_loads = [*old, *new]
    expected = queue_one_by_one(all_loads, rate, horizon)
    # A run counts as a whole in the queue, and its part that has come in the fluid.
    tolerance = (len(all_loads) + 1) / rate

    waits = list(walk_line(LoadChange(old, new), Moments(horizon), rate=rate))

    assert {wait.moment for wait in waits} >= {moment for _, moment in expected}
    for wait in waits:
        starts = [
            seconds
            for (index, moment), seconds in expected.items()
            if all_loads[index] == wait.load and moment == wait.moment
        ]
        found = wait.load.window + wait.seconds
        closest = min(starts, key=lambda seconds: abs(seconds - found))
        assert closest == pytest.approx(found, abs=tolerance)


@settings(max_examples=40, deadline=None)
@given(
    old=st.lists(loads(), max_size=2),
    new=st.lists(loads(), min_size=1, max_size=2),
    limit=st.integers(5, 40),
)
def test_a_verdict_is_that_of_a_queue_of_single_runs(
    old: list[Load], new: list[Load], limit: int
) -> None:
    capacity = Capacity(limit, SECOND)
    horizon = horizon_from(NOW, [*old, *new])
    before = queue_one_by_one(old, limit, horizon)
    after = queue_one_by_one([*old, *new], limit, horizon)
    all_loads = [*old, *new]
    tolerance = (len(all_loads) + 1) / limit
    late = {
        key: seconds - max(all_loads[key[0]].window, capacity.patience)
        for key, seconds in after.items()
        if seconds > before.get(key, 0) + 2 * tolerance
    }

    verdict = judge(LoadChange(old, new), capacity, now=NOW)

    if verdict.fits:
        assert all(seconds < 1 + tolerance for seconds in late.values())
    elif not verdict.overload:
        assert any(
            seconds >= 1 - tolerance
            for seconds in (
                found - max(all_loads[index].window, capacity.patience)
                for (index, _), found in after.items()
            )
        )


@settings(max_examples=40, deadline=None)
@given(
    old=st.lists(loads(), max_size=2),
    new=st.lists(loads(), min_size=1, max_size=2),
    limit=st.integers(5, 40),
)
@example(
    # The second makes the first late, which has a window already.
    old=[],
    new=[
        Load(1, Interval(NOW + 150 * SECOND, 5 * MINUTE), 290),
        Load(15, Interval(NOW + 439 * SECOND, 5 * MINUTE)),
    ],
    limit=5,
)
def test_the_smallest_spread_fits_and_a_second_less_does_not(
    old: list[Load], new: list[Load], limit: int
) -> None:
    capacity = Capacity(limit, SECOND)

    spread = judge(LoadChange(old, new), capacity, now=NOW).smallest_spread

    if spread is not None:
        assert judge_with(spread, old, new, capacity)
        assert not judge_with(spread - 1, old, new, capacity)


def judge_with(
    spread: int, old: list[Load], new: list[Load], capacity: Capacity
) -> bool:
    wider = []
    for each in new:
        if isinstance(each.schedule, Interval):
            longest = each.schedule.every // SECOND - 1
        else:
            assert isinstance(each.schedule, Cron)
            is_rare = not each.schedule.expression.startswith("*/20")
            longest = 3599 if is_rare else 1199
        wider.append(each.with_window(max(each.window, min(spread, longest))))
    return judge(LoadChange(old, wider), capacity, now=NOW).fits


@pytest.mark.parametrize("spread", [0, 60, 300, 499])
def test_ten_thousand_hourly_tasks_need_500_seconds_at_20_a_second(spread: int) -> None:
    verdict = judge(LoadChange([], [hourly(10_000, spread)]), PER_SECOND, now=NOW)

    assert not verdict.fits
    assert verdict.smallest_spread == 500
    assert verdict.at == NOW + HOUR


@pytest.mark.parametrize("spread", [500, 600, 3599])
def test_ten_thousand_hourly_tasks_fit_from_500_seconds_on(spread: int) -> None:
    assert judge(LoadChange([], [hourly(10_000, spread)]), PER_SECOND, now=NOW).fits


def test_a_minute_of_the_rate_may_come_at_once() -> None:
    assert judge(LoadChange([], [hourly(1220)]), PER_SECOND, now=NOW).fits
    assert not judge(LoadChange([], [hourly(1222)]), PER_SECOND, now=NOW).fits


def test_the_patience_of_a_slow_lane_is_its_own_span() -> None:
    assert judge(LoadChange([], [hourly(100)]), Capacity(100, HOUR), now=NOW).fits
    assert not judge(LoadChange([], [hourly(102)]), Capacity(100, HOUR), now=NOW).fits


def test_more_than_the_rate_in_the_long_run_never_fits() -> None:
    load = Load(1300, Interval(NOW + MINUTE, MINUTE))

    verdict = judge(LoadChange([], [load]), PER_SECOND, now=NOW)

    assert (verdict.fits, verdict.smallest_spread) == (False, None)
    assert verdict.overload == pytest.approx(1300 / 1200)


def test_a_little_more_than_the_rate_is_too_much_however_slowly_the_line_grows() -> (
    None
):
    full = [Load(1200, Interval(NOW + MINUTE, MINUTE))]
    one = Load(1, Interval(NOW + MINUTE, timedelta(days=1)))

    assert judge(LoadChange([], full), PER_SECOND, now=NOW).fits
    assert not judge(LoadChange(full, [one]), PER_SECOND, now=NOW).fits
    assert judge(LoadChange([], [one], full), PER_SECOND, now=NOW).fits


def test_a_lane_that_is_too_full_elsewhere_refuses_nothing_more() -> None:
    full = hourly(10_000, 300, start=NOW + HOUR / 2)

    assert judge(LoadChange([full], [hourly(100)]), PER_SECOND, now=NOW).fits
    assert not judge(
        LoadChange([full], [hourly(1, start=NOW + HOUR / 2)]), PER_SECOND, now=NOW
    ).fits


def test_a_collision_with_a_weekly_burst_is_seen_a_week_ahead() -> None:
    weekly = Load(1200, Cron("0 9 * * 5"))
    daily = Load(1200, Cron("0 9 * * *"))

    verdict = judge(LoadChange([weekly], [daily]), PER_SECOND, now=NOW)

    assert verdict.at == datetime(2026, 11, 27, 9, tzinfo=UTC)


def test_many_intervals_that_never_meet_again_are_judged_for_a_week() -> None:
    many = [Load(1, Interval(NOW, HOUR + timedelta(seconds=n))) for n in range(1000)]

    horizon = horizon_from(NOW, many)
    assert (horizon.start, horizon.end) == (NOW, NOW + timedelta(weeks=1))
    assert judge(LoadChange(many[1:], many[:1]), PER_SECOND, now=NOW).fits


def test_tasks_that_begin_in_a_year_are_judged_when_they_begin() -> None:
    start = NOW + timedelta(days=365)

    verdict = judge(
        LoadChange([], [hourly(10_000, 300, start=start)]), PER_SECOND, now=NOW
    )

    assert (verdict.at, verdict.smallest_spread) == (start, 500)


def test_tasks_that_begin_at_the_end_of_the_calendar_are_judged() -> None:
    last = datetime(9999, 12, 31, 23, tzinfo=UTC)

    for schedule in (Interval(last, HOUR), Cron("0 * * * *", start=last)):
        change = LoadChange([hourly(1)], [Load(10_000, schedule)])
        assert judge(change, PER_SECOND, now=NOW).fits


def test_tasks_that_never_fire_again_fit() -> None:
    over = Load(10_000, Interval(NOW - HOUR, HOUR, NOW - MINUTE))

    assert judge(LoadChange([], [over]), PER_SECOND, now=NOW).fits


def test_a_change_that_makes_nothing_worse_fits_a_lane_that_is_too_full() -> None:
    full, same, wider = hourly(10_000), hourly(10_000), hourly(10_000, 300)

    for new in (same, wider):
        change = LoadChange([hourly(5)], [new], gone=[full])
        assert judge(change, PER_SECOND, now=NOW).fits
    narrower = LoadChange([hourly(5)], [full], gone=[wider])
    assert not judge(narrower, PER_SECOND, now=NOW).fits
