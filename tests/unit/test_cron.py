"""What cron expressions may look like, as tables; when they fire is in test_cron_dst."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks_api.domain import cron, cron_text
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.schedules import (
    Cron,
    DueFireTimes,
    Interval,
    Missed,
    first_after,
    least_interval,
    read_cron,
    sort_due,
)

# A Sunday.
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def parse_moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        # Five fields: minute, hour, day of month, month, day of week.
        ("* * * * *", "2026-11-22 12:01", "2026-11-22 12:02"),
        ("30 * * * *", "2026-11-22 12:30", "2026-11-22 13:30"),
        ("5,50 12 * * *", "2026-11-22 12:05", "2026-11-22 12:50"),
        ("10-12 9 * * *", "2026-11-23 09:10", "2026-11-23 09:11"),
        ("*/20 * * * *", "2026-11-22 12:20", "2026-11-22 12:40"),
        ("40-55/10 * * * *", "2026-11-22 12:40", "2026-11-22 12:50"),
        ("50/5 * * * *", "2026-11-22 12:50", "2026-11-22 12:55"),
        ("0 0 1 1 *", "2027-01-01 00:00", "2028-01-01 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00", "2032-02-29 00:00"),
        ("0 0 L * *", "2026-11-30 00:00", "2026-12-31 00:00"),
        # A step stays within its range.
        ("5-5/3 * * * *", "2026-11-22 12:05", "2026-11-22 13:05"),
        ("1-1/1,30-31/7 * * * *", "2026-11-22 12:01", "2026-11-22 12:30"),
        ("0 9-9/4 * * *", "2026-11-23 09:00", "2026-11-24 09:00"),
        ("0 0 1-1/9 * *", "2026-12-01 00:00", "2027-01-01 00:00"),
        ("0 0 1 3-mar/2 *", "2027-03-01 00:00", "2028-03-01 00:00"),
        ("0 0 * * 1-1/2", "2026-11-23 00:00", "2026-11-30 00:00"),
        ("0 0 * * mon-1/2", "2026-11-23 00:00", "2026-11-30 00:00"),
        ("7-7/60 * * * * *", "2026-11-22 12:00:07", "2026-11-22 12:01:07"),
        ("0 0 0 1 1 * 2030-2030/2", "2030-01-01 00:00", None),
        # Names, in any case.
        ("0 0 1 JAN,jul *", "2027-01-01 00:00", "2027-07-01 00:00"),
        ("0 0 * * mon-WED", "2026-11-23 00:00", "2026-11-24 00:00"),
        # Sunday is 0 and 7, alone and in a range.
        ("0 13 * * 0", "2026-11-22 13:00", "2026-11-29 13:00"),
        ("0 13 * * 7", "2026-11-22 13:00", "2026-11-29 13:00"),
        ("0 13 * * 5-7", "2026-11-22 13:00", "2026-11-27 13:00"),
        # Both day fields: one of them is enough, unless either begins with a star.
        ("0 0 25 * mon", "2026-11-23 00:00", "2026-11-25 00:00"),
        ("0 0 * * mon", "2026-11-23 00:00", "2026-11-30 00:00"),
        ("0 0 25 * *", "2026-11-25 00:00", "2026-12-25 00:00"),
        ("0 0 */2 * mon", "2026-11-23 00:00", "2026-12-07 00:00"),
        ("0 0 25 * ?", "2026-11-25 00:00", "2026-12-25 00:00"),
        ("0 0 * * sun#1", "2026-12-06 00:00", "2027-01-03 00:00"),
        # Six fields begin with the second.
        ("30 * * * * *", "2026-11-22 12:00:30", "2026-11-22 12:01:30"),
        ("*/10 * * * * *", "2026-11-22 12:00:10", "2026-11-22 12:00:20"),
        ("0 30 9 * * *", "2026-11-23 09:30", "2026-11-24 09:30"),
        # Seven end with the year.
        ("*/10 * * * * * *", "2026-11-22 12:00:10", "2026-11-22 12:00:20"),
        ("0 0 0 1 1 * 2030", "2030-01-01 00:00", None),
        ("0 0 0 1 1 * 2030,2040", "2030-01-01 00:00", "2040-01-01 00:00"),
        ("0 0 0 1 1 * 2030-2040/4", "2030-01-01 00:00", "2034-01-01 00:00"),
        ("0 0 0 1 1 * */50", "2070-01-01 00:00", "2120-01-01 00:00"),
        ("0 0 0 29 2 * 2027-2031", "2028-02-29 00:00", None),
        ("0 0 0 1 1 * 2126", "2126-01-01 00:00", None),
        ("0 0 0 1 1 * 2026-9999", "2027-01-01 00:00", "2028-01-01 00:00"),
        # Names for all of it.
        ("@hourly", "2026-11-22 13:00", "2026-11-22 14:00"),
        ("@daily", "2026-11-23 00:00", "2026-11-24 00:00"),
        ("@midnight", "2026-11-23 00:00", "2026-11-24 00:00"),
        ("@weekly", "2026-11-29 00:00", "2026-12-06 00:00"),
        ("@monthly", "2026-12-01 00:00", "2027-01-01 00:00"),
        ("@yearly", "2027-01-01 00:00", "2028-01-01 00:00"),
        ("@Annually", "2027-01-01 00:00", "2028-01-01 00:00"),
        # Blanks of any kind and number.
        ("  0\t13 *  * * ", "2026-11-22 13:00", "2026-11-23 13:00"),
        # EventBridge's: no seconds, weekdays of 1 to 7, years last.
        ("cron(0 18 * * ? *)", "2026-11-22 18:00", "2026-11-23 18:00"),
        ("cron(0 18 ? * 2-6 *)", "2026-11-23 18:00", "2026-11-24 18:00"),
        ("cron(0 18 ? * MON-FRI *)", "2026-11-23 18:00", "2026-11-24 18:00"),
        ("cron(0 18 ? * 1,7 *)", "2026-11-22 18:00", "2026-11-28 18:00"),
        ("cron(0 18 ? * L *)", "2026-11-28 18:00", "2026-12-05 18:00"),
        ("cron(0 10 ? * 6L 2026-2027)", "2026-11-27 10:00", "2026-12-25 10:00"),
        ("cron(0 10 ? * 3#2 *)", "2026-12-08 10:00", "2027-01-12 10:00"),
        ("cron(0 10 ? * 2/2 *)", "2026-11-23 10:00", "2026-11-25 10:00"),
        ("cron(0 10 ? * 7/1 *)", "2026-11-28 10:00", "2026-12-05 10:00"),
        ("cron(0/20 * L * ? *)", "2026-11-30 00:00", "2026-11-30 00:20"),
        ("cron(15 10 1 JAN ? 2028)", "2028-01-01 10:15", None),
        ("CRON( 15 10 ? 1 SUN * )", "2027-01-03 10:15", "2027-01-10 10:15"),
        ("at(2027-01-02T03:04:05)", "2027-01-02 03:04:05", None),
        ("CRON_TZ=Asia/Tokyo at(2027-01-02T03:04:05)", "2027-01-01 18:04:05", None),
        ("rate(5 minutes)", "2026-11-22 12:05", "2026-11-22 12:10"),
        ("rate(1 day)", "2026-11-23 12:00", "2026-11-24 12:00"),
        # Quartz's: the second first, and ? for one of the days.
        ("0 0 18 * * ?", "2026-11-22 18:00", "2026-11-23 18:00"),
        ("0 0 18 ? * MON-FRI", "2026-11-23 18:00", "2026-11-24 18:00"),
        # A zone before it.
        ("CRON_TZ=Asia/Kathmandu 0 0 * * *", "2026-11-22 18:15", "2026-11-23 18:15"),
        ("TZ=America/New_York @daily", "2026-11-23 05:00", "2026-11-24 05:00"),
    ],
)  # fmt: skip
def test_an_expression_and_its_next_two_fire_times(
    text: str, first: str, second: str | None
) -> None:
    schedule = read_cron(text, now=NOON)

    found = first_after(schedule, NOON)
    assert found == parse_moment(first)
    assert first_after(schedule, found) == (second and parse_moment(second))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "0 fields"),
        ("   ", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * * * *", "8 fields"),
        ("60 * * * *", "minute"),
        ("-1 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * 32 * *", "day of month"),
        ("* * * 0 *", "month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "weekday"),
        ("* * * * funday", "weekday"),
        ("60 * * * * *", "second"),
        ("* * * * * * 1969", "year"),
        ("* * * * * * 10000", "year"),
        ("* * * * * * 2030-2029", "year"),
        ("* * * * * * *-2029", "year"),
        ("* * * * * * 2030/0", "year"),
        ("* * * * * * 2030,", "year"),
        ("* * * * * * ٢٠٣٠", "year"),
        # A step of nothing, a reversed range, an item that is not there.
        ("*/0 * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("1, * * * *", "minute"),
        ("1- * * * *", "minute"),
        ("1.5 * * * *", "minute"),
        ("٣ * * * *", "minute"),
        ("5-5/0 * * * *", "minute"),
        ("77-77/2 * * * *", "minute"),
        # Six fields as EventBridge has them.
        ("0 18 * * ? *", "cron(0 18 * * ? *)"),
        ("0 18 * * ? *", "0 0 18 * * ? *"),
        ("0 18 ? * MON-FRI *", "cron(0 18 ? * MON-FRI *)"),
        ("0 18 * * * 2027", "can only be a year"),
        ("0 18 1 1 * 2027-2030", "can only be a year"),
        ("cron(0 18 * * ?)", "5 fields instead of 6"),
        ("cron(0 18 * * * *)", "is ?"),
        ("cron(0 18 ? * ? *)", "is ?"),
        ("cron(0 ? * * ? *)", "is ?"),
        ("cron(0 18 3W * ? *)", "LW"),
        ("cron(0 18 ? * 0 *)", "1 to 7"),
        ("cron(0 18 ? * 8 *)", "1 to 7"),
        ("cron(0 18 ? * MON,,FRI *)", "weekday"),
        ("cron(0 18 ? * 6-2 *)", "weekday"),
        ("cron(0 18 1 1 ? 2020)", "never fires again"),
        ("cron(60 18 1 1 ? *)", "minute"),
        ("rate(0 minutes)", "rate(…)"),
        ("rate(5 seconds)", "rate(…)"),
        ("rate(999999999 days)", "68 years"),
        ("at(2020-01-01T00:00:00)", "never fires again"),
        ("at(2027-02-30T00:00:00)", "at(…)"),
        ("at(2027-02-03)", "at(…)"),
        ("at(2027-02-03T00:00:00Z)", "at(…)"),
        # Neither is a range.
        ("0 0 L/2 * *", "day of month"),
        ("0 0 15,lw/3 * *", "day of month"),
        ("0 0 * * 5L/2", "weekday"),
        ("0 0 * * 5#1/2", "weekday"),
        (f"{'1,' * 120}1 * * * *", "minute"),
        ("x" * 501, "500"),
        ("@never", "@never"),
        ("@", "@"),
        ("@every", "@every"),
        ("@every 5", "@every"),
        ("@every -5s", "@every"),
        ("@every 0s", "@every"),
        ("@every 100ms", "@every"),
        (f"@every {'9' * 400}h", "@every"),
        ("@every 1000000h", "@every"),
        ("CRON_TZ=Mars/Base * * * * *", "Mars/Base"),
        ("CRON_TZ= * * * * *", "time zone"),
        ("CRON_TZ=localtime * * * * *", "localtime"),
        ("TZ=right/Europe/Berlin * * * * *", "right/Europe/Berlin"),
        ("TZ=europe/berlin * * * * *", "europe/berlin"),
        ("CRON_TZ=../../etc/passwd * * * * *", "time zone"),
        ("CRON_TZ=UTC", "0 fields"),
        ("PATH=/bin * * * *", "minute"),
        # There is no such day, or there is none any more.
        ("0 0 30 2 *", ""),
        ("0 0 31 4,6,9,11 *", ""),
        ("0 0 0 1 1 * 2020", "never fires again"),
        ("0 0 0 29 2 * 2027", "never fires again"),
        # Nor what does not within a hundred years.
        ("0 0 0 1 1 * 9999", "never fires again"),
        ("0 0 */31 * 5L", "too long to compute"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(text: str, named: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        read_cron(text, now=NOON)

    assert named in str(refused.value)
    assert str(refused.value).endswith(".")


def test_a_first_fire_time_after_the_year_9999_is_refused() -> None:
    with pytest.raises(ScheduleError, match="never fires again"):
        read_cron("@every 17h", now=NOON, start=datetime(9999, 12, 31, 9, tzinfo=UTC))


@given(st.text(alphabet="*/,-?#@L0123456789 =TZCRON_evrymhs\x00٣", max_size=40))
@example("@every 1e5s")
@example("@every ٣s")
@example("0 0 L-3 * *")
@example("0 0 * * 5L")
@example("0 0 LW * *")
def test_no_text_does_anything_but_fire_or_be_refused(text: str) -> None:
    try:
        schedule = read_cron(text, now=NOON)
    except ScheduleError:
        return

    found = first_after(schedule, NOON)
    assert found is not None
    assert found > NOON


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("@every 90s", 90),
        ("@every 1h30m", 5400),
        ("@every 1.5h", 5400),
        ("@EVERY 2m", 120),
        ("@every   1m0.5s", 60),
        ("@every 2000ms", 2),
        ("@every 3000000us", 3),
        ("@every 3000000µs", 3),
        ("@every 1s999ms", 1),
    ],
)
def test_every_counts_from_now(text: str, seconds: int) -> None:
    every = timedelta(seconds=seconds)

    assert read_cron(text, now=NOON) == Interval(NOON + every, every)


def test_a_zone_is_logged_once() -> None:
    text = "CRON_TZ=Europe/Berlin 0 0 * * *"

    assert read_cron(text, zone="Europe/Berlin", now=NOON) == read_cron(text, now=NOON)
    with pytest.raises(ScheduleError, match="two time zones"):
        read_cron(text, zone="Europe/Paris", now=NOON)


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("* * * * * *", 1),
        ("*/10 * * * * *", 10),
        ("0,50 * * * * *", 10),
        ("0,50 5 * * * *", 50),
        ("* * * * *", 60),
        ("0,7,30 * * * *", 7 * 60),
        ("0,50 * * * *", 10 * 60),
        ("0,50 3 * * *", 50 * 60),
        ("30 9,17 * * *", 8 * 3600),
        ("30 1,23 * * *", 2 * 3600),
        ("0 9 * * *", 24 * 3600),
        ("0 9 1 * *", 24 * 3600),
        ("59 59 23,0 * * *", 3600),
        ("@every 90s", 90),
    ],
)
def test_the_least_interval_of_an_expression(text: str, least: int) -> None:
    assert least_interval(read_cron(text, now=NOON)) == least


@pytest.mark.parametrize(
    "name",
    ["right/Europe/Berlin", "posix/UTC", "localtime", "posixrules", "Factory", "zone.tab", "tzdata.zi", "Europe", ".", "", "UTC\0"],
)  # fmt: skip
def test_a_zone_is_one_of_the_iana_list(name: str) -> None:
    with pytest.raises(ScheduleError, match="time zone"):
        read_cron("0 0 * * *", zone=name, now=NOON)


def test_every_zone_of_the_pinned_list_is_known() -> None:
    listed = files("tzdata").joinpath("zones").read_text().split()

    assert set(listed) - {"Factory"} <= cron_text.zone_names()


def test_what_was_taken_apart_can_be_put_together_again() -> None:
    read = cron_text.read("CRON_TZ=Asia/Tokyo 15 30 2 ? * MON 2026-2030")

    assert read.zone == "Asia/Tokyo"
    assert read.fields == cron.Fields("30 2 * * MON", "15", "2026-2030")


@pytest.mark.parametrize(
    ("late", "fires"),
    [(0, True), (4.9, True), (5.1, False), (59, False)],
)
def test_a_grace_decides_whether_a_late_fire_time_is_missed(
    late: float, fires: bool
) -> None:
    found = sort_due(
        Cron("* * * * *"),
        since=NOON,
        now=NOON + timedelta(seconds=late),
        limit=10,
        grace=timedelta(seconds=5),
    )

    too_late = Missed(NOON, "Nobody could fire it within 5 seconds.")
    missed, fire = ((), (NOON,)) if fires else ((too_late,), ())
    assert found == DueFireTimes(missed, fire, NOON + MINUTE)
