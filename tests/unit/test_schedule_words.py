"""Schedules in words, as the pages show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks_api.domain.schedule_words import schedule_words
from tasks_api.domain.schedules import Interval, Once, read_cron

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "Every minute"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("@hourly", "Every hour"),
        ("1 * * * *", "At 1 minute past the hour"),
        ("0 9 * * MON-FRI", "At 09:00, Monday through Friday"),
        ("30 2,3 * * *", "At 02:30 and 03:30"),
        ("0 0 29 2 *", "At 00:00, on day 29 of the month, only in February"),
        # In these hours, once an hour.
        ("0 9-17 * * *", "Every hour, between 09:00 and 17:59"),
        ("0 9,12-14 * * *", "At 09:00, 12:00, 13:00 and 14:00"),
        # "Every 5 hours" would leave out the short wait over midnight.
        ("0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00 and 20:00"),
        ("*/25 * * * *", "At 0, 25, and 50 minutes past the hour"),
        # A step never leaves its range.
        ("5-5/3 * * * *", "At 5 minutes past the hour"),
        ("50/5 * * * *", "At 50 and 55 minutes past the hour"),
        ("0 0 * * 5/2", "At 00:00, only on Sunday and Friday"),
        ("0-59 0-23 1-31 1-12 0-7", "Every minute"),
        # One of the two days is enough, unless one of the fields begins with a star.
        ("0 0 1 * MON", "At 00:00, on day 1 of the month or on Monday"),
        ("0 0 */15 * MON", "At 00:00, on day 1, 16, and 31 of the month, only on Monday"),
        ("0 0 1-31 * MON", "At 00:00"),
        ("0 0 l * *", "At 00:00, on the last day of the month"),
        ("0 0 LW * *", "At 00:00, on the last weekday of the month"),
        ("0 0 * * sun#1", "At 00:00, on the first Sunday of the month"),
        (
            "0 0 1,L * 5L",
            "At 00:00, on day 1 of the month and on the last day of the month or on the "
            "last Friday of the month",
        ),
        ("30 0 9 * * *", "At 09:00:30"),
        ("*/10 * * * * *", "Every 10 seconds"),
        ("0 0 9 * * * 2027-2029", "At 09:00, 2027 through 2029"),
        ("cron(0 18 ? * MON-FRI *)", "At 18:00, Monday through Friday"),
    ],
)  # fmt: skip
def test_a_cron_expression_is_read_as_it_fires(expression: str, words: str) -> None:
    schedule = read_cron(expression, now=NOON)

    assert schedule_words(schedule) == f"{words}, in UTC"


def test_the_zone_of_an_expression_is_named() -> None:
    schedule = read_cron("0 9 * * *", zone="Europe/Berlin", now=NOON)

    assert schedule_words(schedule) == "At 09:00, in Europe/Berlin"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "Every second"),
        (90, "Every 1 minute 30 seconds"),
        (3600, "Every hour"),
        (7200, "Every 2 hours"),
        (90_000, "Every 1 day 1 hour"),
    ],
)
def test_an_interval_is_said_in_its_largest_units(seconds: int, words: str) -> None:
    assert schedule_words(Interval(NOON, timedelta(seconds=seconds))) == words


def test_a_moment_is_said_in_utc() -> None:
    assert schedule_words(Once(NOON)) == "Once, at 2026-11-22 12:00:00 UTC"
