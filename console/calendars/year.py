"""A year of a calendar as a grid of months, and the reasons of its days."""

from __future__ import annotations

import calendar as months_of_years
from collections.abc import Iterator
from datetime import date, datetime
from itertools import groupby
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from console.calendars.words import WEEKDAY_NAMES
from tasks_api.domain.day_sets import WEEKDAYS, is_span
from tasks_api.services.calendars import covered_days

FIRST_YEAR, LAST_YEAR = 1970, 9998
# Days with reasons of their own that a page lists.
MAX_LISTED = 200


class Cell(NamedTuple):
    """A day of the grid; `reason` is empty if the calendar does not cover it."""

    day: date
    reason: str = ""
    # It covers only a part of the day.
    is_part: bool = False

    @property
    def css_class(self) -> str:
        if not self.reason:
            return "free"
        return "part" if self.is_part else "covered"


class Month(NamedTuple):
    title: str
    # Weeks from Monday on; None stands before the first day and after the last one.
    weeks: list[list[Cell | None]]


class NamedDays(NamedTuple):
    """Days in a row that a calendar covers for the same reason."""

    first: date
    last: date
    reason: str


class Year(NamedTuple):
    number: int
    months: list[Month]
    covered: int
    # The days that are no whole weekdays, with their reasons.
    named: list[NamedDays]

    @property
    def before(self) -> int | None:
        return self.number - 1 if self.number > FIRST_YEAR else None

    @property
    def after(self) -> int | None:
        return self.number + 1 if self.number < LAST_YEAR else None


def draw_year(version: Any, number: int) -> Year:
    cells = _read_cells(version, number)
    weekdays = {WEEKDAY_NAMES[day] for day in version.content["weekdays"]}
    named = [cell for cell in cells.values() if cell.reason not in weekdays]
    months = [_draw_month(number, month, cells) for month in range(1, 13)]
    return Year(number, months, len(cells), list(_join(named)))


def _draw_month(year: int, month: int, cells: dict[date, Cell]) -> Month:
    weeks = months_of_years.Calendar().monthdatescalendar(year, month)
    rows = [
        [cells.get(day, Cell(day)) if day.month == month else None for day in week]
        for week in weeks
    ]
    return Month(months_of_years.month_name[month], rows)


def _read_cells(version: Any, year: int) -> dict[date, Cell]:
    first, last = date(year, 1, 1), date(year, 12, 31)
    reasons = dict(_reasons(version, first, last))
    return {
        each.day: Cell(
            each.day,
            each.holiday or reasons.get(each.day) or _weekday(each.day),
            is_part=not each.is_whole,
        )
        for each in covered_days(version, first, last)
    }


def _weekday(day: date) -> str:
    return WEEKDAY_NAMES[WEEKDAYS[day.weekday()]]


def _reasons(version: Any, first: date, last: date) -> Iterator[tuple[date, str]]:
    """Yield the days of a year with their reasons; of several, the last one counts."""
    for each in version.content["ranges"]:
        if is_span(each):
            yield from _of_span(each, ZoneInfo(version.zone), first, last)
    for each in version.content["ranges"]:
        if not is_span(each):
            begin, end = map(date.fromisoformat, (each["from"], each["to"]))
            for day in _days(max(begin, first), min(end, last)):
                yield day, f"range {begin} to {end}"
    for text in version.content["dates"]:
        yield date.fromisoformat(text), "single day"


def _of_span(
    each: dict[str, str], clock: ZoneInfo, first: date, last: date
) -> Iterator[tuple[date, str]]:
    begin, end = (
        datetime.fromisoformat(each[name]).astimezone(clock) for name in ("from", "to")
    )
    words = f"from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
    for day in _days(max(begin.date(), first), min(end.date(), last)):
        yield day, words


def _days(first: date, last: date) -> Iterator[date]:
    for ordinal in range(first.toordinal(), last.toordinal() + 1):
        yield date.fromordinal(ordinal)


def _join(cells: list[Cell]) -> Iterator[NamedDays]:
    """Join days in a row that have the same reason."""
    numbered = enumerate(cells)
    for (_, reason), found in groupby(
        numbered, lambda each: (each[1].day.toordinal() - each[0], each[1].reason)
    ):
        days = [cell.day for _, cell in found]
        yield NamedDays(days[0], days[-1], reason)
