"""When a schedule fires: interval, cron or once, as instants in UTC.

Every kind answers one question, `first_from(moment)`: the earliest fire time at or
after a moment, or None when nothing is left. All the rest follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks_api import cron
from tasks_api.exceptions import ScheduleError

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Interval:
    """Fires at start + k·every in elapsed time, up to and including `end`."""

    start: datetime
    every: timedelta
    end: datetime | None = None

    def first_from(self, moment: datetime) -> datetime | None:
        # Rounded up, so that a fire time is at or after the moment.
        steps = max(0, -((self.start - moment) // self.every))
        try:
            return _within(self.start + steps * self.every, self.end)
        except OverflowError:
            return None


@dataclass(frozen=True)
class Once:
    """Fires at one moment, however long ago it was."""

    at: datetime

    def first_from(self, moment: datetime) -> datetime | None:
        return self.at if self.at >= moment else None


@dataclass(frozen=True)
class Cron:
    """Fires when local time in `zone` matches the fields; see cron.first_from()."""

    expression: str
    zone: str = "UTC"
    start: datetime | None = None
    end: datetime | None = None
    seconds: str = "0"
    years: str = "*"

    def first_from(self, moment: datetime) -> datetime | None:
        earliest = max(moment, self.start) if self.start else moment
        fields = cron.Fields(self.expression, self.seconds, self.years)
        found = cron.first_from(fields, self.zone, earliest)
        return found and _within(found, self.end)


Schedule = Interval | Once | Cron


def _within(moment: datetime, end: datetime | None) -> datetime | None:
    return moment if end is None or moment <= end else None


def read_cron(
    text: str,
    *,
    now: datetime,
    zone: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Cron | Interval:
    """The schedule that a client's expression stands for, in UTC unless it says where.

    `@every` counts from the start, or from now. Raises ScheduleError with a sentence for
    what cannot be read, and for what never fires again.
    """
    read = cron.read(text)
    zone = cron.known_zone(zone) if zone is not None else None
    if zone and read.zone and zone != read.zone:
        raise ScheduleError(f"It names two time zones, {read.zone} and {zone}.")
    if read.every is not None:
        schedule: Cron | Interval = Interval(
            (start or now) + read.every, read.every, end
        )
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


def first_after(schedule: Schedule, moment: datetime) -> datetime | None:
    """The earliest fire time strictly after a moment."""
    return schedule.first_from(moment + MICROSECOND)


@dataclass(frozen=True)
class Due:
    """What became due at once: which fire times are lost, which one runs, what is next."""

    missed: tuple[datetime, ...]
    fire: datetime | None
    next_fire_at: datetime | None


def due(
    schedule: Schedule,
    *,
    since: datetime,
    now: datetime,
    limit: int,
    grace: timedelta | None = None,
) -> Due:
    """Sort out what became of the fire times from `since`, the first open one, to `now`.

    The newest one fires and the older ones are missed: at most one run catches up,
    and none after the schedule's end. With a `grace`, none catches up: what is later
    than that is missed. A `since` that is still to come fires as it is. At most `limit`
    fire times are looked at; the others come with the next call, because `next_fire_at`
    is then still due.
    """
    if since > now:
        return Due((), since, first_after(schedule, since))
    passed = [since]
    upcoming = first_after(schedule, since)
    while upcoming is not None and upcoming <= now and len(passed) < limit:
        passed.append(upcoming)
        upcoming = first_after(schedule, upcoming)
    more_passed = upcoming is not None and upcoming <= now
    is_late = grace is not None and now - passed[-1] > grace
    if more_passed or is_late or _is_over(schedule, now):
        return Due(tuple(passed), None, upcoming)
    return Due(tuple(passed[:-1]), passed[-1], upcoming)


# A fire time at the very end still runs when its turn comes this much later.
END_GRACE = timedelta(seconds=2)


def _is_over(schedule: Schedule, now: datetime) -> bool:
    match schedule:
        case Once():
            return False
        case Interval(end=end) | Cron(end=end):
            return end is not None and now > end + END_GRACE
