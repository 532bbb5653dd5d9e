"""Recurrence rules go by the clock as cron expressions do, and several schedules are a union."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_api.domain.cron import Dst
from tasks_api.domain.effort import TooMuch, allowance
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.fire_times import coming_fire_times
from tasks_api.domain.rules import AnyOf, Recurrence, make_recurrence
from tasks_api.domain.schedule_parts import dst_of, last_moment, with_dst, zone_of
from tasks_api.domain.schedules import (
    MICROSECOND,
    Cron,
    Interval,
    Once,
    Part,
    Schedule,
    find_crowd,
    fire_times_between,
    first_after,
    least_interval,
    sort_due,
)

YEAR = datetime(2027, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIRST = datetime(2026, 12, 1)  # noqa: DTZ001 (a local time)
ZONES = [
    *("Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe"),
    *("Africa/Cairo", "Africa/Casablanca", "Asia/Beirut", "Asia/Kathmandu", "UTC"),
    *("America/Havana", "Atlantic/Azores", "Antarctica/Troll", "Pacific/Chatham"),
]
# An expression and a rule that say the same.
SAME = [
    ("30 2 * * *", "FREQ=DAILY;BYHOUR=2;BYMINUTE=30"),
    ("0 0 * * *", "FREQ=DAILY"),
    ("15,45 1,2,3 * * 0", "FREQ=WEEKLY;BYDAY=SU;BYHOUR=1,2,3;BYMINUTE=15,45"),
    ("30 2 1 * *", "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=2;BYMINUTE=30"),
    ("0 2 * * 0#1", "FREQ=MONTHLY;BYDAY=1SU;BYHOUR=2"),
    ("*/20 * * * *", "FREQ=MINUTELY;INTERVAL=20"),
    ("30 * * * *", "FREQ=HOURLY;BYMINUTE=30"),
    ("*/30 2 * * *", "FREQ=MINUTELY;INTERVAL=30;BYHOUR=2"),
]
DSTS = [Dst(), Dst(skips_gap=True), Dst(runs_twice=True), Dst(True, True)]


def stepped(schedule: Schedule, first: datetime, last: datetime) -> Iterator[datetime]:
    at = schedule.first_from(first)
    while at is not None and at <= last:
        yield at
        at = first_after(schedule, at)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("expression", "rule"), SAME)
def test_a_rule_fires_as_its_expression_does_all_year(
    expression: str, rule: str, zone: str
) -> None:
    # Each zone and each rule has each of them.
    dst = DSTS[(len(zone) + len(rule)) % len(DSTS)]
    cron = Cron(expression, zone, dst=dst)
    recurrence = Recurrence(rule, FIRST, zone, dst=dst)
    last = YEAR + timedelta(days=366)

    expected = list(fire_times_between(cron, YEAR, last))

    assert list(fire_times_between(recurrence, YEAR, last)) == expected
    # The same from any moment on.
    for moment in (expected[0], expected[len(expected) // 2], expected[-1]):
        assert recurrence.first_from(moment) == moment
        assert first_after(recurrence, moment) == first_after(cron, moment)


@pytest.mark.parametrize("zone", ZONES[:4])
@pytest.mark.parametrize(("expression", "rule"), SAME[:3])
@pytest.mark.parametrize("dst", DSTS)
def test_a_preview_of_a_rule_has_the_marks_of_its_expression(
    expression: str, rule: str, zone: str, dst: Dst
) -> None:
    cron = Cron(expression, zone, dst=dst)
    recurrence = Recurrence(rule, FIRST, zone, dst=dst)

    found = list(coming_fire_times(recurrence, since=YEAR, count=400))

    assert found == list(coming_fire_times(cron, since=YEAR, count=400))


MOMENTS = st.datetimes(
    datetime(2027, 3, 20),  # noqa: DTZ001 (hypothesis adds the zone)
    datetime(2027, 4, 10),  # noqa: DTZ001 (hypothesis adds the zone)
    timezones=st.just(UTC),
).map(lambda at: at.replace(microsecond=0))
ENDS = st.none() | MOMENTS
PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(Once, MOMENTS),
    st.builds(
        Interval,
        MOMENTS,
        st.sampled_from([HOUR, 5 * HOUR, timedelta(minutes=25)]),
        ENDS,
    ),
    st.builds(
        Cron,
        st.sampled_from([each for each, _ in SAME]),
        st.sampled_from(ZONES),
        ENDS,
        ENDS,
    ),
    st.builds(
        Recurrence,
        st.sampled_from([each for _, each in SAME]),
        st.just(FIRST),
        st.sampled_from(ZONES),
        start=ENDS,
        end=ENDS,
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(PARTS, min_size=2, max_size=5).map(tuple),
    ENDS,
    ENDS,
    st.sampled_from([timedelta(), timedelta(seconds=7)]),
    MOMENTS,
)
def test_several_schedules_fire_at_the_union_of_their_moments(
    parts: tuple[Part, ...],
    start: datetime | None,
    end: datetime | None,
    offset: timedelta,
    first: datetime,
) -> None:
    schedule = AnyOf(parts, start, end, offset)
    last = first + 4 * 24 * HOUR
    union = {
        at + offset
        for part in parts
        for at in stepped(part, first - offset, last - offset)
        if (start is None or at >= start) and (end is None or at <= end)
    }

    assert list(fire_times_between(schedule, first, last)) == sorted(union)
    assert list(stepped(schedule, first, last)) == sorted(union)
    count = max(1, len(union))
    coming = coming_fire_times(schedule, since=first - MICROSECOND, count=count)
    shown = [each.at for each in coming if each.at is not None and each.at <= last]
    assert shown == sorted(union)


def test_a_moment_of_two_schedules_fires_once() -> None:
    noon = Cron("0 12 * * *")
    every = Interval(YEAR + 11 * HOUR, HOUR)
    schedule: AnyOf[Part] = AnyOf((noon, every, Once(YEAR + 12 * HOUR)))

    found = list(islice(stepped(schedule, YEAR, YEAR + 24 * HOUR), 3))

    assert found == [YEAR + 11 * HOUR, YEAR + 12 * HOUR, YEAR + 13 * HOUR]


@pytest.mark.parametrize(
    ("rule", "fires", "last"),
    [
        ("FREQ=DAILY;COUNT=3", 3, "2026-12-03T00:00"),
        ("FREQ=WEEKLY;BYDAY=MO,WE;COUNT=4", 4, "2026-12-14T00:00"),
        ("FREQ=DAILY;UNTIL=20261203T000000", 3, "2026-12-03T00:00"),
        ("FREQ=DAILY;UNTIL=20261202T235959", 2, "2026-12-02T23:59:59"),
        # A day counts to its end; an instant is an instant.
        ("FREQ=HOURLY;INTERVAL=12;UNTIL=20261202", 4, "2026-12-02T23:59:59"),
        ("FREQ=DAILY;UNTIL=20261202T230000Z", 3, "2026-12-03T00:00"),
        ("FREQ=DAILY;UNTIL=20261202T225959Z", 2, "2026-12-02T23:59:59"),
    ],
)
def test_a_rule_ends_with_its_count_and_its_until(
    rule: str, fires: int, last: str
) -> None:
    found = make_recurrence(rule, FIRST, "Europe/Berlin")

    times = list(stepped(found, YEAR - 400 * 24 * HOUR, YEAR + 400 * 24 * HOUR))

    assert len(times) == fires
    assert found.last == datetime.fromisoformat(last)
    assert found.end == found.last.replace(tzinfo=UTC) - HOUR
    assert last_moment(AnyOf((found, Once(YEAR)))) == YEAR
    assert last_moment(AnyOf((found, Cron("* * * * *")))) is None


@pytest.mark.parametrize(
    ("rule", "least"),
    [
        ("FREQ=SECONDLY", 1),
        ("FREQ=SECONDLY;INTERVAL=10", 10),
        ("FREQ=SECONDLY;BYSECOND=0,20", 20),
        ("FREQ=MINUTELY;INTERVAL=5", 300),
        ("FREQ=MINUTELY;BYSECOND=0,50", 10),
        ("FREQ=HOURLY;BYMINUTE=0,59", 60),
        ("FREQ=DAILY;BYHOUR=9,17", 8 * 3600),
        ("FREQ=WEEKLY;BYDAY=MO", 24 * 3600),
        ("FREQ=YEARLY", 24 * 3600),
    ],
)
def test_the_least_interval_of_a_rule(rule: str, least: int) -> None:
    recurrence = Recurrence(rule, FIRST)

    assert least_interval(recurrence) == least
    assert least_interval(AnyOf((recurrence, Cron("0 0 * * *")))) == least


def test_a_policy_holds_for_all_that_is_of_local_time() -> None:
    rule = Recurrence("FREQ=DAILY", FIRST, "Europe/Berlin")
    parts = (Interval(YEAR, HOUR), Cron("0 9 * * *", "Europe/Berlin"), rule)
    schedule: AnyOf[Part] = AnyOf(parts)
    dst = Dst(skips_gap=True)

    found = with_dst(schedule, dst)

    assert dst_of(found) == dst
    assert dst_of(AnyOf((Interval(YEAR, HOUR), Once(YEAR)))) is None
    assert zone_of(rule) == "Europe/Berlin"
    assert zone_of(found) == "Europe/Berlin"
    assert zone_of(AnyOf((rule, Cron("0 9 * * *")))) == "UTC"
    assert zone_of(Interval(YEAR, HOUR)) == "UTC"
    assert zone_of(AnyOf((rule, replace(rule, rule="FREQ=WEEKLY")))) == "Europe/Berlin"


@pytest.mark.parametrize(
    "schedule",
    [
        AnyOf((Interval(YEAR, 4 * timedelta(seconds=1)), Cron("* * * * *"))),
        Recurrence("FREQ=SECONDLY;INTERVAL=4", FIRST),
    ],
)
def test_passed_fire_times_are_sorted_like_others(schedule: Schedule) -> None:
    since = YEAR + HOUR
    now = since + 20 * 24 * HOUR

    crowd = find_crowd(schedule, since, now, spare=1)
    assert crowd is not None
    assert crowd.size > 10_000
    between = takewhile(lambda at: at <= crowd.last, stepped(schedule, since, now))
    assert sum(1 for _ in islice(between, 20_000)) == min(crowd.size, 20_000)

    due = sort_due(schedule, since=since, now=since + HOUR, limit=2000)
    expected = list(stepped(schedule, since, since + HOUR))
    assert [each.moment for each in due.missed] == expected[:-1]
    assert due.fires == (expected[-1],)
    assert due.next_fire_at == first_after(schedule, expected[-1])


def test_walking_through_a_union_spends_steps() -> None:
    schedule = AnyOf((Interval(YEAR, HOUR), Interval(YEAR, 3 * HOUR)))

    with pytest.raises(TooMuch), allowance(1000, TooMuch):
        list(fire_times_between(schedule, YEAR, YEAR + 10_000 * HOUR))


def test_a_count_that_takes_too_long_is_refused() -> None:
    with pytest.raises(ScheduleError, match="takes too long to count"):
        make_recurrence(
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO;COUNT=999", FIRST, "UTC"
        )
