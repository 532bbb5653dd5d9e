"""Recurrence rules have the local times that dateutil finds from DTSTART on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import Any

import pytest
from dateutil import rrule
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_api.domain import rrule_text, rrule_walk
from tasks_api.domain.effort import TooLong, allowance
from tasks_api.domain.exceptions import ScheduleError

FIRST = datetime(2026, 1, 30, 9, 15, 20)  # noqa: DTZ001 (a local time)
DAY = timedelta(days=1)


def _some(values: range, *, most: int = 3) -> st.SearchStrategy[str]:
    one = (
        st.sampled_from(values).filter(bool)
        if values.start < 0
        else st.sampled_from(values)
    )
    return st.lists(one, min_size=1, max_size=most).map(
        lambda each: ",".join(map(str, each))
    )


def _weekdays(freq: str, *, numbered: bool) -> st.SearchStrategy[str]:
    day = st.sampled_from(rrule_text.WEEKDAYS)
    if numbered:
        places = st.sampled_from([-2, -1, 1, 2, 4, 5])
        day = st.tuples(places, day).map(lambda each: f"{each[0]}{each[1]}")
    return st.lists(day, min_size=1, max_size=3).map(",".join)


@st.composite
def rules(draw: Callable[..., Any]) -> str:
    freq = draw(st.sampled_from(list(rrule_text.PERIODS)))
    intervals = {"SECONDLY": [1, 7, 90, 3600], "MINUTELY": [1, 7, 45, 90, 1440]}
    interval = draw(st.sampled_from(intervals.get(freq, [1, 1, 2, 3, 5])))
    parts = {"FREQ": freq, "INTERVAL": str(interval)}
    optional = {
        "BYMONTH": _some(range(1, 13)),
        "BYHOUR": _some(range(24)),
        "BYMINUTE": _some(range(60)),
        "BYSECOND": _some(range(60)),
        "BYDAY": _weekdays(
            freq, numbered=freq in ("MONTHLY", "YEARLY") and draw(st.booleans())
        ),
        "WKST": st.sampled_from(rrule_text.WEEKDAYS),
    }
    if freq != "WEEKLY":
        optional["BYMONTHDAY"] = _some(range(-31, 32))
    if freq in ("YEARLY", "HOURLY", "MINUTELY", "SECONDLY"):
        optional["BYYEARDAY"] = _some(range(-366, 367), most=5)
    for name in draw(
        st.lists(st.sampled_from(sorted(optional)), max_size=4, unique=True)
    ):
        parts[name] = draw(optional[name])
    if parts.keys() & (optional.keys() - {"WKST"}) and draw(st.integers(0, 3)) == 0:
        parts["BYSETPOS"] = draw(_some(range(-3, 4)))
    return ";".join(f"{name}={value}" for name, value in parts.items())


def by_dateutil(rule: str, first: datetime) -> rrule.rrule:
    found = rrule.rrulestr(rule, dtstart=first)
    assert isinstance(found, rrule.rrule)
    return found


@settings(max_examples=300, deadline=None)
@given(
    rules(),
    st.datetimes(datetime(2019, 1, 1), datetime(2026, 12, 31)),  # noqa: DTZ001 (local times)
    st.timedeltas(-40 * DAY, 1500 * DAY),
)
def test_a_walk_from_any_moment_has_the_times_of_dateutil(
    rule: str, first: datetime, after: timedelta
) -> None:
    first = first.replace(microsecond=0)
    if "SECONDLY" in rule or "MINUTELY" in rule:
        # dateutil begins at DTSTART.
        after /= 1000
    try:
        reads = rrule_text.read(rule).rule
        with allowance(20_000, TooLong):
            found = list(islice(rrule_walk.walk(reads, first, None, first + after), 5))
    except ScheduleError:
        return
    until = found[-1] if found else first + 2 * after
    try:
        times = takewhile(lambda at: at <= until, by_dateutil(rule, first))
        expected = [at for at in times if at >= first + after]
    except ValueError:
        # No time fits all parts.
        expected = []
    assert found == expected


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;BYSETPOS=2;BYSECOND=1",
        "FREQ=SECONDLY;BYHOUR=3;BYMINUTE=0;BYSECOND=59;BYSETPOS=-2",
        "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MINUTELY;INTERVAL=7;BYYEARDAY=366;BYMONTH=1",
        "FREQ=SECONDLY;INTERVAL=7;BYHOUR=3;BYMINUTE=0;BYSECOND=59;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYMONTH=4;BYMONTHDAY=31",
        "FREQ=DAILY;BYMONTH=6;BYMONTHDAY=31",
        "FREQ=WEEKLY;BYMONTH=2;BYSETPOS=366",
        "FREQ=MONTHLY;BYDAY=5MO;BYMONTHDAY=1",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYDAY=MO;BYSETPOS=366,365,364,-366",
        "FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6;BYDAY=MO",
    ],
)
def test_a_rule_that_never_fires_ends_after_so_many_steps(rule: str) -> None:
    times = rrule_walk.walk(rrule_text.read(rule).rule, FIRST, None, FIRST)

    with pytest.raises(TooLong), allowance(5_000, TooLong):
        list(times)


@pytest.mark.parametrize(
    "rule",
    [
        # 29 February as a Monday, once in 28 years.
        "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
        "FREQ=SECONDLY;BYHOUR=8;BYMINUTE=0;BYSECOND=0",
        "FREQ=SECONDLY;BYDAY=MO;BYHOUR=8;BYMINUTE=0;BYSECOND=0",
        "FREQ=MINUTELY;BYDAY=MO;BYHOUR=8;BYMINUTE=0",
        "FREQ=MINUTELY;INTERVAL=7;BYDAY=MO;BYHOUR=8",
        "FREQ=DAILY;INTERVAL=36600",
    ],
)
def test_a_rare_rule_fires_within_the_steps(rule: str) -> None:
    start = datetime(2027, 1, 5)  # noqa: DTZ001 (a local time)
    with allowance(5_000, TooLong):
        found = next(rrule_walk.walk(rrule_text.read(rule).rule, FIRST, None, start))

    assert found >= start


@settings(max_examples=200, deadline=None)
@given(rules())
def test_no_two_times_are_closer_than_the_least_interval(rule: str) -> None:
    try:
        parts = rrule_text.parse(rrule_text.read(rule).rule)
        with allowance(20_000, TooLong):
            found = list(islice(rrule_walk.walk(rule, FIRST, None, FIRST), 50))
    except ScheduleError:
        return
    least = rrule_text.least_interval(parts, FIRST)

    gaps = [(b - a).total_seconds() for a, b in pairwise(found)]
    assert all(gap >= least for gap in gaps)
