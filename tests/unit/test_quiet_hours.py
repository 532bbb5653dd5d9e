"""When a notice is sent: digests, and quiet hours through changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_api.domain.quiet_hours import QuietHours, send_moment

MINUTE = timedelta(minutes=1)
NIGHT = QuietHours(time(22), time(7), "Europe/Berlin")
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("quiet", "moment", "end"),
    [
        # Not quiet.
        (NIGHT, "2026-11-21T12:00+01:00", "2026-11-21T12:00+01:00"),
        (NIGHT, "2026-11-21T07:00+01:00", "2026-11-21T07:00+01:00"),
        # Over midnight, and after it.
        (NIGHT, "2026-11-21T22:00+01:00", "2026-11-22T07:00+01:00"),
        (NIGHT, "2026-11-22T06:59+01:00", "2026-11-22T07:00+01:00"),
        # Within a day.
        (
            QuietHours(time(12), time(13), "UTC"),
            "2026-11-21T12:30Z",
            "2026-11-21T13:00Z",
        ),
        # The night is an hour shorter, and an hour longer.
        (NIGHT, "2026-03-28T23:00+01:00", "2026-03-29T07:00+02:00"),
        (NIGHT, "2026-10-24T23:00+02:00", "2026-10-25T07:00+01:00"),
        # 02:30 does not exist: the clock goes from 02:00 to 03:00.
        (
            QuietHours(time(22), time(2, 30), "Europe/Berlin"),
            "2026-03-28T23:00+01:00",
            "2026-03-29T03:00+02:00",
        ),
        # 02:30 occurs twice, and the quiet hours begin again between both.
        (
            QuietHours(time(22), time(2, 30), "Europe/Berlin"),
            "2026-10-25T01:00+02:00",
            "2026-10-25T02:30+02:00",
        ),
        (
            QuietHours(time(22), time(2, 30), "Europe/Berlin"),
            "2026-10-25T02:10+01:00",
            "2026-10-25T02:30+01:00",
        ),
        # Samoa had no 30 December 2011.
        (
            QuietHours(time(22), time(7), "Pacific/Apia"),
            "2011-12-29T23:00-10:00",
            "2011-12-31T07:00+14:00",
        ),
    ],
)
def test_quiet_hours_end_by_the_clock_of_their_zone(
    quiet: QuietHours, moment: str, end: str
) -> None:
    assert quiet.end_after(at(moment)) == at(end)


@given(
    begins=st.integers(0, 95),
    ends=st.integers(0, 95),
    zone=st.sampled_from(ZONES),
    minutes=st.integers(0, 3 * 366 * 24 * 60),
)
def test_nothing_is_sent_in_quiet_hours_and_nothing_waits_beyond_them(
    begins: int, ends: int, zone: str, minutes: int
) -> None:
    if begins == ends:
        return
    quiet = QuietHours(
        time(begins // 4, begins % 4 * 15), time(ends // 4, ends % 4 * 15), zone
    )
    moment = datetime(2025, 1, 1, tzinfo=UTC) + minutes * MINUTE

    end = quiet.end_after(moment)

    assert not quiet.includes(end)
    if not quiet.includes(moment):
        assert end == moment
        return
    # A clock that is set back may leave the quiet hours for a while, without their end.
    clock_change = timedelta(hours=1)
    waited = [moment + n * MINUTE for n in range(int((end - moment) / MINUTE))]
    assert sum(not quiet.includes(each) for each in waited) * MINUTE <= clock_change
    assert end - moment <= timedelta(hours=25)


@given(seconds=st.integers(1, 86_400), offset=st.floats(0, 10_000_000, allow_nan=False))
def test_a_digest_is_sent_at_the_end_of_its_span(seconds: int, offset: float) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=offset)

    moment = send_moment(now, seconds, None)

    assert timedelta() <= moment - now < timedelta(seconds=seconds)
    # So the notices of all processes meet.
    assert send_moment(moment - timedelta(microseconds=1), seconds, None) == moment


def test_a_digest_that_is_due_in_quiet_hours_waits_for_their_end() -> None:
    now = at("2026-11-21T21:50+01:00")

    assert send_moment(now, 3600, NIGHT) == at("2026-11-22T07:00+01:00")
    assert send_moment(now, 300, NIGHT) == now
    assert send_moment(now, 0, NIGHT) == now
