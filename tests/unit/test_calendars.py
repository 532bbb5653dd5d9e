"""Schedules on calendars fire as a walk over days says, in many countries and zones."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_api.domain.calendars import (
    CalendarRules,
    OnCalendars,
    OnExcluded,
    parse_pace,
)
from tasks_api.domain.day_sets import WEEKDAYS, CalendarDays
from tasks_api.domain.fire_times import coming_fire_times
from tasks_api.domain.holiday_days import holidays_of
from tasks_api.domain.schedules import (
    MICROSECOND,
    Cron,
    Interval,
    find_crowd,
    fire_times_between,
    first_after,
    grid_of,
    sort_due,
)

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
# The codes of forty countries from all continents.
COUNTRIES = (
    *("AR", "AT", "AU", "BE", "BR", "CA", "CH", "CL", "CN", "CO"),
    *("CZ", "DE", "DK", "EG", "ES", "FI", "FR", "GB", "GR", "HU"),
    *("ID", "IE", "IL", "IN", "IT", "JP", "KE", "KR", "MX", "MY"),
    *("NG", "NL", "NO", "NZ", "PL", "PT", "SE", "TR", "US", "ZA"),
)
EMPTY: dict[str, Any] = {"dates": [], "ranges": [], "weekdays": [], "holidays": None}


def calendar(
    zone: str = "UTC",
    holidays: list[str] | None = None,
    name: str = "a",
    **content: Any,
) -> CalendarDays:
    return CalendarDays.from_content(
        EMPTY | content,
        holidays or [],
        version_id=1,
        calendar_id=1,
        name=name,
        number=1,
        zone=zone,
    )


class Model:
    """What calendars do, one fire time of the grid after the other."""

    def __init__(self, rules: CalendarRules, zone: str | None) -> None:
        self._rules, self._zone = rules, zone

    def covers(self, days: CalendarDays, moment: datetime) -> bool:
        local = moment.astimezone(ZoneInfo(days.zone)).date()
        in_ranges = any(
            first <= local.toordinal() <= last for first, last in days.days.ranges
        )
        is_span = any(first <= moment < last for first, last in days.spans)
        return in_ranges or local.weekday() in days.days.weekdays or is_span

    def left_out(self, moment: datetime) -> CalendarDays | None:
        for days in self._rules.exclude:
            if self.covers(days, moment):
                return days
        only = self._rules.only
        if only and not any(self.covers(days, moment) for days in only):
            return only[0]
        return None

    def fate(self, at: datetime) -> datetime | None:
        days = self.left_out(at)
        if days is None:
            return at
        if self._rules.on_excluded == OnExcluded.SKIP:
            return None
        clock = ZoneInfo(self._zone or days.zone)
        local = at.astimezone(clock).replace(tzinfo=None)
        step = 1 if self._rules.on_excluded == OnExcluded.NEXT_BUSINESS_DAY else -1
        for number in range(1, 32):
            moved = (local + step * number * DAY).replace(tzinfo=clock).astimezone(UTC)
            if self.left_out(moved) is None:
                return moved
        return None

    def fire_times(
        self, grid: Cron | Interval, first: datetime, last: datetime
    ) -> list[datetime]:
        margin = 40 * DAY
        times = fire_times_between(grid, first - margin, last + margin)
        found = {self.fate(at) for at in times}
        return sorted(at for at in found if at is not None and first <= at <= last)


def walk(schedule: OnCalendars, first: datetime, last: datetime) -> list[datetime]:
    return list(fire_times_between(schedule, first, last))


@pytest.mark.parametrize("country", COUNTRIES)
def test_fire_times_are_those_of_a_walk_over_the_days(country: str) -> None:
    chance = random.Random(country)
    days = list(holidays_of(country, "", 2026))
    for zone in ZONES:
        for on_excluded in OnExcluded:
            weekdays = chance.choice([["sat", "sun"], ["fri", "sat"], []])
            holidays = calendar(zone, days, weekdays=weekdays)
            rules = CalendarRules(exclude=(holidays,), on_excluded=on_excluded)
            expression = chance.choice(["30 2 * * *", "0 0 * * *", "59 23 1,15 * *", "0 9 * * 1-5"])  # fmt: skip
            grid = Cron(expression, zone)
            first = datetime(2026, 1, 1, tzinfo=UTC)

            found = walk(OnCalendars(grid, rules), first, first + 200 * DAY)

            wanted = Model(rules, zone).fire_times(grid, first, first + 200 * DAY)
            assert found == wanted


days_of_year = st.dates(date(2026, 1, 1), date(2026, 12, 31)).map(date.isoformat)


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, str]:
    first = draw(st.dates(date(2026, 1, 1), date(2026, 12, 1)))
    if draw(st.booleans()):
        last = first + draw(st.integers(0, 45)) * DAY
        return {"from": first.isoformat(), "to": last.isoformat()}
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    start += draw(st.integers(0, 1440)) * timedelta(minutes=1)
    end = start + draw(st.integers(1, 100)) * HOUR
    return {"from": start.isoformat(), "to": end.isoformat()}


@st.composite
def calendars(draw: st.DrawFn) -> CalendarDays:
    return calendar(
        draw(st.sampled_from(["UTC", *ZONES])),
        dates=draw(st.lists(days_of_year, max_size=8)),
        ranges=draw(st.lists(ranges(), max_size=4)),
        weekdays=draw(st.lists(st.sampled_from(WEEKDAYS), max_size=4, unique=True)),
    )


@st.composite
def grids(draw: st.DrawFn) -> Cron | Interval:
    if draw(st.booleans()):
        zone = draw(st.sampled_from(ZONES))
        expression = draw(st.sampled_from(["30 2 * * *", "15 */6 * * *", "0 12 * * 1"]))
        return Cron(expression, zone)
    start = datetime(2025, 11, 30, 1, 30, tzinfo=UTC)
    return Interval(start, draw(st.sampled_from([5, 24, 36])) * HOUR)


@given(
    grid=grids(),
    exclude=st.lists(calendars(), max_size=2),
    only=st.lists(calendars(), max_size=2),
    on_excluded=st.sampled_from(OnExcluded),
    offset=st.integers(0, 7200),
    day=st.integers(0, 300),
)
@settings(max_examples=40, deadline=None)
def test_spread_and_calendars_compose(
    grid: Cron | Interval,
    exclude: list[CalendarDays],
    only: list[CalendarDays],
    on_excluded: OnExcluded,
    offset: int,
    day: int,
) -> None:
    rules = CalendarRules(tuple(exclude), tuple(only), on_excluded)
    shift = timedelta(seconds=offset)
    schedule = OnCalendars(grid, rules, shift)
    first = datetime(2026, 1, 20, tzinfo=UTC) + day * DAY
    last = first + 30 * DAY

    found = walk(schedule, first, last)

    # The calendars decide before the offset is added.
    model = Model(rules, grid.zone if isinstance(grid, Cron) else None)
    wanted = model.fire_times(grid, first - shift, last - shift)
    assert found == [at + shift for at in wanted]
    listed = list(schedule.left_out_between(first, last))
    planned = fire_times_between(replace(grid, offset=shift), first, last)
    for at in planned:
        is_left_out = model.fate(at - shift) is None
        assert not is_left_out or at in {each.at for each in listed}
        assert at not in found or at not in {each.at for each in listed}


@given(days=calendars(), hours=st.integers(0, 24 * 365))
@settings(max_examples=100, deadline=None)
def test_nothing_changes_before_the_change_of_a_calendar(
    days: CalendarDays, hours: int
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + hours * HOUR
    until = days.change_after(moment)

    is_covered = days.covers(moment)
    end = until or moment + 400 * DAY
    assert end > moment
    steps = int(min((end - moment) / HOUR, 24 * 40))
    for step in range(steps):
        assert days.covers(moment + step * HOUR) == is_covered
    assert days.covers(end - MICROSECOND) == is_covered


@given(
    grid=grids(),
    exclude=calendars(),
    on_excluded=st.sampled_from(OnExcluded),
    days=st.tuples(st.integers(0, 200), st.integers(1, 12)),
    most=st.sampled_from([1, 100]),
    grace=st.sampled_from([None, 10 * HOUR]),
    ends=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_misfire_treats_what_calendars_let_through(
    grid: Cron | Interval,
    exclude: CalendarDays,
    on_excluded: OnExcluded,
    days: tuple[int, int],
    most: int,
    grace: timedelta | None,
    ends: bool,
) -> None:
    rules = CalendarRules((exclude,), on_excluded=on_excluded)
    first = datetime(2026, 2, 1, tzinfo=UTC) + days[0] * DAY
    now = first + days[1] * DAY
    grid = replace(
        grid, start=grid.start or first - 60 * DAY, end=now if ends else None
    )
    schedule = OnCalendars(grid, rules)
    since = first_after(schedule, first)
    if since is None or since > now:
        return

    due = sort_due(schedule, since=since, now=now, limit=1000, grace=grace, most=most)

    zone = grid.zone if isinstance(grid, Cron) else None
    times = Model(rules, zone).fire_times(
        replace(grid, end=None), first, now + 40 * DAY
    )
    bounded = [
        at
        for at in times
        if grid.start is not None and at >= grid.start and (not ends or at <= now)
    ]
    passed = [at for at in walk(schedule, since, now) if at <= now]
    assert [each.moment for each in due.missed] + list(due.fires) == passed
    assert set(passed) <= set(bounded)
    assert len(due.fires) <= most
    assert all(grace is None or now - at <= grace for at in due.fires)
    assert due.next_fire_at == first_after(schedule, now)


ALL_DAYS = calendar(weekdays=list(WEEKDAYS))
EVERY_SECOND = Interval(datetime(2026, 1, 1, tzinfo=UTC), timedelta(seconds=1))


def test_a_calendar_of_all_days_leaves_nothing() -> None:
    for on_excluded in OnExcluded:
        rules = CalendarRules(exclude=(ALL_DAYS,), on_excluded=on_excluded)
        grid = EVERY_SECOND if on_excluded == OnExcluded.SKIP else Cron("0 9 * * *")

        found = first_after(OnCalendars(grid, rules), datetime(2026, 2, 1, tzinfo=UTC))

        assert found is None


def test_a_schedule_that_meets_its_calendar_on_no_day_never_fires() -> None:
    rules = CalendarRules(exclude=(calendar(weekdays=["mon"]),))
    schedule = OnCalendars(Cron("0 9 * * 1"), rules)

    assert first_after(schedule, datetime(2026, 2, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("on_excluded", OnExcluded)
@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/New_York"])
@pytest.mark.parametrize("end", ["9999-12-31T23:59:59Z", "9999-12-31T09:00:00Z"])
def test_what_is_left_out_for_ever_never_fires(
    on_excluded: OnExcluded, zone: str, end: str
) -> None:
    always = calendar(ranges=[{"from": "2026-01-01T00:00:00Z", "to": end}], zone=zone)
    schedule = OnCalendars(
        Cron("0 9 * * *", zone), CalendarRules((always,), on_excluded=on_excluded)
    )

    found = first_after(schedule, datetime(2026, 2, 1, tzinfo=UTC))

    assert found is None or found >= datetime(9999, 12, 31, tzinfo=UTC)


def test_a_weekend_of_seconds_is_left_out_at_once() -> None:
    rules = CalendarRules(exclude=(calendar(weekdays=["sat", "sun"]),))
    schedule = OnCalendars(EVERY_SECOND, rules)
    friday = datetime(2026, 1, 9, 23, 59, 59, tzinfo=UTC)

    assert first_after(schedule, friday) == datetime(2026, 1, 12, tzinfo=UTC)
    assert find_crowd(schedule, friday, friday + DAY, spare=1) is None


def test_a_moved_fire_time_stays_between_start_and_end() -> None:
    weekend = calendar(weekdays=["sat", "sun"])
    saturday = datetime(2026, 1, 10, 9, tzinfo=UTC)
    rules = CalendarRules((weekend,), on_excluded=OnExcluded.NEXT_BUSINESS_DAY)
    grid = Interval(saturday, DAY, saturday + DAY)

    assert first_after(OnCalendars(grid, rules), saturday - DAY) is None
    longer = replace(grid, end=saturday + 2 * DAY)
    times = walk(OnCalendars(longer, rules), saturday - DAY, saturday + 9 * DAY)
    assert times == [saturday + 2 * DAY]
    back = replace(rules, on_excluded=OnExcluded.PREVIOUS_BUSINESS_DAY)
    assert first_after(OnCalendars(grid, back), saturday - 9 * DAY) is None


def test_coming_fire_times_say_what_was_left_out_and_moved() -> None:
    rules = CalendarRules(
        (calendar("Europe/Berlin", ["2026-12-25"], "xmas"),),
        on_excluded=OnExcluded.PREVIOUS_BUSINESS_DAY,
    )
    schedule = OnCalendars(Cron("0 9 * * *", "Europe/Berlin"), rules, 5 * HOUR)
    since = datetime(2026, 12, 23, 15, tzinfo=UTC)

    found = list(coming_fire_times(schedule, since=since, count=2))

    # The 25th moves to the 24th, which has a fire time of its own.
    assert [each.at and each.at.day for each in found] == [24, None, 26]
    assert found[1].calendar is not None
    assert (found[1].calendar.name, found[1].local.hour) == ("xmas", 9)
    weekly = replace(schedule, grid=Cron("0 9 * * 5", "Europe/Berlin"))
    [moved] = coming_fire_times(weekly, since=since, count=1)
    assert moved.moved_from == datetime(2026, 12, 25, 13, tzinfo=UTC)
    assert moved.at == datetime(2026, 12, 24, 13, tzinfo=UTC)


def test_a_hold_ends_after_all_calendars_that_touch() -> None:
    night = calendar(ranges=[{"from": "2026-03-01T20:00:00+00:00", "to": "2026-03-02T06:00:00+00:00"}])  # fmt: skip
    day = calendar(dates=["2026-03-02"])
    rules = CalendarRules(hold=(night, day), pace="20/minute")
    evening = datetime(2026, 3, 1, 21, tzinfo=UTC)

    assert rules.release_from(evening) == datetime(2026, 3, 3, tzinfo=UTC)
    assert rules.release_from(evening - 2 * HOUR) == evening - 2 * HOUR
    assert rules.pace_interval == timedelta(seconds=3)


@pytest.mark.parametrize("text", ["", "20", "0/minute", "1/day", "-1/hour", "1.5/hour"])
def test_a_wrong_pace_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text or "^$"):
        parse_pace(text)


def test_the_written_schedule_is_the_one_without_calendars() -> None:
    rules = CalendarRules(exclude=(ALL_DAYS,))
    schedule = OnCalendars(Cron("0 9 * * *"), rules, HOUR)

    assert grid_of(schedule) == Cron("0 9 * * *", offset=HOUR)
