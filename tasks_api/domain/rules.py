"""Schedules beyond an interval and a cron expression: recurrence rules, and several at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Generic, Protocol, TypeVar
from zoneinfo import ZoneInfo

from tasks_api.domain import cron, rrule_walk
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.rrule_text import local_until, parse

DAY = timedelta(days=1)
MIN_YEAR = 1900


class Fires(Protocol):
    """What each kind of schedule can do."""

    def first_from(self, moment: datetime) -> datetime | None: ...


Part_co = TypeVar("Part_co", bound=Fires, covariant=True)


@dataclass(frozen=True)
class Recurrence:
    """Fires at the local times of a rule of RFC 5545 in `zone`.

    `first` is its DTSTART, and `last` the last local time that its COUNT or UNTIL allows.
    Each fire time lies `offset` after the rule; `start` and `end` are without it.
    """

    rule: str
    first: datetime
    zone: str = "UTC"
    last: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    dst: cron.Dst = cron.DEFAULT_DST
    offset: timedelta = timedelta()

    def first_from(self, moment: datetime) -> datetime | None:
        # No zone is a day from UTC, so nothing fires before.
        begin = self.first.replace(tzinfo=UTC) - DAY
        earliest = max(moment - self.offset, self.start or begin, begin)
        found = _first_instant(
            self.rule, self.first, self.last, self.zone, earliest, self.dst
        )
        return _within(found, self.end, self.offset)

    @property
    def matches(self) -> cron.Matches:
        return partial(rrule_walk.walk, self.rule, self.first, self.last)

    @property
    def goes_by_the_clock(self) -> bool:
        return rrule_walk.goes_by_the_clock(self.rule)


@dataclass(frozen=True)
class AnyOf(Generic[Part_co]):
    """Fires at each moment at which one of its schedules does, once a moment.

    Each fire time lies `offset` after theirs; `start` and `end` are without it.
    """

    schedules: tuple[Part_co, ...]
    start: datetime | None = None
    end: datetime | None = None
    offset: timedelta = timedelta()

    def first_from(self, moment: datetime) -> datetime | None:
        moment -= self.offset
        earliest = max(moment, self.start) if self.start else moment
        found = filter(None, (each.first_from(earliest) for each in self.schedules))
        return _within(min(found, default=None), self.end, self.offset)


def _within(
    found: datetime | None, end: datetime | None, offset: timedelta
) -> datetime | None:
    if found is None or (end is not None and found > end):
        return None
    try:
        return found + offset
    except OverflowError:
        return None


@lru_cache(maxsize=20_000)
def _first_instant(
    rule: str,
    first: datetime,
    last: datetime | None,
    zone: str,
    moment: datetime,
    dst: cron.Dst,
) -> datetime | None:
    matches = partial(rrule_walk.walk, rule, first, last)
    by_clock = rrule_walk.goes_by_the_clock(rule)
    return cron.first_instant(matches, zone, moment, dst, by_clock=by_clock)


def make_recurrence(rule: str, first: datetime, zone: str) -> Recurrence:
    """Return a recurrence that ends with its rule. Raises ScheduleError with a sentence."""
    if first.year < MIN_YEAR:
        raise ScheduleError(f"Its DTSTART is before {MIN_YEAR}.")
    last = rrule_walk.last_of_count(rule, first) or local_until(parse(rule), zone)
    if last is not None and last < first:
        raise ScheduleError("Its UNTIL is before its DTSTART.")
    made = Recurrence(rule, first, zone, last)
    return Recurrence(rule, first, zone, last, end=last_moment_of(made))


def last_moment_of(recurrence: Recurrence) -> datetime | None:
    """Return the instant after which the rule itself has no times; None if it goes on."""
    if recurrence.last is None:
        return None
    clock = ZoneInfo(recurrence.zone)
    second_pass = recurrence.last.replace(tzinfo=clock, fold=1)
    try:
        first_pass = cron.instant_of(recurrence.last, recurrence.zone)
        return max(first_pass, second_pass.astimezone(UTC))
    except OverflowError:
        return None
