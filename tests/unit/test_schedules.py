"""Grid arithmetic as properties, and the rules for what passed meanwhile as cases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_api.exceptions import ScheduleError
from tasks_api.schedules import Cron, Due, Interval, Once, due, first_after

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
HOURLY = Interval(NOON, HOUR, NOON + 24 * HOUR)

moments = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 (hypothesis adds the zone)
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
spans = st.timedeltas(min_value=SECOND, max_value=timedelta(days=4000))
intervals = st.builds(Interval, start=moments, every=spans, end=st.none() | moments)


@given(intervals, moments)
def test_a_fire_time_lies_on_the_grid_and_not_before_the_moment(
    schedule: Interval, moment: datetime
) -> None:
    found = schedule.first_from(moment)

    if found is not None:
        assert found >= max(moment, schedule.start)
        assert (found - schedule.start) % schedule.every == timedelta()
        assert schedule.end is None or found <= schedule.end


@given(intervals, moments)
def test_no_grid_point_is_passed_over(schedule: Interval, moment: datetime) -> None:
    found = schedule.first_from(moment)

    earlier = (found or schedule.end or schedule.start) - schedule.every
    assert found is None or earlier < moment or found == schedule.start


@given(intervals, moments, st.integers(min_value=1, max_value=30))
def test_catching_up_in_bites_comes_to_the_same_as_at_once(
    schedule: Interval, now: datetime, limit: int
) -> None:
    since = schedule.first_from(now - 20 * schedule.every)
    if since is None or since > now:
        return

    at_once = due(schedule, since=since, now=now, limit=1000)
    missed: tuple[datetime, ...] = ()
    bite = due(schedule, since=since, now=now, limit=limit)
    while bite.next_fire_at is not None and bite.next_fire_at <= now:
        missed += bite.missed
        bite = due(schedule, since=bite.next_fire_at, now=now, limit=limit)

    assert bite.fire == at_once.fire
    assert bite.next_fire_at == at_once.next_fire_at
    assert missed + bite.missed == at_once.missed


def test_the_end_is_a_fire_time_when_it_lies_on_the_grid() -> None:
    assert HOURLY.first_from(NOON + 24 * HOUR) == NOON + 24 * HOUR
    assert HOURLY.first_from(NOON + 24 * HOUR + SECOND) is None


def test_the_start_is_the_first_fire_time() -> None:
    assert HOURLY.first_from(NOON - 1000 * HOUR) == NOON


def test_the_last_years_of_the_calendar_end_in_nothing() -> None:
    schedule = Interval(datetime(9999, 12, 31, tzinfo=UTC), timedelta(days=400))

    assert first_after(schedule, schedule.start) is None


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # It is still to come, and fires as it is.
        (NOON - SECOND, Due((), NOON, NOON + HOUR)),
        (NOON, Due((), NOON, NOON + HOUR)),
        # A little late is late, not missed.
        (NOON + 59 * 60 * SECOND, Due((), NOON, NOON + HOUR)),
        # Three passed: the newest runs, once.
        (NOON + 2 * HOUR, Due((NOON, NOON + HOUR), NOON + 2 * HOUR, NOON + 3 * HOUR)),
        # Its turn came a moment after the end.
        (
            NOON + 24 * HOUR + SECOND,
            Due(
                tuple(NOON + hour * HOUR for hour in range(24)), NOON + 24 * HOUR, None
            ),
        ),
        # The service was down over the end: nothing runs after it.
        (
            NOON + 25 * HOUR,
            Due(tuple(NOON + hour * HOUR for hour in range(25)), None, None),
        ),
    ],
)
def test_what_became_of_the_fire_times_that_passed(
    now: datetime, expected: Due
) -> None:
    assert due(HOURLY, since=NOON, now=now, limit=100) == expected


def test_a_one_off_runs_however_late() -> None:
    late = NOON + timedelta(days=400)

    assert due(Once(NOON), since=NOON, now=late, limit=9) == Due((), NOON, None)


@pytest.mark.parametrize(
    ("expression", "zone", "moment", "expected"),
    [
        ("30 * * * *", "UTC", NOON, NOON + timedelta(minutes=30)),
        # At or after the moment, so the moment itself counts.
        ("0 12 * * *", "UTC", NOON, NOON),
        # Noon in Berlin is eleven in UTC.
        ("0 12 * * *", "Europe/Berlin", NOON, NOON + 23 * HOUR),
        # A time in the gap of 2027-03-28 runs at the first instant after it.
        (
            "30 2 28 3 *",
            "Europe/Berlin",
            datetime(2027, 3, 1, tzinfo=UTC),
            datetime(2027, 3, 28, 1, 0, tzinfo=UTC),
        ),
    ],
)
def test_a_cron_expression_is_read_in_its_zone(
    expression: str, zone: str, moment: datetime, expected: datetime
) -> None:
    assert Cron(expression, zone).first_from(moment) == expected


def test_a_cron_expression_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ScheduleError):
        Cron("61 * * * *", "UTC").first_from(NOON)
