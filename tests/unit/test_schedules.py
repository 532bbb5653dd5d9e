"""Grid arithmetic as properties, and the rules for what passed meanwhile as cases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.schedules import (
    Cron,
    DueFireTimes,
    Interval,
    Missed,
    Once,
    first_after,
    sort_due,
    with_spread,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
MADE_UP = "Passed while nobody could fire it; only the newest one is made up for."
OVER = "Passed while nobody could fire it, and its task has ended since."
HOURLY = Interval(NOON, HOUR, NOON + 24 * HOUR)


def missed_hours(hours: int, reason: str) -> tuple[Missed, ...]:
    return tuple(Missed(NOON + hour * HOUR, reason) for hour in range(hours))


moments = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 (hypothesis adds the zone)
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 (as above)
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
def test_catching_up_in_batches_equals_catching_up_at_once(
    schedule: Interval, now: datetime, limit: int
) -> None:
    since = schedule.first_from(now - 20 * schedule.every)
    if since is None or since > now:
        return

    at_once = sort_due(schedule, since=since, now=now, limit=1000)
    missed: tuple[Missed, ...] = ()
    bite = sort_due(schedule, since=since, now=now, limit=limit)
    while bite.next_fire_at is not None and bite.next_fire_at <= now:
        missed += bite.missed
        bite = sort_due(schedule, since=bite.next_fire_at, now=now, limit=limit)

    assert bite.fires == at_once.fires
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
        (NOON - SECOND, DueFireTimes((), (NOON,), NOON + HOUR)),
        (NOON, DueFireTimes((), (NOON,), NOON + HOUR)),
        # A little late is late, not missed.
        (NOON + 59 * 60 * SECOND, DueFireTimes((), (NOON,), NOON + HOUR)),
        # Three passed: the newest runs, once.
        (
            NOON + 2 * HOUR,
            DueFireTimes(missed_hours(2, MADE_UP), (NOON + 2 * HOUR,), NOON + 3 * HOUR),
        ),
        # Its turn came a moment after the end.
        (
            NOON + 24 * HOUR + SECOND,
            DueFireTimes(missed_hours(24, MADE_UP), (NOON + 24 * HOUR,), None),
        ),
        # The service was down over the end: nothing runs after it.
        (NOON + 25 * HOUR, DueFireTimes(missed_hours(25, OVER), (), None)),
    ],
)
def test_what_became_of_the_fire_times_that_passed(
    now: datetime, expected: DueFireTimes
) -> None:
    assert sort_due(HOURLY, since=NOON, now=now, limit=100) == expected


def test_a_one_off_runs_however_late() -> None:
    late = NOON + timedelta(days=400)

    assert sort_due(Once(NOON), since=NOON, now=late, limit=9) == DueFireTimes(
        (), (NOON,), None
    )


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


@st.composite
def downtimes(draw: st.DrawFn) -> tuple[Interval, datetime, datetime]:
    """A schedule, the first fire time that is open, and a moment after it."""
    every = draw(st.integers(1, 5000)) * SECOND
    passed = draw(st.integers(0, 260))
    rest = draw(st.floats(0, 0.999)) * every
    end = draw(st.none() | st.integers(passed - 3, passed + 3))
    offset = draw(st.integers(0, 5000)) * SECOND
    last = None if end is None else NOON + max(0, end) * every
    schedule = Interval(NOON, every, last, offset)
    return schedule, NOON + offset, NOON + offset + passed * every + rest


def model(
    schedule: Interval,
    now: datetime,
    *,
    window: timedelta | None,
    most: int,
) -> tuple[list[datetime], list[datetime]]:
    """The rules once more, by looking at every fire time there is: missed and fired."""
    passed = []
    moment = schedule.start
    while moment + schedule.offset <= now and not (
        schedule.end and moment > schedule.end
    ):
        passed.append(moment + schedule.offset)
        moment += schedule.every
    fired = passed[-most:]
    if window is not None:
        fired = [fire for fire in fired if (now - fire) <= window]
    if schedule.end and now > schedule.end + schedule.offset + 2 * SECOND:
        fired = []
    return [fire for fire in passed if fire not in fired], fired


@given(
    downtimes(),
    st.none() | st.integers(0, 100_000).map(lambda seconds: seconds * SECOND),
    st.sampled_from([1, 3, 100]),
    st.integers(1, 50),
)
def test_what_is_made_up_for_is_what_the_rules_say(
    downtime: tuple[Interval, datetime, datetime],
    window: timedelta | None,
    most: int,
    limit: int,
) -> None:
    schedule, since, now = downtime
    missed: list[datetime] = []
    fired: list[datetime] = []
    upcoming: datetime | None = since

    # In bites, as a beat takes them.
    while upcoming is not None and upcoming <= now:
        bite = sort_due(
            schedule, since=upcoming, now=now, limit=limit, grace=window, most=most
        )
        missed += [moment for moment, _ in bite.missed]
        fired += bite.fires
        upcoming = bite.next_fire_at

    assert (missed, fired) == model(schedule, now, window=window, most=most)
    assert upcoming is None or upcoming > now


def test_the_reason_says_which_rule_it_was() -> None:
    now = NOON + 5 * HOUR
    found = sort_due(
        HOURLY, since=NOON, now=now, limit=100, grace=3 * HOUR + SECOND, most=2
    )

    reasons = [reason for _, reason in found.missed]
    assert reasons == [
        "Nobody could fire it within 10801 seconds.",
        "Nobody could fire it within 10801 seconds.",
        "Passed while nobody could fire it; only the newest 2 are made up for.",
        "Passed while nobody could fire it; only the newest 2 are made up for.",
    ]
    assert found.fires == (NOON + 4 * HOUR, now)


@given(st.uuids(), st.integers(1, 86_400))
def test_a_spread_moves_every_fire_time_by_the_same(task_id: UUID, window: int) -> None:
    shifted = with_spread(HOURLY, window, task_id)

    assert isinstance(shifted, Interval)
    assert shifted == with_spread(HOURLY, window, task_id)
    assert timedelta() <= shifted.offset < window * SECOND
    moment = NOON + 10 * HOUR
    assert shifted.first_from(moment + shifted.offset) == moment + shifted.offset
    # The end is the grid's.
    last = NOON + 24 * HOUR + shifted.offset
    assert shifted.first_from(last) == last
    assert first_after(shifted, last) is None


def test_tasks_spread_evenly() -> None:
    seconds = [0] * 60
    for number in range(6000):
        shifted = with_spread(Cron("0 * * * *"), 60, uuid5(NAMESPACE_URL, str(number)))
        assert isinstance(shifted, Cron)
        seconds[shifted.offset // SECOND] += 1

    assert min(seconds) > 50
    assert max(seconds) < 200


def test_a_cron_that_is_spread_keeps_its_calendar() -> None:
    cron = Cron("0 0 * * *", "Europe/Berlin", offset=90 * SECOND)
    midnight = datetime(2026, 11, 22, 23, tzinfo=UTC)

    assert cron.first_from(NOON) == midnight + 90 * SECOND
    assert first_after(cron, midnight) == midnight + 90 * SECOND
    assert cron.first_from(midnight + 91 * SECOND) == midnight + 24 * HOUR + 90 * SECOND
