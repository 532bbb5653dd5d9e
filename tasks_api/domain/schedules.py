"""Schedules and their fire times, in UTC: interval, cron, once, rules, by calendars.

Each kind has one method, `first_from(moment)`: it returns the earliest fire time at or
after a moment, or None if none is left. All other functions use this method.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import takewhile
from typing import NamedTuple
from uuid import UUID

from tasks_api.domain import cron, cron_text, rrule_text
from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.effort import TooMuch, allowance, spend
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.timestamps import format_timestamp

MICROSECOND = timedelta(microseconds=1)
# An end from here on stands for no end, and no offset moves it: the calendar ends here.
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Interval:
    """Fires at start + k·every in elapsed time, up to and including `end`.

    Each fire time lies `offset` after the grid; `start` and `end` are without it.
    """

    start: datetime
    every: timedelta
    end: datetime | None = None
    offset: timedelta = timedelta()

    def first_from(self, moment: datetime) -> datetime | None:
        try:
            start = self.start + self.offset
            # Rounded up, so that a fire time is at or after the moment.
            steps = max(0, -((start - moment) // self.every))
            return _within(start + steps * self.every, self.end, self.offset)
        except OverflowError:
            return None


@dataclass(frozen=True)
class Once:
    """Fires at one moment, even if that has passed."""

    at: datetime

    def first_from(self, moment: datetime) -> datetime | None:
        return self.at if self.at >= moment else None


@dataclass(frozen=True)
class Cron:
    """Fires when local time in `zone` matches the fields; see cron.first_from().

    Each fire time lies `offset` after the match; `start` and `end` are without it.
    """

    expression: str
    zone: str = "UTC"
    start: datetime | None = None
    end: datetime | None = None
    seconds: str = "0"
    years: str = "*"
    dst: cron.Dst = cron.DEFAULT_DST
    offset: timedelta = timedelta()

    def first_from(self, moment: datetime) -> datetime | None:
        moment -= self.offset
        earliest = max(moment, self.start) if self.start else moment
        fields = cron.Fields(self.expression, self.seconds, self.years)
        found = cron.first_from(fields, self.zone, earliest, self.dst)
        try:
            return found and _within(found + self.offset, self.end, self.offset)
        except OverflowError:
            return None

    @property
    def matches(self) -> cron.Matches:
        return cron.matches_of(cron.Fields(self.expression, self.seconds, self.years))

    @property
    def goes_by_the_clock(self) -> bool:
        return cron.goes_by_the_clock(cron.Fields(self.expression))


Part = Interval | Once | Cron | Recurrence
Grid = Interval | Cron | Recurrence | AnyOf[Part]
Schedule = Part | AnyOf[Part] | OnCalendars


def grid_of(schedule: Schedule) -> Once | Grid:
    """Return the schedule as its owner wrote it, without its calendars."""
    if isinstance(schedule, OnCalendars):
        return replace(schedule.grid, offset=schedule.offset)
    return schedule


def _within(
    moment: datetime, end: datetime | None, offset: timedelta
) -> datetime | None:
    return moment if end is None or moment - offset <= end else None


def with_spread(schedule: Schedule, window: int, task_id: UUID) -> Schedule:
    """Return the schedule with an offset within a window of so many seconds.

    The offset follows from the task's id alone: it stays the same after every restart
    and every edit, and is as good as random among tasks.
    """
    if not window or isinstance(schedule, Once):
        return schedule
    number = int.from_bytes(sha256(task_id.bytes).digest()[:8])
    return with_offset(schedule, number % window)


def with_offset(schedule: Schedule, seconds: int) -> Schedule:
    """Return the schedule that fires so many seconds later."""
    if isinstance(schedule, Once):
        return schedule
    return replace(schedule, offset=timedelta(seconds=seconds))


def add_offset(moment: datetime | None, offset: timedelta) -> datetime | None:
    """Return a start or an end as the tables store it, with the offset added."""
    if moment is None or moment >= FOREVER:
        return moment
    return moment + offset


def subtract_offset(moment: datetime | None, offset: timedelta) -> datetime | None:
    """Undo add_offset()."""
    if moment is None or moment - offset >= FOREVER:
        return moment
    return moment - offset


def read_cron(
    text: str,
    *,
    now: datetime,
    zone: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Cron | Interval:
    """Return the schedule of a client's expression, in UTC unless it names a zone.

    `@every` counts from the start, or from now. Raises ScheduleError with a sentence if
    the expression cannot be read, or never fires again.
    """
    read = cron_text.read(text)
    zone = cron_text.known_zone(zone) if zone is not None else None
    if zone and read.zone and zone != read.zone:
        raise ScheduleError(f"It names two time zones, {read.zone} and {zone}.")
    if read.every is not None:
        try:
            first = (start or now) + read.every
        except OverflowError:
            raise ScheduleError("It never fires again.") from None
        schedule: Cron | Interval = Interval(first, read.every, end)
    else:
        assert read.fields is not None
        schedule = Cron(
            read.fields.expression,
            read.zone or zone or "UTC",
            start,
            end,
            seconds=read.fields.seconds,
            years=read.fields.years,
        )
    if first_after(schedule, now) is None:
        raise ScheduleError("It never fires again.")
    return schedule


def least_interval(schedule: Schedule) -> float:
    """Return the least seconds between two fire times."""
    match grid_of(schedule):
        case Interval(every=every):
            return every.total_seconds()
        case Cron(expression=expression, seconds=seconds):
            return cron.least_interval(cron.Fields(expression, seconds))
        case Recurrence(rule=rule, first=first):
            return rrule_text.least_interval(rrule_text.parse(rule), first)
        case AnyOf(schedules=parts):
            # Fire times of two schedules may be closer, but no more of them are so.
            return min(map(least_interval, parts))
    return float("inf")


def first_after(schedule: Schedule, moment: datetime) -> datetime | None:
    """Return the earliest fire time strictly after a moment."""
    return schedule.first_from(moment + MICROSECOND)


def fire_times_between(
    schedule: Schedule, first: datetime, last: datetime
) -> Iterator[datetime]:
    """Yield the fire times from `first` to `last`, both included."""
    if isinstance(schedule, AnyOf):
        yield from _any_between(schedule, first, last)
        return
    at = schedule.first_from(first)
    while at is not None and at <= last:
        yield at
        for moment in _rest_of_week(schedule, at, last):
            yield moment
            at = moment
        at = first_after(schedule, at)


def _any_between(
    schedule: AnyOf[Part], first: datetime, last: datetime
) -> Iterator[datetime]:
    """Merge the fire times of several schedules, and spend a step on each."""
    offset = schedule.offset
    first = max(first - offset, schedule.start) if schedule.start else first - offset
    last = min(last - offset, schedule.end) if schedule.end else last - offset
    streams = (fire_times_between(each, first, last) for each in schedule.schedules)
    before = None
    for at in heapq.merge(*streams):
        spend(1)
        if at != before:
            yield at + offset
        before = at


def _rest_of_week(
    schedule: Schedule, at: datetime, last: datetime
) -> Iterator[datetime]:
    """Yield some fire times right after one, if they are cheap to find."""
    if not isinstance(schedule, Cron | Recurrence):
        return iter(())
    until = last - schedule.offset
    if schedule.end is not None:
        until = min(until, schedule.end)
    since = at + MICROSECOND - schedule.offset
    week = cron.quiet_week(schedule.matches, schedule.zone, since)
    times = takewhile(lambda moment: moment <= until, week)
    return (moment + schedule.offset for moment in times)


# More passed fire times than this at once would rather hurt the target than help its
# tenant.
MAX_CATCH_UP = 100
ENDED_REASON = "Passed while nobody could fire it, and its task has ended since."
TOO_LATE_REASON = "Nobody could fire it within {:g} seconds."


class Missed(NamedTuple):
    """A fire time that passed and gets no run that is sent, with the reason."""

    moment: datetime
    reason: str


@dataclass(frozen=True)
class DueFireTimes:
    """The due fire times, missed or firing, oldest first; and the next fire time."""

    missed: tuple[Missed, ...]
    fires: tuple[datetime, ...]
    next_fire_at: datetime | None

    def limited_to(self, fires: int | None) -> DueFireTimes:
        """Return the same with the oldest of those that fire; the others are still due."""
        if fires is None or len(self.fires) <= fires:
            return self
        return replace(self, fires=self.fires[:fires], next_fire_at=self.fires[fires])


def sort_due(
    schedule: Schedule,
    *,
    since: datetime,
    now: datetime,
    limit: int,
    grace: timedelta | None = None,
    most: int = 1,
) -> DueFireTimes:
    """Sort the due fire times, from `since`, the first without a run, to `now`.

    The newest `most` fire, and the older ones are missed. After the schedule's end, all
    are missed. With a `grace`, fire times that are later than that are missed, too. A
    coming `since` fires as it is. One call sorts at most `limit` + `most` fire times;
    `next_fire_at` is then still due, and the caller sorts the others next time.
    """
    if since > now:
        return DueFireTimes((), (since,), first_after(schedule, since))
    passed = [since]
    upcoming = first_after(schedule, since)
    # With `most` more after them, none of the first `limit` is among the newest.
    while upcoming is not None and upcoming <= now and len(passed) < limit + most:
        passed.append(upcoming)
        upcoming = first_after(schedule, upcoming)
    newest = most
    if len(passed) == limit + most:
        passed, upcoming, newest = passed[:limit], passed[limit], 0
    missed, fires = [], []
    is_over = _is_over(schedule, now)
    for newer, moment in enumerate(reversed(passed)):
        is_late = grace is not None and now - moment > grace
        if is_over or is_late or newer >= newest:
            why = missed_reason(schedule, moment, now, grace, most)
            missed.append(Missed(moment, why))
        else:
            fires.append(moment)
    return DueFireTimes(tuple(reversed(missed)), tuple(reversed(fires)), upcoming)


def _not_newest_reason(most: int) -> str:
    newest = "one is" if most == 1 else f"{most} are"
    return f"Passed while nobody could fire it; only the newest {newest} made up for."


# More passed fire times than this become one run.
MIN_CROWD = 10_000
# The fire times of a cron expression must be counted; this many at once, at most.
MAX_COUNTED = 100_000


class FireTimeCrowd(NamedTuple):
    """Fire times in a row that are too many for a run each."""

    size: int
    first: datetime
    last: datetime

    def reason(self, why: str) -> str:
        return f"{self.size:,} fire times, up to {format_timestamp(self.last)}. {why}"


def find_crowd(
    schedule: Schedule, first: datetime, until: datetime, *, spare: int
) -> FireTimeCrowd | None:
    """Return the fire times from the first up to a moment if they are a crowd.

    The newest `spare` are left out. More fire times may follow after the last one.
    """
    if isinstance(schedule, Once) or until - first < MIN_CROWD * MICROSECOND:
        return None
    if isinstance(schedule, Interval):
        return _crowd_of_interval(schedule, first, until, spare)
    if until - first < timedelta(seconds=MIN_CROWD):
        return None
    newest: deque[datetime] = deque(maxlen=spare + 1)
    count = 0
    with suppress(TooMuch), allowance(MAX_COUNTED, TooMuch):
        for moment in fire_times_between(schedule, first, until):
            newest.append(moment)
            count += 1
    return (
        FireTimeCrowd(count - spare, first, newest[0])
        if count - spare > MIN_CROWD
        else None
    )


def _crowd_of_interval(
    schedule: Interval, first: datetime, until: datetime, spare: int
) -> FireTimeCrowd | None:
    end = add_offset(schedule.end, schedule.offset)
    last = until if end is None else min(until, end)
    count = (last - first) // schedule.every + 1 - spare
    if count <= MIN_CROWD:
        return None
    return FireTimeCrowd(count, first, first + (count - 1) * schedule.every)


def missed_reason(
    schedule: Schedule,
    moment: datetime,
    now: datetime,
    grace: timedelta | None,
    most: int,
) -> str:
    """Return the reason of a missed fire time that is not among the newest."""
    if _is_over(schedule, now):
        return ENDED_REASON
    if grace is not None and now - moment > grace:
        return TOO_LATE_REASON.format(grace.total_seconds())
    return _not_newest_reason(most)


# A fire time at the very end still fires if it is taken at most this much later.
END_GRACE = timedelta(seconds=2)


def _is_over(schedule: Schedule, now: datetime) -> bool:
    schedule = grid_of(schedule)
    if isinstance(schedule, Once):
        return False
    # Subtract from now: an addition to `end` could leave the calendar.
    end, offset = schedule.end, schedule.offset
    return end is not None and now - offset - end > END_GRACE
