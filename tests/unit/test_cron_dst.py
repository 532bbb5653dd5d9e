"""Fire times around every change of a clock, against an oracle that tries every second.

The oracle shares nothing with the code it judges: each expression stands here as text and
as plain sets, and an instant fires or not by the rule as a person would apply it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from tasks_api.domain import schedules
from tasks_api.domain.cron import DEFAULT_DST, Dst
from tasks_api.domain.schedules import Cron, first_after, read_cron

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ALL60 = frozenset(range(60))
ALL24 = frozenset(range(24))
NOW = datetime(2011, 1, 1, tzinfo=UTC)

ZONES = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "Africa/Johannesburg",
    "America/Asuncion",
    "America/Caracas",
    "America/Chicago",
    "America/Godthab",
    "America/Havana",
    "America/Los_Angeles",
    "America/Mexico_City",
    "America/Miquelon",
    "America/New_York",
    "America/Nuuk",
    "America/Port-au-Prince",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Scoresbysund",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Almaty",
    "Asia/Amman",
    "Asia/Beirut",
    "Asia/Famagusta",
    "Asia/Gaza",
    "Asia/Hebron",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Qostanay",
    "Asia/Tehran",
    "Asia/Tokyo",
    "Atlantic/Azores",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Chisinau",
    "Europe/Dublin",
    "Europe/London",
    "Europe/Lisbon",
    "Europe/Moscow",
    "Pacific/Apia",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Easter",
    "Pacific/Norfolk",
    "UTC",
]


@dataclass(frozen=True)
class CronRule:
    """An expression, and what it means: sets of numbers, and a question about days."""

    text: str
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    # Which days, as Python code on `d`, a date.
    days: str = "True"
    goes_by_the_clock: bool = False

    def matches_minute(self, local: datetime) -> bool:
        return (
            local.minute in self.minutes
            and local.hour in self.hours
            and day_matches(self.days, local.date())
        )


@cache
def day_matches(days: str, d: date) -> bool:
    return bool(eval(days, {"d": d, "last": last_of_month(d)}))  # noqa: S307 (constants below)


def last_of_month(d: date) -> int:
    return (
        (d.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    ).day


def set_of(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


ZERO = set_of(0)
# Sundays are 6 in Python, 0 and 7 in cron.
RULES = [
    # Fixed times.
    CronRule("0 0 * * *", ZERO, ZERO, set_of(0)),
    CronRule("30 0 * * *", ZERO, set_of(30), set_of(0)),
    CronRule("30 1 * * *", ZERO, set_of(30), set_of(1)),
    CronRule("0 2 * * *", ZERO, ZERO, set_of(2)),
    CronRule("30 2 * * *", ZERO, set_of(30), set_of(2)),
    CronRule("59 2 * * *", ZERO, set_of(59), set_of(2)),
    CronRule("0 3 * * *", ZERO, ZERO, set_of(3)),
    CronRule("15,45 1,2 * * *", ZERO, set_of(15, 45), set_of(1, 2)),
    CronRule("0 1-3 * * *", ZERO, ZERO, set_of(1, 2, 3)),
    CronRule("0,30 0-23 * * *", ZERO, set_of(0, 30), ALL24),
    CronRule("0-59/20 0-23/2 * * *", ZERO, set_of(0, 20, 40), frozenset(range(0, 24, 2))),
    CronRule("5 4 * * sun", ZERO, set_of(5), set_of(4), "d.weekday() == 6"),
    CronRule("30 2 * * 7", ZERO, set_of(30), set_of(2), "d.weekday() == 6"),
    CronRule("30 2 * * 0,6", ZERO, set_of(30), set_of(2), "d.weekday() in (5, 6)"),
    CronRule("30 2 1 * 0", ZERO, set_of(30), set_of(2), "d.day == 1 or d.weekday() == 6"),
    CronRule("30 2 */2 * 0", ZERO, set_of(30), set_of(2), "d.day % 2 == 1 and d.weekday() == 6"),
    CronRule("30 2 L * *", ZERO, set_of(30), set_of(2), "d.day == last"),
    CronRule("30 2 ? MAR,OCT,NOV SUN#1", ZERO, set_of(30), set_of(2),
         "d.weekday() == 6 and d.day <= 7 and d.month in (3, 10, 11)"),
    CronRule("0 2 * 3-4 SUN", ZERO, ZERO, set_of(2), "d.weekday() == 6 and d.month in (3, 4)"),
    # Six fields, and seven.
    CronRule("10 30 2 * * *", set_of(10), set_of(30), set_of(2)),
    CronRule("10,50 30 1 * * *", set_of(10, 50), set_of(30), set_of(1)),
    CronRule("*/30 59 1 * * *", set_of(0, 30), set_of(59), set_of(1)),
    CronRule("59 59 23 * * *", set_of(59), set_of(59), set_of(23)),
    CronRule("0 30 2 * * * 2025-2027", ZERO, set_of(30), set_of(2), "2025 <= d.year <= 2027"),
    CronRule("0 0 0 * * * 2024/3", ZERO, ZERO, set_of(0), "d.year in (2024, 2027, 2030)"),
    # By the clock as it goes.
    CronRule("* * * * *", ZERO, ALL60, ALL24, goes_by_the_clock=True),
    CronRule("*/15 * * * *", ZERO, set_of(0, 15, 30, 45), ALL24, goes_by_the_clock=True),
    CronRule("0 * * * *", ZERO, ZERO, ALL24, goes_by_the_clock=True),
    CronRule("@hourly", ZERO, ZERO, ALL24, goes_by_the_clock=True),
    CronRule("30 */2 * * *", ZERO, set_of(30), frozenset(range(0, 24, 2)), goes_by_the_clock=True),
    CronRule("*/20 2 * * *", ZERO, set_of(0, 20, 40), set_of(2), goes_by_the_clock=True),
    CronRule("* 1 * * 6-7", ZERO, ALL60, set_of(1), "d.weekday() in (5, 6)", goes_by_the_clock=True),
    CronRule("30 15 * * * *", set_of(30), set_of(15), ALL24, goes_by_the_clock=True),
    CronRule("*/20 */10 * * * *", set_of(0, 20, 40), set_of(0, 10, 20, 30, 40, 50), ALL24,
         goes_by_the_clock=True),
    CronRule("0 0 * * * * 2026,2028", ZERO, ZERO, ALL24, "d.year in (2026, 2028)",
         goes_by_the_clock=True),
]  # fmt: skip
OPTIONS = [
    Dst(skips_gap=True),
    Dst(runs_twice=True),
    Dst(skips_gap=True, runs_twice=True),
]
EVERY_SECOND = CronRule("* * * * * *", ALL60, ALL60, ALL24, goes_by_the_clock=True)


def wall_clock(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


@cache
def changes(name: str, first: int = 2024, last: int = 2030) -> tuple[datetime, ...]:
    """The first instant of every new offset, found by looking at every hour."""
    zone, found = ZoneInfo(name), []
    moment, end = (
        datetime(first, 1, 1, tzinfo=UTC),
        datetime(last + 1, 1, 1, tzinfo=UTC),
    )
    offset = moment.astimezone(zone).utcoffset()
    while moment < end:
        later = moment + HOUR
        new = later.astimezone(zone).utcoffset()
        if new != offset:
            instant = moment
            while instant.astimezone(zone).utcoffset() == offset:
                instant += MINUTE
            found.append(instant)
        moment, offset = later, new
    return tuple(found)


class WallMinute(NamedTuple):
    """A minute as it really passed, and what the clock of a zone made of it."""

    instant: datetime
    local: datetime
    # False in the second pass of an overlap.
    is_first: bool
    # The minutes that the clock did not show before this one.
    lost: tuple[datetime, ...]


@lru_cache(maxsize=4)
def minutes(name: str, start: datetime, end: datetime) -> tuple[WallMinute, ...]:
    # Long enough before, to know which local times there were already.
    zone, instant = ZoneInfo(name), start - timedelta(hours=4)
    previous = wall_clock(instant - MINUTE, zone)
    seen: set[datetime] = set()
    passed = []
    while instant < end:
        local = wall_clock(instant, zone)
        lost = tuple(wall_minutes_between(previous, local))
        passed.append(WallMinute(instant, local, local not in seen, lost))
        seen.add(local)
        previous = local
        instant += MINUTE
    return tuple(passed)


def oracle(
    rule: CronRule, name: str, start: datetime, end: datetime, dst: Dst = DEFAULT_DST
) -> list[datetime]:
    """The instants in [start, end) at which a rule fires.

    Clocks are changed at whole minutes, so within one the local seconds are the real ones.
    """
    hits = set()
    for minute in minutes(name, start, end):
        if not rule.goes_by_the_clock:
            # What the clock jumped over fires now that the gap is over.
            if not dst.skips_gap and any(map(rule.matches_minute, minute.lost)):
                hits.add(minute.instant)
            if not (minute.is_first or dst.runs_twice):
                continue
        if rule.matches_minute(minute.local):
            hits.update(minute.instant + second * SECOND for second in rule.seconds)
    return sorted(hit for hit in hits if start <= hit < end)


def wall_minutes_between(previous: datetime, local: datetime) -> Iterator[datetime]:
    lost = previous + MINUTE
    while lost < local:
        yield lost
        lost += MINUTE


def walk_fire_times(
    rule: CronRule, name: str, start: datetime, end: datetime, dst: Dst = DEFAULT_DST
) -> list[datetime]:
    read = read_cron(rule.text, zone=name, now=NOW)
    schedule = replace(read, dst=dst) if isinstance(read, Cron) else read
    found = []
    fire = schedule.first_from(start)
    while fire is not None and fire < end:
        found.append(fire)
        fire = first_after(schedule, fire)
    return found


def span_around(change: datetime, hours: float = 2) -> tuple[datetime, datetime]:
    span = timedelta(hours=hours)
    return change - span, change + span


def test_there_is_something_to_prove() -> None:
    counted = {name: len(changes(name)) for name in ZONES}

    assert len(ZONES) >= 40
    assert len(RULES) >= 30
    # Two a year where clocks are changed as usual.
    assert counted["Africa/Cairo"] == counted["Australia/Lord_Howe"] == 14
    assert counted["Asia/Kathmandu"] == 0
    assert sum(counted.values()) > 400


@pytest.mark.parametrize("name", ZONES)
def test_every_fire_time_around_every_change(name: str) -> None:
    # A zone that never changes has no windows of its own.
    moments = changes(name) or (datetime(2026, 3, 29, 1, tzinfo=UTC),)
    for change in moments:
        start, end = span_around(change)
        for rule in RULES:
            expected = oracle(rule, name, start, end)
            assert walk_fire_times(rule, name, start, end) == expected, (
                rule.text,
                change,
            )


@pytest.mark.parametrize("dst", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ZONES)
def test_fixed_times_do_in_gaps_and_overlaps_as_they_are_told(
    name: str, dst: Dst
) -> None:
    # One year has every kind of change that a zone has.
    for change in changes(name, 2026, 2026):
        start, end = span_around(change)
        for rule in RULES:
            expected = oracle(rule, name, start, end, dst)
            assert walk_fire_times(rule, name, start, end, dst) == expected, (
                rule.text,
                change,
            )


@pytest.mark.parametrize(
    "name",
    ["Africa/Cairo", "America/Santiago", "Australia/Lord_Howe", "Europe/London", "Antarctica/Troll"],
)  # fmt: skip
def test_every_second_fires_around_a_change(name: str) -> None:
    for change in changes(name, 2026, 2026):
        start, end = span_around(change, 0.6)
        expected = oracle(EVERY_SECOND, name, start, end)
        assert walk_fire_times(EVERY_SECOND, name, start, end) == expected, change
        assert len(expected) == (end - start) / SECOND


@pytest.mark.parametrize(
    "name", ["Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo"]
)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.text)
def test_the_next_fire_time_is_right_from_every_instant(
    rule: CronRule, name: str
) -> None:
    schedule = read_cron(rule.text, zone=name, now=NOW)
    for change in changes(name, 2026, 2026):
        start, end = span_around(change)
        expected = oracle(rule, name, start, end)
        moment = start
        while moment < end:
            upcoming = [fire for fire in expected if fire >= moment]
            found = schedule.first_from(moment)
            assert found is None or found >= moment
            if upcoming:
                assert found == upcoming[0], moment
            # Not a divisor of anything, so that all kinds of instants are asked about.
            moment += timedelta(seconds=97, microseconds=500_000)


@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.text)
def test_many_fire_times_are_those_that_come_one_by_one(
    rule: CronRule, name: str
) -> None:
    schedule = read_cron(rule.text, zone=name, now=NOW)
    for change in changes(name, 2026, 2026) or [datetime(2026, 3, 29, 1, tzinfo=UTC)]:
        start, end = span_around(change, 24 * 10)
        expected: list[datetime] = []
        fire = schedule.first_from(start)
        while fire is not None and fire <= end and len(expected) < 500:
            expected.append(fire)
            fire = first_after(schedule, fire)
        assert (
            list(islice(schedules.fire_times_between(schedule, start, end), 500))
            == expected
        )


def test_a_day_that_was_skipped() -> None:
    # Apia went from the 29th to the 31st of December 2011.
    [change] = [c for c in changes("Pacific/Apia", 2011, 2011) if c.month == 12]
    start, end = change - timedelta(hours=26), change + timedelta(hours=26)
    for rule in RULES:
        expected = oracle(rule, "Pacific/Apia", start, end)
        assert walk_fire_times(rule, "Pacific/Apia", start, end) == expected, rule.text
