"""Coming fire times and the marks on them, against the oracle that tries every second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tasks_api.domain.fire_times import ClockChange, ComingFireTime, coming_fire_times
from tasks_api.domain.schedules import (
    Interval,
    Once,
    Schedule,
    read_cron,
)
from tests.unit.test_cron_dst import (
    NOW,
    RULES,
    CronRule,
    changes,
    minutes,
    oracle,
    span_around,
    wall_clock,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONES = ["Europe/Berlin", "Africa/Cairo", "Australia/Lord_Howe", "America/Santiago", "UTC"]  # fmt: skip
SECOND = timedelta(seconds=1)


def preview_of(
    schedule: Schedule, start: datetime, end: datetime
) -> list[ComingFireTime]:
    found = []
    for each in coming_fire_times(schedule, since=start - SECOND / 1000, count=8000):
        if each.at is not None and each.at >= end:
            break
        found.append(each)
    return found


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.text)
def test_marks_are_what_a_person_would_say(rule: CronRule, name: str) -> None:
    zone = ZoneInfo(name)
    for change in changes(name, 2026, 2026) or [datetime(2026, 3, 29, 1, tzinfo=UTC)]:
        start, end = span_around(change)
        schedule = read_cron(rule.text, zone=name, now=NOW)
        passed = {minute.instant: minute for minute in minutes(name, start, end)}
        fires = oracle(rule, name, start, end)
        local_times = [wall_clock(instant, zone) for instant in fires]
        shows = [minute.local for minute in minutes(name, start, end)]

        found = [
            each for each in preview_of(schedule, start, end) if each.at is not None
        ]

        assert [each.at for each in found] == fires
        for each, local in zip(found, local_times, strict=True):
            assert each.at is not None
            assert each.local.replace(tzinfo=None) == local
            assert each.local.astimezone(UTC) == each.at
            minute = passed[each.at.replace(second=0)]
            minute_local = local.replace(second=0)
            lost = [wall for wall in minute.lost if rule.matches_minute(wall)]
            if lost and not rule.goes_by_the_clock and each.at == change:
                assert each.dst == ClockChange.MOVED
                assert each.wall is not None
                assert each.wall.replace(second=0) == lost[0]
            elif shows.count(minute_local) == 2:
                both = local_times.count(local) == 2
                assert each.dst == (ClockChange.DOUBLED if both else ClockChange.ONCE)
                assert each.which_pass == (1 if minute.is_first else 2)
            else:
                assert each.dst is None


@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo"])  # fmt: skip
def test_what_the_clock_jumps_over_is_dropped(name: str) -> None:
    for change in changes(name, 2026, 2026):
        start, end = span_around(change)
        [*lost] = [wall for each in minutes(name, start, end) for wall in each.lost]
        schedule = read_cron("* * * * *", zone=name, now=NOW)

        found = [each for each in preview_of(schedule, start, end) if each.at is None]

        assert [each.local for each in found] == lost
        assert {each.dst for each in found} <= {ClockChange.DROPPED}


def test_those_that_are_dropped_stand_in_their_place_and_are_not_counted() -> None:
    schedule = read_cron("*/30 * * * *", zone="Europe/Berlin", now=NOW)
    start = datetime(2027, 3, 28, 0, 30, tzinfo=UTC)

    found = list(coming_fire_times(schedule, since=start - SECOND, count=3))

    assert [(each.at and each.at.hour, each.dst) for each in found] == [
        (0, None),
        (None, ClockChange.DROPPED),
        (None, ClockChange.DROPPED),
        (1, None),
        (1, None),
    ]
    assert [str(each.wall) for each in found[1:3]] == [
        "2027-03-28 02:00:00",
        "2027-03-28 02:30:00",
    ]


def test_no_more_are_dropped_than_asked_for() -> None:
    schedule = read_cron("* * * * * *", zone="Europe/Berlin", now=NOW)
    start = datetime(2027, 3, 28, 0, 59, 59, tzinfo=UTC)

    found = list(coming_fire_times(schedule, since=start, count=5))

    assert [each.dst for each in found] == [ClockChange.DROPPED] * 5 + [None] * 5


def test_an_interval_is_shown_in_utc() -> None:
    schedule = Interval(NOON, HOUR, NOON + HOUR)

    found = list(coming_fire_times(schedule, since=NOON - HOUR, count=5))

    assert found == [
        ComingFireTime(NOON, NOON),
        ComingFireTime(NOON + HOUR, NOON + HOUR),
    ]


def test_a_moment_comes_once_and_the_calendar_ends() -> None:
    last = datetime.max.replace(tzinfo=UTC)

    assert len(list(coming_fire_times(Once(last), since=NOON, count=5))) == 1
    cron = read_cron("0 0 0 1 12 *", zone="Asia/Tokyo", now=NOON)
    late = datetime(9998, 6, 1, tzinfo=UTC)
    assert len(list(coming_fire_times(cron, since=late, count=5))) == 2
