"""The hours of local days, where clocks change and where zones are off by minutes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from console.calendar.local_hours import hours_of


@pytest.mark.parametrize(
    ("zone", "day", "size"),
    [
        ("UTC", date(2027, 3, 28), 24),
        ("Europe/Berlin", date(2027, 3, 27), 24),
        ("Europe/Berlin", date(2027, 3, 28), 23),
        ("Europe/Berlin", date(2027, 10, 31), 25),
        ("America/New_York", date(2027, 3, 14), 23),
        ("America/New_York", date(2027, 11, 7), 25),
        ("Asia/Kolkata", date(2027, 3, 28), 24),
        ("Asia/Kathmandu", date(2027, 3, 28), 24),
        # A day that began at 01:00.
        ("America/Asuncion", date(2023, 10, 1), 23),
    ],
)
def test_a_day_has_the_hours_that_begin_on_it(zone: str, day: date, size: int) -> None:
    hours = hours_of(day, ZoneInfo(zone))

    assert len(hours) == size
    assert {each.begins.date() for each in hours} == {day}
    gaps = {after.start - each.start for each, after in pairwise(hours)}
    assert gaps == {timedelta(hours=1)}


def test_days_that_follow_each_other_have_each_hour_once() -> None:
    zone, first = ZoneInfo("Europe/Berlin"), date(2027, 10, 25)
    week = [hours_of(first + timedelta(days=number), zone) for number in range(7)]

    starts = [hour.start for day in week for hour in day]

    begin = datetime(2027, 10, 24, 22, tzinfo=UTC)
    assert starts == [begin + timedelta(hours=number) for number in range(7 * 24 + 1)]


def test_an_hour_that_the_clock_shows_again_says_so() -> None:
    hours = hours_of(date(2027, 10, 31), ZoneInfo("Europe/Berlin"))

    assert [each.begins.hour for each in hours if each.is_second_pass] == [2]
