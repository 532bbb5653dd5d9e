"""iCalendar files become days and spans; hostile ones are refused, and soon."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_api.domain.calendar_files import MAX_TIMES_OF_RULE, FileContent, read_file
from tasks_api.domain.exceptions import InvalidTask

NOW = datetime(2027, 1, 1, tzinfo=UTC)


def file_of(*events: str) -> str:
    body = "".join(f"BEGIN:VEVENT\n{event}\nEND:VEVENT\n" for event in events)
    return f"BEGIN:VCALENDAR\nVERSION:2.0\n{body}END:VCALENDAR\n"


def read(*events: str, zone: str = "Europe/Berlin") -> FileContent:
    return read_file(file_of(*events), zone, NOW)


DAY = "DTSTART;VALUE=DATE:20270104"


@pytest.mark.parametrize(
    ("event", "dates"),
    [
        (DAY, ["2027-01-04"]),
        (f"{DAY}\nDTEND;VALUE=DATE:20270105", ["2027-01-04"]),
        (f"{DAY}\nRRULE:FREQ=DAILY;COUNT=2", ["2027-01-04", "2027-01-05"]),
        (
            f"{DAY}\nRRULE:FREQ=WEEKLY;BYDAY=MO,TU;UNTIL=20270112",
            ["2027-01-04", "2027-01-05", "2027-01-11", "2027-01-12"],
        ),
        (
            f"{DAY}\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE;VALUE=DATE:20270105",
            ["2027-01-04", "2027-01-06"],
        ),
        (f"{DAY}\nRDATE;VALUE=DATE:20270301", ["2027-01-04", "2027-03-01"]),
        (f"{DAY}\nDTEND;VALUE=DATE:20270104", []),
    ],
)
def test_days_of_events(event: str, dates: list[str]) -> None:
    assert read(event) == FileContent(dates, [])


def test_a_yearly_day_repeats_for_ten_years() -> None:
    dates = read("DTSTART;VALUE=DATE:20200501\nRRULE:FREQ=YEARLY").dates

    assert (dates[0], dates[-1], len(dates)) == ("2020-05-01", "2036-05-01", 17)


@pytest.mark.parametrize(
    ("event", "span"),
    [
        (
            "DTSTART:20270104T080000Z\nDTEND:20270104T090000Z",
            ("08:00:00Z", "09:00:00Z"),
        ),
        ("DTSTART:20270104T080000\nDURATION:PT1H", ("07:00:00Z", "08:00:00Z")),
        (
            "DTSTART;TZID=America/New_York:20270104T080000\nDURATION:PT1H",
            ("13:00:00Z", "14:00:00Z"),
        ),
    ],
)
def test_spans_of_events(event: str, span: tuple[str, str]) -> None:
    first, last = (f"2027-01-04T{at}" for at in span)

    assert read(event) == FileContent([], [{"from": first, "to": last}])


def test_several_days_are_a_range() -> None:
    assert read(f"{DAY}\nDTEND;VALUE=DATE:20270107").ranges == [
        {"from": "2027-01-04", "to": "2027-01-06"}
    ]


def test_a_rule_follows_the_clock_of_its_zone() -> None:
    event = "DTSTART;TZID=Europe/Berlin:20270327T120000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=2"

    assert [each["from"] for each in read(event).ranges] == [
        "2027-03-27T11:00:00Z",
        "2027-03-28T10:00:00Z",
    ]


def test_rules_of_time_zones_in_the_file_are_not_followed() -> None:
    zone = (
        "BEGIN:VTIMEZONE\nTZID:Europe/Berlin\nBEGIN:STANDARD\nDTSTART:19700101T000000\n"
        "RRULE:FREQ=SECONDLY\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE\n"
    )
    text = file_of("DTSTART;TZID=Europe/Berlin:20270104T080000\nDURATION:PT1H")
    text = text.replace("BEGIN:VEVENT", f"{zone}BEGIN:VEVENT")
    folded = text.replace("BEGIN:VTIMEZONE", "BEGIN:VTIME\n ZONE")

    for each in (text, folded):
        [span] = read_file(each, "UTC", NOW).ranges
        assert span["from"] == "2027-01-04T07:00:00Z"


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY",
        "FREQ=MINUTELY",
        "FREQ=HOURLY",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
        "FREQ=YEARLY;BYWEEKNO=53",
        "FREQ=YEARLY;BYEASTER=1",
        "FREQ=YEARLY;BYSETPOS=366",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=-1",
        "FREQ=DAILY;COUNT=1000000000",
        "FREQ=NEVER",
        "COUNT=1",
        "FREQ=MONTHLY;BYDAY=99MO",
    ],
)
def test_a_rule_that_could_take_for_ever_is_refused(rule: str) -> None:
    with pytest.raises(InvalidTask) as refusal:
        read(f"{DAY}\nRRULE:{rule}")

    assert refusal.value.field == "ics"


def test_a_day_that_never_comes_is_soon_given_up() -> None:
    assert read(f"{DAY}\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30").dates == []


ZIP = BytesIO()
with zipfile.ZipFile(ZIP, "w", zipfile.ZIP_DEFLATED) as packed:
    packed.writestr("a.ics", "0" * 100_000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        None,
        7,
        [],
        "no file",
        ZIP.getvalue().decode("latin-1"),
        "BEGIN:VCALENDAR\n" * 5000,
        "BEGIN:VEVENT\nEND:VEVENT\n" * 9000,
        "BEGIN:VCALENDAR\n" + "BEGIN:VEVENT\n" * 20 + "END:VEVENT\n" * 20,
        "BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nEND:VCALENDAR",
        "BEGIN:VCALENDAR\n" + "X" * 300_000,
        file_of("SUMMARY:no start"),
        file_of("DTSTART:20271301T000000"),
        file_of(f"{DAY}\nDTEND:20270105T000000Z"),
        file_of(f"{DAY}\nRRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY"),
        file_of(*[f"{DAY}\nRRULE:FREQ=YEARLY"] * 250),
        file_of("DTSTART:99991231T235959Z\nDURATION:P400D"),
        file_of(
            DAY
            + "\nRDATE;VALUE=DATE:"
            + ",".join(["20270105"] * (MAX_TIMES_OF_RULE + 1))
        ),
    ],
)
def test_hostile_text_is_refused_for_the_field(text: object) -> None:
    with pytest.raises(InvalidTask) as refusal:
        read_file(text, "UTC", NOW)

    assert refusal.value.field == "ics"


PIECES = st.sampled_from(
    [
        *("BEGIN:VEVENT", "END:VEVENT", "BEGIN:VTIMEZONE", "END:VTIMEZONE", DAY),
        *(
            "DTSTART:20270104T080000",
            "DTEND;TZID=Nowhere:20270104T090000",
            "DURATION:-P1D",
        ),
        *(
            "RRULE:FREQ=YEARLY;COUNT=3",
            "RRULE:;;;",
            "EXDATE:x",
            "RDATE;VALUE=PERIOD:a/b",
        ),
        *(" folded", "DTSTART;VALUE=DATE:", "\x00", ":", ";=", "DURATION:P999999999W"),
    ]
)


@given(lines=st.lists(PIECES | st.text(max_size=20), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(lines: list[str]) -> None:
    text = "\n".join(["BEGIN:VCALENDAR", *lines, "END:VCALENDAR"])
    with suppress(InvalidTask):
        assert isinstance(read_file(text, "UTC", NOW), FileContent)
