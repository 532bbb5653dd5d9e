"""The pure part of "why": fire times over changes of the clock, and the search backwards."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as configured
from hypothesis import strategies as st

from tasks_api.domain.calendars import CalendarRules, OnCalendars, OnExcluded
from tasks_api.domain.cron import Dst
from tasks_api.domain.day_sets import CalendarDays, DaySet
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.fire_times import ClockChange, coming_fire_times
from tasks_api.domain.rules import AnyOf
from tasks_api.domain.schedules import (
    MICROSECOND,
    Cron,
    Interval,
    Once,
    Schedule,
    fire_times_between,
)
from tasks_api.domain.why.answers import explain
from tasks_api.domain.why.causes import Cause, Verdict
from tasks_api.domain.why.facts import Facts, Phase, TaskFacts, fire_time_at
from tasks_api.domain.why.nearest import last_before
from tests.conftest import NOON

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana"]
EXPRESSIONS = ["30 2 * * *", "0 0 * * *", "15 1,2,3 * * *", "0 2 * 3,4,10,11 *"]
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
POLICIES = [Dst(), Dst(skips_gap=True), Dst(runs_twice=True), Dst(True, True)]


few = configured(max_examples=12, deadline=None)


def ask(schedule: Schedule, at: datetime) -> tuple[Verdict, Cause]:
    """Ask about a coming moment of a task with one schedule."""
    facts = Facts(
        asked=at,
        now=NOON,
        kept_from=NOON - DAY,
        task=TaskFacts(uuid.uuid4(), NOON - DAY),
        phases=(Phase(NOON - DAY, None, schedule),),
        planned=fire_time_at(schedule, at),
    )
    answer = explain(facts)
    return answer.verdict, answer.cause.cause


@few
@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ZONES),
    st.sampled_from(POLICIES),
    st.sampled_from([timedelta(), timedelta(seconds=77)]),
    st.sampled_from(["alone", "one of several", "on calendars"]),
)
def test_why_agrees_with_the_preview_over_a_year_of_clock_changes(
    expression: str, zone: str, dst: Dst, offset: timedelta, kind: str
) -> None:
    cron = Cron(expression, zone, dst=dst)
    schedule: Schedule = replace(cron, offset=offset)
    if kind == "one of several":
        schedule = AnyOf((Cron("0 0 29 2 *", zone, dst=dst), cron), offset=offset)
    if kind == "on calendars":
        schedule = OnCalendars(cron, CalendarRules(), offset)
    coming = list(coming_fire_times(schedule, since=NOON, count=420))
    for each in [*coming[:3], *(each for each in coming if each.dst)]:
        if each.at is not None:
            assert ask(schedule, each.at) == (Verdict.WILL_FIRE, Cause.PLANNED)
        if each.wall is not None:
            # As a client says it whose clock was not set, before the gap or after it.
            for fold in (0, 1):
                local = each.wall.replace(tzinfo=ZoneInfo(zone), fold=fold)
                at = local.astimezone(UTC) + offset
                assert ask(schedule, at)[1] in {Cause.CLOCK_GAP, Cause.PLANNED}, each
        if each.dst == ClockChange.ONCE and each.at is not None:
            first = each.at - offset
            local = first.astimezone(ZoneInfo(zone))
            second = local.replace(fold=1 - local.fold).astimezone(UTC)
            assert ask(schedule, second + offset) == (
                Verdict.WONT_FIRE,
                Cause.CLOCK_OVERLAP,
            )


@few
@given(
    st.sampled_from(EXPRESSIONS),
    st.datetimes(NOON.replace(tzinfo=None), (NOON + 400 * DAY).replace(tzinfo=None)),
)
def test_what_is_no_fire_time_is_not_planned(expression: str, naive: datetime) -> None:
    schedule, at = Cron(expression), naive.replace(tzinfo=UTC, microsecond=1)

    assert ask(schedule, at) == (Verdict.WONT_FIRE, Cause.NOT_PLANNED)


MONDAYS_OFF = CalendarDays(1, 1, "mondays", 3, "UTC", DaySet(weekdays=frozenset({0})))


@few
@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(list(OnExcluded)),
    st.sampled_from([timedelta(), timedelta(seconds=77)]),
)
def test_why_agrees_with_the_preview_on_calendars(
    expression: str, on_excluded: OnExcluded, offset: timedelta
) -> None:
    rules = CalendarRules(exclude=(MONDAYS_OFF,), on_excluded=on_excluded)
    schedule = OnCalendars(Cron(expression), rules, offset)
    for each in coming_fire_times(schedule, since=NOON, count=60):
        if each.at is None:
            # The preview shows it without the offset, as the rules mean it.
            at = each.local.astimezone(UTC) + offset
            verdict, cause = ask(schedule, at)
            assert verdict == Verdict.WONT_FIRE
            assert cause in {Cause.EXCLUDED_BY_CALENDAR, Cause.MOVED_BY_CALENDAR}
            continue
        assert ask(schedule, each.at) == (Verdict.WILL_FIRE, Cause.PLANNED)
        if (
            each.moved_from is not None
            and fire_time_at(schedule, each.moved_from) is None
        ):
            assert ask(schedule, each.moved_from) == (
                Verdict.WONT_FIRE,
                Cause.MOVED_BY_CALENDAR,
            )


SCHEDULES: list[Schedule] = [
    Interval(NOON, timedelta(seconds=7)),
    Interval(NOON, HOUR, NOON + 30 * HOUR, timedelta(seconds=99)),
    Once(NOON + HOUR),
    Cron("* * * * *", seconds="*/13"),
    Cron("0 3 * * 1", "Europe/Berlin", offset=timedelta(seconds=5)),
    Cron("* 5 1 * *", seconds="*"),
    Cron("0 0 29 2 *"),
    AnyOf((Cron("0 3 * * *", "Europe/Berlin"), Interval(NOON, HOUR)), offset=SECOND),
    *[
        OnCalendars(
            Cron("0 */5 * * *"), CalendarRules((MONDAYS_OFF,), (), each), SECOND
        )
        for each in OnExcluded
    ],
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@few
@given(st.integers(min_value=-5, max_value=3 * 86_400_000_000))
def test_the_last_fire_time_before_a_moment(schedule: Schedule, micros: int) -> None:
    moment = NOON + micros * MICROSECOND
    floor = moment - 2 * DAY

    found = last_before(schedule, moment, floor)

    start = floor if found is None else found + MICROSECOND
    assert not list(fire_times_between(schedule, start, moment - MICROSECOND))
    if found is not None:
        assert floor <= found < moment
        assert fire_time_at(schedule, found) == found


def test_a_fire_time_is_as_exact_as_the_moment() -> None:
    schedule = Interval(NOON + 123_456 * MICROSECOND, HOUR)

    found = [
        fire_time_at(schedule, NOON + micros * MICROSECOND)
        for micros in (0, 123_000, 123_456, 1000, 123_001)
    ]

    at = NOON + 123_456 * MICROSECOND
    assert found == [at, at, at, None, None]


def test_a_schedule_that_fails_plans_nothing() -> None:
    class Broken:
        def first_from(self, moment: datetime) -> datetime | None:
            raise ScheduleError("It is broken.")

    broken: Schedule = Broken()  # type: ignore[assignment]  # a schedule of another release

    assert fire_time_at(broken, NOON) is None
