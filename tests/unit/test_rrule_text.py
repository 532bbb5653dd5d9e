"""Recurrence rules are read strictly, with a sentence for what is wrong, and said in words."""

from __future__ import annotations

from datetime import datetime

import pytest

from tasks_api.domain import rrule_text
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.rrule_words import rule_words

FIRST = datetime(2026, 12, 1, 9)  # noqa: DTZ001 (a local time)


@pytest.mark.parametrize(
    ("text", "rule", "first", "zone"),
    [
        ("FREQ=DAILY", "FREQ=DAILY", None, None),
        ("rrule:freq=weekly;byday=mo;", "FREQ=WEEKLY;BYDAY=MO", None, None),
        ("DTSTART:20261201T090000\nRRULE:FREQ=DAILY", "FREQ=DAILY", FIRST, None),
        ("DTSTART:20261201T090000Z\r\nRRULE:FREQ=DAILY\r\n", "FREQ=DAILY", FIRST, "UTC"),
        (
            "RRULE:FREQ=DAILY;\n BYHOUR=9\nDTSTART;TZID=\"Europe/Berlin\":20261201T090000",
            "FREQ=DAILY;BYHOUR=9",
            FIRST,
            "Europe/Berlin",
        ),
        (
            "DTSTART;VALUE=DATE:20261201\nFREQ=DAILY",
            "FREQ=DAILY",
            FIRST.replace(hour=0),
            None,
        ),
    ],
)  # fmt: skip
def test_a_rule_is_read_with_its_start(
    text: str, rule: str, first: datetime | None, zone: str | None
) -> None:
    assert rrule_text.read(text) == (rule, first, zone)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_what_is_written_is_read_again(zone: str) -> None:
    written = rrule_text.write("FREQ=DAILY", FIRST, zone)

    assert rrule_text.read(written) == ("FREQ=DAILY", FIRST, zone)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no RRULE"),
        ("DTSTART:20261201T090000", "no RRULE"),
        ("X" * 1001, "more than 1000 characters"),
        ("BYDAY=MO", "FREQ should be one of"),
        ("FREQ=FORTNIGHTLY", "FREQ should be one of"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ twice"),
        ("FREQ=DAILY;BYEASTER=1", "unknown part 'BYEASTER=1'"),
        ("FREQ=DAILY;COUNT", "unknown part"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL should be a whole number"),
        ("FREQ=DAILY;INTERVAL=999999", "INTERVAL should be a whole number"),
        ("FREQ=DAILY;COUNT=10001", "COUNT should be a whole number from 1 to 10000"),
        ("FREQ=DAILY;COUNT=²", "COUNT should be a whole number"),
        ("FREQ=DAILY;COUNT=1;UNTIL=20270101", "either COUNT or UNTIL"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL should be a moment"),
        ("FREQ=DAILY;UNTIL=20270230T000000", "UNTIL should be a moment"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR should be whole numbers from 0 to 23."),
        ("FREQ=DAILY;BYSECOND=60", "BYSECOND should be whole numbers"),
        ("FREQ=DAILY;BYMONTH=1,,2", "BYMONTH should be"),
        ("FREQ=DAILY;BYMONTHDAY=0", "from 1 to 31, or from -31 to -1"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY does not go with FREQ=WEEKLY"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "BYWEEKNO does not go with FREQ=MONTHLY"),
        ("FREQ=DAILY;BYYEARDAY=1", "BYYEARDAY does not go with FREQ=DAILY"),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY has numbers only"),
        ("FREQ=YEARLY;BYWEEKNO=3;BYDAY=1MO", "BYDAY has numbers only"),
        ("FREQ=MONTHLY;BYDAY=1MO,TU", "all with a number or all without"),
        ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY should be weekdays"),
        ("FREQ=MONTHLY;BYDAY=XX", "BYDAY should be weekdays"),
        ("FREQ=WEEKLY;WKST=1", "WKST should be one of"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS goes with another part"),
        ("RRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY", "use schedules"),
        ("RRULE:FREQ=DAILY\nEXDATE:20261201T090000", "it cannot leave dates out"),
        ("RRULE:FREQ=DAILY\nRDATE:20261201T090000", "schedules of their own"),
        ("BEGIN:VCALENDAR\nRRULE:FREQ=DAILY", "a line 'BEGIN'"),
        ("DTSTART;TZID=Nowhere:20261201T090000\nRRULE:FREQ=DAILY", "'Nowhere' is not known"),
        ("DTSTART;TZID=Europe/Berlin:20261201T090000Z\nRRULE:FREQ=DAILY", "ends with Z"),
        ("DTSTART;X=1:20261201T090000\nRRULE:FREQ=DAILY", "unknown 'X=1'"),
        (
            f"FREQ=DAILY;BYHOUR={','.join(map(str, range(24)))}"
            f";BYMINUTE={','.join(map(str, range(60)))};BYSECOND=0,1",
            "too many times for FREQ=DAILY",
        ),
        (
            f"FREQ=YEARLY;BYHOUR={','.join(map(str, range(24)))};BYMINUTE=0,9,18,27,36,45,54",
            "too many times for FREQ=YEARLY",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_rule_is_said(text: str, why: str) -> None:
    with pytest.raises(ScheduleError, match=why.replace("+", r"\+")):
        rrule_text.read(text)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("FREQ=DAILY", "Every day at 09:00"),
        ("FREQ=WEEKLY", "Every week on Tuesday at 09:00"),
        ("FREQ=WEEKLY;BYDAY=MO,WE;COUNT=5", "Every week on Monday and Wednesday at 09:00, 5 times"),
        (
            "FREQ=WEEKLY;INTERVAL=2;BYHOUR=9,17;BYMINUTE=30",
            "Every 2 weeks on Tuesday at 09:30 and 17:30, counted from 2026-12-01 09:00",
        ),
        ("FREQ=MONTHLY;BYDAY=-1FR", "Every month on the last Friday at 09:00"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "Every month on Friday, only on day 13 of the month at 09:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,-2", "Every month on the second to last day of the month and day 1 of the month at 09:00"),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
            "Every month on Monday, Tuesday, Wednesday, Thursday and Friday at 09:00, only the last of these in each month",
        ),
        ("FREQ=YEARLY", "Every year in December on day 1 of the month at 09:00"),
        ("FREQ=YEARLY;BYWEEKNO=20", "Every year in week 20 on Tuesday at 09:00"),
        ("FREQ=YEARLY;BYYEARDAY=100", "Every year on day 100 of the year at 09:00"),
        ("FREQ=HOURLY;BYMINUTE=15", "Every hour at minute 15"),
        ("FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10", "Every 20 minutes in hour 9 and hour 10, counted from 2026-12-01 09:00"),
        ("FREQ=SECONDLY;BYSECOND=0,30", "Every second at second 0 and second 30"),
        ("FREQ=DAILY;UNTIL=20270101T000000Z", "Every day at 09:00, until 2027-01-01 00:00:00 UTC"),
        ("FREQ=DAILY;COUNT=1", "Every day at 09:00, once"),
    ],
)  # fmt: skip
def test_a_rule_is_said_in_words(rule: str, words: str) -> None:
    assert rule_words(rule, FIRST) == words
