"""The heat maps of the calendar: a week by hours, a day by quarters, an hour by minutes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from console.calendar.heat import Cell, Scale, scale_of
from console.calendar.load import Load
from console.calendar.local_hours import LocalHour, hours_of
from console.calendar.query import CalendarQuery
from console.links import runs_url

HOUR, QUARTER, MINUTE = timedelta(hours=1), timedelta(minutes=15), timedelta(minutes=1)


class Row(NamedTuple):
    """A day or an hour. Each place has one cell; two where the clock showed it twice."""

    title: str
    note: str
    url: str
    places: list[list[Cell]]


@dataclass(frozen=True)
class HeatMap:
    columns: Sequence[str]
    rows: list[Row]
    scale: Scale


class Painter:
    """Makes cells of a load, all with the same scale."""

    def __init__(self, query: CalendarQuery, load: Load, now: datetime) -> None:
        self.query, self.load, self.now = query, load, now

    def hour(self, hour: LocalHour, *, span: int = 1) -> Cell:
        """The cell of an hour; it leads to its runs, or to its tasks."""
        past = None if self.load.past is None else self.load.past[hour.start]
        coming = self._coming(hour) if hour.end > self.now else None
        counts = [each for each in (past, coming) if each is not None]
        if coming is None:
            url = runs_url(hour.start, hour.end)
        else:
            url = self.query.tasks_url(hour.start, hour.end)
        title = f"{_span_of(hour)}: {_words(past, coming)}"
        return Cell(sum(counts) if counts else None, title, url, span=span)

    def quarters(self, hour: LocalHour) -> Iterator[Cell]:
        for number in range(4):
            start = hour.start + number * QUARTER
            local = start.astimezone(self.query.zone)
            count = self.load.coming[start]
            title = f"{local:%a %d %b %H:%M}: {count} to come"
            url = self.query.tasks_url(start, start + QUARTER)
            yield Cell(count, title, url)

    def is_to_come(self, hour: LocalHour) -> bool:
        return hour.start > self.now

    def _coming(self, hour: LocalHour) -> int:
        counts = self.load.coming
        in_hour = (hour.start + number * QUARTER for number in range(4))
        return sum(counts[start] for start in in_hour)


def _words(past: int | None, coming: int | None) -> str:
    words = [
        "" if past is None else f"{past} run{'s' * (past != 1)}",
        "" if coming is None else f"{coming} to come",
    ]
    return ", ".join(filter(None, words)) or "not counted"


def _span_of(hour: LocalHour) -> str:
    again = ", again" if hour.is_second_pass else ""
    return f"{hour.begins:%a %d %b %H:%M}-{hour.ends:%H:%M}{again}"


def draw_week(query: CalendarQuery, load: Load, now: datetime) -> HeatMap:
    painter = Painter(query, load, now)
    rows = [_week_row(query, painter, day) for day in query.days]
    return _scaled([f"{hour:02}" for hour in range(24)], rows)


def _week_row(query: CalendarQuery, painter: Painter, day: date) -> Row:
    places: list[list[Cell]] = [[] for _ in range(24)]
    hours = hours_of(day, query.zone)
    for hour in hours:
        places[hour.begins.hour].append(painter.hour(hour))
    url = query.with_(view="day", day=day).url
    return Row(f"{day:%a %d %b}", _note_of(hours), url, places)


def _note_of(hours: list[LocalHour]) -> str:
    return "" if len(hours) == 24 else f"{len(hours)} hours"


def draw_day(query: CalendarQuery, load: Load, now: datetime) -> HeatMap:
    painter = Painter(query, load, now)
    rows = [_day_row(query, painter, hour) for hour in hours_of(query.day, query.zone)]
    return _scaled([":00", ":15", ":30", ":45"], rows)


def _day_row(query: CalendarQuery, painter: Painter, hour: LocalHour) -> Row:
    if painter.is_to_come(hour):
        places = [[cell] for cell in painter.quarters(hour)]
        url = query.tasks_url(hour.start, hour.end)
    else:
        cell = painter.hour(hour, span=4)
        places, url = [[cell]], cell.url
    note = "again" if hour.is_second_pass else ""
    return Row(f"{hour.begins:%H:%M}", note, url, places)


def _scaled(columns: Sequence[str], rows: list[Row]) -> HeatMap:
    """The rows with the levels of their cells, which depend on the highest number."""
    cells = [cell for row in rows for place in row.places for cell in place]
    scale = scale_of([cell.per_place for cell in cells])
    return HeatMap(columns, [_with_levels(row, scale) for row in rows], scale)


def _with_levels(row: Row, scale: Scale) -> Row:
    places = [
        [replace(cell, level=scale.level_of(cell.per_place)) for cell in place]
        for place in row.places
    ]
    return row._replace(places=places)


def draw_minutes(
    counts: Sequence[tuple[datetime, int]], zone: ZoneInfo, query: CalendarQuery
) -> HeatMap:
    """The minutes of an hour or less, ten in a row."""
    cells = [
        Cell(
            count,
            f"{start.astimezone(zone):%H:%M}: {count} to come",
            query.tasks_url(start, start + MINUTE),
        )
        for start, count in counts
    ]
    rows = [
        Row(
            f"{counts[first][0].astimezone(zone):%H:%M}",
            "",
            "",
            [[cell] for cell in cells[first : first + 10]],
        )
        for first in range(0, len(cells), 10)
    ]
    return _scaled([f"+{number}" for number in range(10)], rows)
