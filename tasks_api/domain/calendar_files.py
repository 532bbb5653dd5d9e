"""Read the days and spans of an iCalendar file. Whoever writes the file is not trusted.

Rules of time zones are not read, because some never end: a zone counts by its name. Only
rules of repetition that are quick to follow are, for ten years from now.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from itertools import zip_longest
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr
from icalendar import Calendar, Component

from tasks_api.domain.calendar_file_lines import find_wrong_line, lines_of_events
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.timestamps import format_timestamp

MAX_FILE_LENGTH = 256 * 1024
MAX_COMPONENTS = 5000
MAX_DEPTH = 4
MAX_RULES = 200
MAX_TIMES_OF_RULE = 1000
HORIZON = timedelta(days=3653)
MIDNIGHT, LAST_SECOND = time_of_day(), time_of_day(23, 59, 59)
# Seconds of computing for all rules of a file.
MAX_COMPUTE_SECONDS = 1.0
_ZONE_RULES = re.compile(
    r"^BEGIN:VTIMEZONE\s*$.*?^END:VTIMEZONE\s*$\n?", re.M | re.S | re.I
)
_MARK = re.compile(r"^(BEGIN|END):", re.M | re.I)
# What a rule of each frequency may say: with more, it may be true on no day at all, and
# the search for that day would go on to the end of the calendar.
_ALLOWED = {
    "DAILY": {"INTERVAL", "COUNT", "UNTIL", "WKST"},
    "WEEKLY": {"INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY"},
    "MONTHLY": {"INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTHDAY"},
    "YEARLY": {"INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTHDAY", "BYMONTH"},
}


class FileContent(NamedTuple):
    """The days and ranges of a file, as the content of a calendar has them."""

    dates: list[str]
    ranges: list[dict[str, str]]


def read_file(text: object, zone: str, now: datetime) -> FileContent:
    """Return the days and spans of the events of a file. Raises InvalidTask for `ics`.

    Times without a zone are those of `zone`.
    """
    dates: list[str] = []
    ranges: list[dict[str, str]] = []
    budget = time.thread_time() + MAX_COMPUTE_SECONDS
    rules = 0
    checked = _checked(text)
    lines = lines_of_events(str(text))
    for event, line in zip_longest(_events(checked, str(text)), lines):
        if event is None:
            break
        if event.get("RRULE") is not None:
            rules += 1
            if rules > MAX_RULES or time.thread_time() > budget:
                _refuse("has too many rules of repetition")
        try:
            for start, end in _occurrences(event, zone, now):
                _add(start, end, dates, ranges)
        except InvalidTask as error:
            raise InvalidTask("ics", f"{error}{_place(line)}") from None
        except Exception as error:  # noqa: BLE001 (the library raises anything for a hostile file)
            _refuse(
                f"has an event that cannot be read ({type(error).__name__}){_place(line)}"
            )
    return FileContent(sorted(set(dates)), ranges)


def _place(line: int | None) -> str:
    return "" if line is None else f": it begins in line {line}"


def _refuse(why: str) -> Any:
    raise InvalidTask("ics", f"Invalid value of ics. The file {why}")


def _checked(text: object) -> str:
    """Return the text with whole lines and without rules of time zones."""
    if not isinstance(text, str) or not text.strip():
        _refuse("should be the text of an ICS file")
    assert isinstance(text, str)
    if len(text) > MAX_FILE_LENGTH:
        _refuse(f"has more than {MAX_FILE_LENGTH} characters")
    lines = re.sub(r"\n[ \t]", "", text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = _ZONE_RULES.sub("", lines)
    if "BEGIN:VTIMEZONE" in lines.upper():
        _refuse("has a time zone that does not end")
    depth = 0
    for number, mark in enumerate(_MARK.finditer(lines)):
        depth += 1 if mark[1].upper() == "BEGIN" else -1
        if depth > MAX_DEPTH or number > 2 * MAX_COMPONENTS:
            _refuse("has too many components")
    return lines


def _events(text: str, written: str) -> Iterator[Component]:
    """Yield the events of a text, which stands in other lines in the file as written."""
    try:
        read = Calendar.from_ical(text)
    except Exception:  # noqa: BLE001 (the library raises anything for a hostile file)
        line = find_wrong_line(written)
        place = "" if line is None else f": line {line} cannot be read"
        _refuse(f"should be the text of an ICS file{place}")
    yield from read.walk("VEVENT")


def _occurrences(
    event: Component, zone: str, now: datetime
) -> Iterator[tuple[date, date]]:
    """Yield the starts and ends of an event: days, or moments. An end is not included."""
    start = _moment(event, "DTSTART", zone)
    if start is None:
        _refuse("has an event without a start")
    assert start is not None
    length = _length(event, start, zone)
    if length <= timedelta():
        return
    left_out = {_aware(each, zone) for each in _listed(event, "EXDATE")}
    starts = [*_repeated(event, start, now), *_listed(event, "RDATE")]
    for each in starts:
        at = _aware(each, zone)
        if at not in left_out:
            yield at, at + length


def _moment(event: Component, name: str, zone: str) -> date | None:
    value = event.get(name)
    return None if value is None else _aware(value.dt, zone)


def _aware(moment: date, zone: str) -> date:
    if isinstance(moment, datetime) and moment.tzinfo is None:
        return moment.replace(tzinfo=ZoneInfo(zone))
    return moment


def _length(event: Component, start: date, zone: str) -> timedelta:
    end = _moment(event, "DTEND", zone)
    if end is not None:
        if isinstance(end, datetime) != isinstance(start, datetime):
            _refuse("has an event from a day to a time")
        return end - start
    if (duration := event.get("DURATION")) is not None:
        found: timedelta = duration.dt
        return found
    return timedelta(0 if isinstance(start, datetime) else 1)


def _listed(event: Component, name: str) -> list[date]:
    value = event.get(name, [])
    lists = value if isinstance(value, list) else [value]
    found = [each.dt for given in lists for each in given.dts]
    if len(found) > MAX_TIMES_OF_RULE:
        _refuse(f"has an event with more than {MAX_TIMES_OF_RULE} times")
    # A period has its start first.
    return [each[0] if isinstance(each, tuple) else each for each in found]


def _repeated(event: Component, start: date, now: datetime) -> list[date]:
    """Return the starts of an event by its rule, up to the horizon."""
    rule = event.get("RRULE")
    if rule is None:
        return [start]
    if isinstance(rule, list):
        _refuse("has an event with two rules of repetition")
    parts = dict(rule)
    frequency = str(parts.pop("FREQ", [""])[0])
    if frequency not in _ALLOWED or parts.keys() - _ALLOWED[frequency]:
        _refuse("has a rule of repetition that the service does not follow")
    is_day = not isinstance(start, datetime)
    # The rule is followed by the clock of the event's zone.
    local = datetime.combine(start, MIDNIGHT)
    if isinstance(start, datetime):
        local = start.replace(tzinfo=None)
    parts.pop("UNTIL", None)
    text = rule.to_ical().decode()
    text = re.sub(r"UNTIL=[^;]*;?", "", text).strip(";")
    until = _until(rule, start, now)
    found: list[date] = []
    for each in rrulestr(text, dtstart=local):
        if each > until:
            break
        if len(found) == MAX_TIMES_OF_RULE:
            _refuse(f"has an event with more than {MAX_TIMES_OF_RULE} times")
        found.append(each.date() if is_day else each.replace(tzinfo=_zone(start)))
    return found


def _zone(start: date) -> Any:
    return start.tzinfo if isinstance(start, datetime) else None


def _until(rule: Any, start: date, now: datetime) -> datetime:
    """Return the last local time of a rule: its own end, or the horizon."""
    horizon = (now + HORIZON).replace(tzinfo=None)
    if not rule.get("UNTIL"):
        return horizon
    until = rule["UNTIL"][0]
    if not isinstance(until, datetime):
        until = datetime.combine(until, LAST_SECOND)
    if until.tzinfo is not None:
        until = until.astimezone(_zone(start) or UTC).replace(tzinfo=None)
    return min(horizon, until)


def _add(
    start: date, end: date, dates: list[str], ranges: list[dict[str, str]]
) -> None:
    if isinstance(start, datetime) and isinstance(end, datetime):
        first, last = start.astimezone(UTC), end.astimezone(UTC)
        ranges.append({"from": format_timestamp(first), "to": format_timestamp(last)})
    elif (end - start).days == 1:
        dates.append(start.isoformat())
    else:
        last_day = end - timedelta(days=1)
        ranges.append({"from": start.isoformat(), "to": last_day.isoformat()})
