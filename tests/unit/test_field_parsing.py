"""What clients write into fields: every form that is taken, every form that is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_api.api import fields
from tasks_api.domain.exceptions import InvalidTask

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22 12:00:00",
        "2026-11-22T12:00:00",
        "2026-11-22T12:00:00Z",
        "2026-11-22t12:00:00z",
        "2026-11-22 12:00:00+00:00",
        "2026-11-22T12:00:00.000",
        "2026-11-22T12:00",
        " 2026-11-22 12:00:00 ",
        "2026-11-22T17:30:00+05:30",
        "2026-11-22T07:00:00-0500",
        "2026-11-22T13:00:00+01",
        # The basic format, and the Sunday of week 47.
        "20261122T120000Z",
        "2026-W47-7T12:00:00",
    ],
)
def test_a_moment_is_read_in_every_form_of_iso_8601(text: str) -> None:
    assert fields.moment("run_datetime", text) == NOON


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-11-22T12:00:00.5Z", 500_000),
        ("2026-11-22T12:00:00,25Z", 250_000),
        # Finer than PostgreSQL keeps: cut off, never rounded up.
        ("2026-11-22T12:00:00.123456789Z", 123_456),
        ("2026-11-22T12:00:00.9999999Z", 999_999),
    ],
)
def test_a_fraction_of_a_second_is_kept(text: str, microsecond: int) -> None:
    expected = NOON.replace(microsecond=microsecond)

    assert fields.moment("run_datetime", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("2028-02-29T00:00:00Z", datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_a_moment_may_be_far_away(text: str, expected: datetime) -> None:
    assert fields.moment("end_datetime", text) == expected


NOT_MOMENTS = [
    "",
    " ",
    "10",
    "tomorrow",
    "now",
    "T",
    # A date alone says no moment, nor does a time.
    "2030-01-01",
    "12:00:00",
    "T12:00:00",
    # Only a space or a T may stand between the two.
    "2030-01-01_00:00:00",
    "2030-01-01\n00:00:00",
    "2030-01-01  00:00:00",
    # Not ISO 8601.
    "01/02/2030 10:00",
    "2030-1-1 0:0:0",
    "1 Jan 2030 10:00",
    "2030-01-01 10:00 PM",
    "2030-01-01T00:00:00 UTC",
    "2030-01-01T00:00:00 +01:00",
    "2030-01-01T00:00:00+01:00:30",
    "2030-01-01T000000000000",
    # No such day, or no such time.
    "2030-02-30T00:00:00",
    "2027-02-29T00:00:00",
    "2030-13-01T00:00:00",
    "2030-01-01T25:00:00",
    "2030-01-01T00:60:00",
    "2030-01-01T00:00:60",
    "0000-01-01T00:00:00",
    "10000-01-01T00:00:00",
    "2030-01-01T00:00:00+24:00",
    # In UTC these lie in the year 10000, and in the year 0.
    "9999-12-31T23:59:59-05:00",
    "0001-01-01T00:00:00+01:00",
    # Digits, but not those of ISO 8601.
    "\uff12\uff10\uff13\uff10-01-01T00:00:00",
    "2030-01-01T00:00:00\x00",
    "2030-01-01T" + "0" * 100_000,
    1_900_000_000,
    Decimal("1.9"),
    True,
    None,
    [],
    {},
]


@pytest.mark.parametrize("value", NOT_MOMENTS, ids=lambda value: repr(value)[:40])
def test_anything_else_is_no_moment(value: object) -> None:
    with pytest.raises(InvalidTask, match="start_datetime") as refused:
        fields.moment("start_datetime", value)

    assert refused.value.field == "start_datetime"


@settings(deadline=None)
@given(st.text() | st.from_regex(r"[0-9W]{4}-?[0-9W-]{2,6}[T ][0-9:.,+\-Z]{0,20}"))
def test_no_text_breaks_the_reader_of_moments(text: str) -> None:
    try:
        read = fields.moment("run_datetime", text)
    except InvalidTask:
        return
    assert read.utcoffset() == timedelta()


@settings(deadline=None)
@given(st.datetimes(), st.integers(-1439, 1439))
def test_an_offset_is_honoured(local: datetime, minutes: int) -> None:
    offset = timezone(timedelta(minutes=minutes))

    try:
        read = fields.moment("run_datetime", local.replace(tzinfo=offset).isoformat())
    except InvalidTask:
        # Only because it is no moment of the years 1 to 9999 in UTC.
        assert local.year in {1, 9999}
    else:
        assert read.replace(tzinfo=None) == local - timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["2026-11-22T12:00:00Z", "2026-11-22T11:59:59Z"])
def test_now_is_not_the_future(text: str) -> None:
    with pytest.raises(InvalidTask, match=r"^start_datetime should be in future$"):
        fields.future_moment("start_datetime", text, now=NOON)


def test_a_microsecond_from_now_is_the_future() -> None:
    read = fields.future_moment("run_datetime", "2026-11-22T12:00:00.000001Z", now=NOON)

    assert read > NOON


@pytest.mark.parametrize(
    "value",
    [
        3600,
        "3600",
        " 3600 ",
        "0003600",
        Decimal("3600.0"),
        Decimal("3.6E+3"),
        {"hours": 1},
        {"minutes": 60},
        {"minutes": 30, "seconds": 1800},
        {"minutes": "60", "seconds": Decimal("0.0")},
        {"weeks": 0, "days": 0, "hours": 1, "minutes": 0, "seconds": 0},
    ],
    ids=repr,
)
def test_a_frequency_is_read_in_every_form(value: object) -> None:
    assert fields.frequency(value, minimum=4) == HOUR


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (4, 4),
        (2**31 - 1, 2**31 - 1),
        ({"weeks": 2, "days": 1}, 15 * 24 * 3600),
        ({"days": 1, "hours": 1, "minutes": 1, "seconds": 1}, 90_061),
    ],
)
def test_a_frequency_is_in_seconds(value: object, seconds: int) -> None:
    assert fields.frequency(value, minimum=4) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value", [3599, 1, 0, -1, -3600, "3599", "0", {}, {"minutes": 59}], ids=repr
)
def test_a_frequency_below_the_least_is_refused_in_the_documented_words(
    value: object,
) -> None:
    with pytest.raises(InvalidTask) as refused:
        fields.frequency(value, minimum=3600)

    assert str(refused.value) == (
        "Invalid value of frequency. Value should be greater than or equal to 3600"
    )


NOT_FREQUENCIES = [
    None,
    True,
    False,
    "",
    "daily",
    "3600.0",
    "-3600",
    "1e4",
    "0x1000",
    "\uff13\uff16\uff10\uff10",
    "9" * 5000,
    Decimal("3600.5"),
    Decimal("1E-7"),
    Decimal("1E+300"),
    2**31,
    10**400,
    "2147483648",
    [],
    [3600],
    {"years": 1},
    {"hours": 1, "unit": "s"},
    {"Hours": 1},
    {"hours": None},
    {"hours": True},
    {"hours": Decimal("1.5")},
    # Parts that would add up to something allowed.
    {"hours": 2, "minutes": -60},
    {"days": {"hours": 1}},
    {"weeks": 10**30},
]


@pytest.mark.parametrize("value", NOT_FREQUENCIES, ids=lambda value: repr(value)[:40])
def test_anything_else_is_no_frequency(value: object) -> None:
    with pytest.raises(InvalidTask, match="Invalid value of frequency") as refused:
        fields.frequency(value, minimum=4)

    assert refused.value.field == "frequency"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InvalidTask, match=r"^Missing key: url$") as refused:
        fields.require_field({"uri": "http://example.com/"}, "url")

    assert refused.value.field == "url"


def test_null_is_not_missing() -> None:
    assert fields.require_field({"url": None}, "url") is None
