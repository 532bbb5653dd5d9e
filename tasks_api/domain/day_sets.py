"""Sets of days and of spans of time: what a calendar covers, and until when."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo

MICROSECOND = timedelta(microseconds=1)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# A change that is further away than this many steps is looked for in several goes.
_MAX_STEPS = 32

Ranges = tuple[tuple[int, int], ...]


def merge_ranges(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the same whole numbers as sorted ranges that do not touch."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


@dataclass(frozen=True)
class DaySet:
    """Days as ordinals: ranges with both ends, and whole weekdays, of which Monday is 0."""

    ranges: Ranges = ()
    weekdays: frozenset[int] = frozenset()

    def covers(self, day: int) -> bool:
        return (day - 1) % 7 in self.weekdays or self._range_at(day) is not None

    def change_after(self, day: int) -> int | None:
        """Return a day after this one up to which all days are covered, or none is.

        None means that no later day is different.
        """
        if not self.covers(day):
            return self._first_covered_after(day)
        if len(self.weekdays) == len(WEEKDAYS):
            return None
        for _ in range(_MAX_STEPS):
            found = self._range_at(day)
            day = (found[1] if found else day) + 1
            if not self.covers(day):
                break
        return day

    def _first_covered_after(self, day: int) -> int | None:
        place = bisect_right(self.ranges, (day, day))
        found = [self.ranges[place][0]] if place < len(self.ranges) else []
        found += [day + 1 + (weekday - day) % 7 for weekday in self.weekdays]
        return min(found, default=None)

    def _range_at(self, day: int) -> tuple[int, int] | None:
        place = bisect_right(self.ranges, (day, date.max.toordinal() + 1)) - 1
        if place < 0 or self.ranges[place][1] < day:
            return None
        return self.ranges[place]


@dataclass(frozen=True)
class CalendarDays:
    """One version of a calendar: days by the clock of its zone, and spans of time.

    Spans are sorted, do not touch, and do not include their ends.
    """

    version_id: int
    calendar_id: int
    name: str
    number: int
    zone: str
    days: DaySet
    spans: tuple[tuple[datetime, datetime], ...] = ()

    def __hash__(self) -> int:
        # A version never changes, and its days may be many.
        return hash(self.version_id)

    @classmethod
    def from_content(
        cls,
        content: Mapping[str, Any],
        holidays: Iterable[str],
        *,
        version_id: int,
        calendar_id: int,
        name: str,
        number: int,
        zone: str,
    ) -> Self:
        """Return the calendar of stored content, and of the holidays of its country."""
        clock = ZoneInfo(zone)
        dates = [date.fromisoformat(day).toordinal() for day in content["dates"]]
        dates += [date.fromisoformat(day).toordinal() for day in holidays]
        ranges = [(day, day) for day in dates]
        spans = []
        for each in content["ranges"]:
            if is_span(each):
                spans.append(
                    (_instant(each["from"], clock), _instant(each["to"], clock))
                )
            else:
                first, last = (date.fromisoformat(each[end]) for end in ("from", "to"))
                ranges.append((first.toordinal(), last.toordinal()))
        weekdays = frozenset(WEEKDAYS.index(day) for day in content["weekdays"])
        return cls(
            version_id,
            calendar_id,
            name,
            number,
            zone,
            DaySet(merge_ranges(ranges), weekdays),
            _merge_spans(spans),
        )

    def covers(self, moment: datetime) -> bool:
        return self._span_at(moment) is not None or self.days.covers(self._day(moment))

    def change_after(self, moment: datetime) -> datetime | None:
        """Return a later moment up to which all moments are covered, or none is.

        None means that no later moment is different.
        """
        day = self._day(moment)
        changes = self.days.change_after(day)
        midnight = None if changes is None else self._midnight(changes, moment)
        span = self._span_at(moment)
        if not self.days.covers(day):
            if span is not None:
                return span[1]
            starts = [start for start, _ in self.spans if start > moment][:1]
            return min([*starts, *([midnight] if midnight else [])], default=None)
        if midnight is None:
            return None
        return max(midnight, span[1]) if span else midnight

    def _day(self, moment: datetime) -> int:
        return moment.astimezone(ZoneInfo(self.zone)).toordinal()

    def _span_at(self, moment: datetime) -> tuple[datetime, datetime] | None:
        place = bisect_right(self.spans, moment, key=lambda span: span[0]) - 1
        if place < 0 or self.spans[place][1] <= moment:
            return None
        return self.spans[place]

    def _midnight(self, day: int, after: datetime) -> datetime | None:
        """Return the first moment of a day; None if that lies beyond all calendars."""
        try:
            local = datetime.combine(date.fromordinal(day), time(), ZoneInfo(self.zone))
            # A clock that is put back at midnight shows it twice.
            passes = [local.replace(fold=fold).astimezone(UTC) for fold in (0, 1)]
        except (OverflowError, ValueError):
            return None
        later = [each for each in passes if each > after]
        return min(later, default=after + MICROSECOND)


def is_span(each: Mapping[str, str]) -> bool:
    """Return whether a range of stored content is one of moments, and not of days."""
    return "T" in each["from"]


def _instant(text: str, clock: ZoneInfo) -> datetime:
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=clock)).astimezone(UTC)


def _merge_spans(
    spans: Iterable[tuple[datetime, datetime]],
) -> tuple[tuple[datetime, datetime], ...]:
    merged: list[tuple[datetime, datetime]] = []
    for first, last in sorted(span for span in spans if span[0] < span[1]):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)
