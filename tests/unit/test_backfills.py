"""The pace of a backfill, and the moments at which it sends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_api.domain.backfills import Pace, parse_pace, send_times

BEGIN = datetime(2026, 11, 21, 3, 0, 0, 123_456, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20/minute", 3.0),
        ("1/day", 86400.0),
        ("7/hour", 3600 / 7),
        ("100/second", 0.01),
        # A hundred a second, said in minutes.
        ("6000/minute", 0.01),
    ],
)
def test_a_pace_is_a_distance(text: str, seconds: float) -> None:
    pace = parse_pace(text)

    assert str(pace) == text
    assert pace.distance.total_seconds() == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        *("", "20", "/minute", "0/minute", "-1/minute", "1.5/minute", "01/minute"),
        *("20/minutes", "20 / minute", "20/MINUTE", "1e3/hour", "\u0663/minute"),
        *("101/second", "6001/minute", "1000000/day", "20/minute\n", None, 20, []),
    ],
)
def test_what_is_no_pace_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="should be"):
        parse_pace(text)


@given(
    st.integers(1, 6000),
    st.sampled_from(["second", "minute", "hour", "day"]),
    st.lists(st.integers(0, 999_999), max_size=50),
)
def test_moments_keep_the_pace_and_are_no_fire_times(
    count: int, unit: str, microseconds: list[int]
) -> None:
    pace = Pace(min(count, 100) if unit == "second" else count, unit)
    fire_times = [BEGIN.replace(microsecond=each) for each in microseconds]

    moments = list(send_times(200, begin=BEGIN, pace=pace, apart_from=fire_times))

    assert len(set(moments)) == len(moments) == 200
    assert moments == sorted(moments)
    assert abs(moments[0] - BEGIN) < MILLISECOND
    for earlier, later in pairwise(moments):
        assert abs(later - earlier - pace.distance) <= MILLISECOND
    ends = {fire_time.microsecond % 1000 for fire_time in fire_times}
    assert ends.isdisjoint(moment.microsecond % 1000 for moment in moments)
