"""An error about an iCalendar file names the line of the file as it was written."""

from __future__ import annotations

import pytest

from tasks_api.domain.calendar_file_lines import find_wrong_line, lines_of_events

FILE = """BEGIN:VCALENDAR
VERSION:2.0

BEGIN:VEVENT
SUMMARY:a summary that goes on
 BEGIN:VEVENT
DTSTART;VALUE=DATE:20270104
END:VEVENT
begin:vevent
DTSTART;VALUE=DATE:20270105
end:vevent
END:VCALENDAR
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_events_begin_in_lines_of_the_file(ending: str) -> None:
    assert lines_of_events(FILE.replace("\n", ending)) == [4, 9]


def test_a_file_of_whole_lines_has_no_wrong_one() -> None:
    assert find_wrong_line(FILE) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no file", 1),
        ("\n\nBEGIN:VCALENDAR\nX", 4),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR", 3),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VEVENT", 1),
        ("END:VCALENDAR", 1),
    ],
)
def test_the_first_wrong_line_is_found(text: str, line: int) -> None:
    assert find_wrong_line(text) == line
