"""However rare an expression's fire times are, to find the next one takes few steps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest

from tasks_api.domain import cron
from tasks_api.domain.cron import Dst, Fields, first_from
from tasks_api.domain.effort import TooLong, TooMuch, allowance
from tasks_api.domain.fire_times import coming_fire_times
from tasks_api.domain.schedules import Cron

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BERLIN = "Europe/Berlin"


@pytest.fixture(autouse=True)
def _nothing_is_known() -> None:
    first_from.cache_clear()


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        # From change of the clock to change, it would be eight thousand years.
        (Fields("* 0 29 2 *", "0", "9996"), None),
        (Fields("*/59 2-5/10 19 * */7", "*", "9996-9999"), None),
        (Fields("30 */7 1 12 *", "0", "2026,9990-9999"), "2026-11-30 23:30"),
        (Fields("* 0 1 1 *", "0", "2126"), "2125-12-31 23:00"),
        (Fields("0 0 29 2 */7", "0", "*"), "2032-02-28 23:00"),
        (Fields("0 0 29 2 *", "0", "2027-9999/4"), None),
    ],
)
def test_rare_fire_times_are_found_at_once(fields: Fields, first: str | None) -> None:
    with allowance(4_500, TooMuch):
        found = first_from(fields, BERLIN, NOW)

    assert found == (first and datetime.fromisoformat(first).replace(tzinfo=UTC))


@pytest.mark.parametrize("expression", ["0 0 */31 * 5L", "0 0 LW * */7"])
@pytest.mark.parametrize("zone", ["UTC", BERLIN])
def test_a_search_that_finds_nothing_ends(expression: str, zone: str) -> None:
    with pytest.raises(TooLong):
        first_from(Fields(expression), zone, NOW)


@pytest.mark.parametrize("dst", [Dst(), Dst(skips_gap=True), Dst(runs_twice=True)])
@pytest.mark.parametrize("at", ["2027-03-28 01:00", "2027-10-31 01:00"])
def test_an_hour_that_the_clock_skips_or_shows_twice_is_passed_at_once(
    at: str, dst: Dst
) -> None:
    change = datetime.fromisoformat(at).replace(tzinfo=UTC)
    fields = Fields("0-59 2 * * *", "0-59")

    with allowance(300, TooMuch):
        for moment in (change, change + timedelta(microseconds=1)):
            assert first_from(fields, BERLIN, moment, dst) is not None


def test_what_is_dropped_is_shown_without_a_walk_to_the_next_match() -> None:
    schedule = Cron("* 2 1 1 *", BERLIN, years="2126")

    with allowance(12_000, TooMuch):
        [first] = coming_fire_times(schedule, since=NOW, count=1)

    assert first.local.isoformat() == "2126-01-01T02:00:00+01:00"


def test_an_allowance_is_for_all_that_is_computed_inside_it() -> None:
    def all_of_them() -> None:
        for minute in range(60):
            first_from(Fields(f"{minute} * * * *"), BERLIN, NOW)

    with allowance(100, TooMuch), pytest.raises(TooMuch):
        all_of_them()


def naive_times(clock: ZoneInfo, fields: Fields, start: datetime) -> Iterator[datetime]:
    """All passes of all local times that match, from the day before a moment on."""
    local = (start - timedelta(days=1)).replace(tzinfo=None)
    until = local + timedelta(days=800)
    for each in takewhile(lambda each: each < until, cron._matches(fields, local)):
        for fold in (0, 1):
            instant = each.replace(tzinfo=clock, fold=fold).astimezone(UTC)
            if instant.astimezone(clock).replace(tzinfo=None) == each:
                yield instant


@pytest.mark.parametrize("zone", [BERLIN, "Australia/Lord_Howe", "Africa/Cairo", "Africa/Casablanca"])  # fmt: skip
@pytest.mark.parametrize(
    "expression", ["*/30 0-3 28-31 3 *", "* 1 * 10 0", "15 */2 L 4,10 *", "*/7 2 1 * *"]
)
def test_far_fire_times_are_those_that_the_clock_shows(
    zone: str, expression: str
) -> None:
    fields, clock = Fields(expression), ZoneInfo(zone)
    for days in range(0, 400, 13):
        moment = NOW + timedelta(days=days, hours=days % 24, seconds=days)
        passes = naive_times(clock, fields, moment)
        expected = min(each for each in list(passes) if each >= moment)
        assert first_from(fields, zone, moment) == expected
