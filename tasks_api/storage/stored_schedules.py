"""Convert schedules between the columns of the tables and the domain."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.backends.utils import CursorWrapper

from scheduler_service.db.statements import AnyRow, check_columns
from tasks_api.domain.calendars import (
    MIN_MOVING_INTERVAL,
    CalendarRules,
    OnCalendars,
)
from tasks_api.domain.cron import Dst
from tasks_api.domain.cron_text import known_zone
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedule_parts import dst_of, parts_of, with_dst
from tasks_api.domain.schedules import (
    Cron,
    Grid,
    Interval,
    Once,
    Part,
    Schedule,
    add_offset,
    first_after,
    grid_of,
    least_interval,
    subtract_offset,
)
from tasks_api.domain.specs import Surface
from tasks_api.models import Task
from tasks_api.storage import stored_rules
from tasks_api.storage.calendar_rules import rules_of, rules_to_text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
# The texts of Task.dst.
_DST = {
    Dst(): "",
    Dst(skips_gap=True): "skip first",
    Dst(runs_twice=True): "next_valid both",
    Dst(skips_gap=True, runs_twice=True): "skip both",
}
_DST_OF = {text: dst for dst, text in _DST.items()}


class StoredSchedule(NamedTuple):
    """A task's schedule as the tables hold it, with the names of ScheduleColumns.

    Start and end are fire times: with a spread, they include the offset.
    """

    is_paused: bool = False
    is_one_off: bool = False
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    interval_every: int | None = None
    interval_period: str = ""
    once_at: datetime | None = None
    cron_minute: str = ""
    cron_hour: str = ""
    cron_day_of_month: str = ""
    cron_month_of_year: str = ""
    cron_day_of_week: str = ""
    cron_zone: str = ""
    solar_id: int | None = None
    cron_seconds: str = ""
    cron_years: str = ""
    dst: str = ""
    spread_offset: int = 0
    # What django-celery-beat cannot hold, as JSON; empty: nothing.
    rules: str = ""
    calendars: str = ""
    created_at: datetime = EPOCH


SCHEDULE_COLUMNS = StoredSchedule._fields[: StoredSchedule._fields.index("created_at")]


def fetch_with_schedule(cursor: CursorWrapper, row: type[AnyRow]) -> list[AnyRow]:
    """Fetch rows whose last field is a schedule, which takes the last columns."""
    names = row._fields[:-1]
    check_columns(cursor, names + StoredSchedule._fields)
    return [
        row._make((*values[: len(names)], StoredSchedule._make(values[len(names) :])))
        for values in cursor.fetchall()
    ]


def fires_alike(stored: StoredSchedule, other: StoredSchedule) -> bool:
    """Return whether two schedules fire alike; intervals may differ in their start."""
    if stored.interval_every is not None:
        stored = stored._replace(starts_at=other.starts_at)
    return stored._replace(created_at=other.created_at) == other


def load_schedule(task: Task) -> StoredSchedule:
    row = task.periodic_task
    every, clocked, cron = row.interval, row.clocked, row.crontab
    return StoredSchedule(
        is_paused=not row.enabled,
        is_one_off=row.one_off,
        starts_at=row.start_time,
        ends_at=row.expires,
        interval_every=every and every.every,
        interval_period=every.period if every else "",
        once_at=clocked and clocked.clocked_time,
        cron_minute=cron.minute if cron else "",
        cron_hour=cron.hour if cron else "",
        cron_day_of_month=cron.day_of_month if cron else "",
        cron_month_of_year=cron.month_of_year if cron else "",
        cron_day_of_week=cron.day_of_week if cron else "",
        cron_zone=str(cron.timezone) if cron else "",
        solar_id=row.solar_id,
        cron_seconds=task.cron_seconds,
        cron_years=task.cron_years,
        dst=task.dst,
        spread_offset=task.spread_offset,
        rules=task.rules,
        calendars=task.calendars,
        created_at=task.created_at,
    )


def to_stored(schedule: Schedule, *, created_at: datetime) -> StoredSchedule:
    """Return the columns of a schedule that is not paused."""
    match schedule:
        case OnCalendars(rules=rules):
            stored = to_stored(grid_of(schedule), created_at=created_at)
            return stored._replace(calendars=rules_to_text(rules))
        case Once(at=at):
            return StoredSchedule(is_one_off=True, once_at=at, created_at=created_at)
        case Interval(start=start, every=every, end=end, offset=offset):
            return StoredSchedule(
                starts_at=add_offset(start, offset),
                ends_at=add_offset(end, offset),
                interval_every=every // SECOND,
                interval_period="seconds",
                spread_offset=offset // SECOND,
                created_at=created_at,
            )
        case Cron(start=start, end=end, offset=offset):
            minute, hour, day, month, weekday = schedule.expression.split()
            return StoredSchedule(
                starts_at=add_offset(start, offset),
                ends_at=add_offset(end, offset),
                cron_minute=minute,
                cron_hour=hour,
                cron_day_of_month=day,
                cron_month_of_year=month,
                cron_day_of_week=weekday,
                cron_zone=schedule.zone,
                cron_seconds="" if schedule.seconds == "0" else schedule.seconds,
                cron_years="" if schedule.years == "*" else schedule.years,
                dst=_DST[schedule.dst],
                spread_offset=offset // SECOND,
                created_at=created_at,
            )
        case Recurrence() | AnyOf():
            return _rules_to_stored(schedule, created_at)


def _rules_to_stored(
    schedule: Recurrence | AnyOf[Part], created_at: datetime
) -> StoredSchedule:
    stand_in = to_stored(stored_rules.stand_in_of(schedule), created_at=created_at)
    return stand_in._replace(
        starts_at=add_offset(schedule.start, schedule.offset),
        ends_at=add_offset(schedule.end, schedule.offset),
        dst=_DST[dst_of(schedule) or Dst()],
        spread_offset=schedule.offset // SECOND,
        rules=stored_rules.encode(schedule, _stand_in(stand_in)),
    )


def _stand_in(stored: StoredSchedule) -> str:
    """Return what the tables of django-celery-beat hold of a schedule, as a text."""
    if stored.interval_every is not None:
        return f"every {stored.interval_every} {stored.interval_period}"
    return f"{_expression(stored)} {stored.cron_zone}"


def has_rules(stored: StoredSchedule) -> bool:
    """Whether the rules count: an operator may have replaced what stands in for them."""
    if not stored.rules or stored.once_at is not None:
        return False
    return stored_rules.decode(stored.rules).stand_in == _stand_in(stored)


def to_schedule(stored: StoredSchedule) -> Schedule:
    """Return the schedule of stored columns.

    Raises ScheduleError if the service cannot compute it.
    """
    grid = _to_grid(stored)
    if not stored.calendars or isinstance(grid, Once):
        return grid
    return follow_calendars(grid, rules_of(stored.calendars))


def follow_calendars(grid: Grid, rules: CalendarRules) -> OnCalendars:
    """Return a schedule with calendars. Raises ScheduleError if it fires too often."""
    schedule = OnCalendars(replace(grid, offset=timedelta()), rules, grid.offset)
    if schedule.moves and least_interval(grid) < MIN_MOVING_INTERVAL:
        raise ScheduleError(
            "It fires more often than once an hour, and its fire times should move to "
            "business days."
        )
    return schedule


def _to_grid(stored: StoredSchedule) -> Once | Grid:
    if stored.once_at is not None:
        return Once(stored.once_at)
    offset = timedelta(seconds=stored.spread_offset)
    try:
        start = subtract_offset(stored.starts_at, offset)
        end = subtract_offset(stored.ends_at, offset)
    except OverflowError:
        raise ScheduleError("It begins or ends before the calendar does.") from None
    if has_rules(stored):
        return _schedule_of_rules(stored, start, end, offset)
    if stored.interval_every is not None:
        start = start or stored.created_at - offset
        return Interval(start, _every(stored), end, offset)
    if stored.cron_zone:
        return Cron(
            _expression(stored),
            known_zone(stored.cron_zone),
            start,
            end,
            seconds=stored.cron_seconds or "0",
            years=stored.cron_years or "*",
            dst=_dst_of(stored),
            offset=offset,
        )
    raise ScheduleError("The schedule is neither an interval, a crontab nor clocked.")


def without_start(stored: StoredSchedule, since: datetime) -> StoredSchedule:
    """Return a recurring schedule that began at or before a moment, on the same grid.

    Raises ScheduleError if the service cannot compute it.
    """
    if stored.rules or stored.interval_every is None:
        return stored._replace(starts_at=None)
    start, every = stored.starts_at or stored.created_at, _every(stored)
    steps = max(0, -((since - start) // every))
    return stored._replace(starts_at=start - steps * every)


def _dst_of(stored: StoredSchedule) -> Dst:
    if stored.dst not in _DST_OF:
        text = f"What it does at changes of the clock is unknown: {stored.dst}."
        raise ScheduleError(text)
    return _DST_OF[stored.dst]


def _schedule_of_rules(
    stored: StoredSchedule,
    start: datetime | None,
    end: datetime | None,
    offset: timedelta,
) -> Recurrence | AnyOf[Part]:
    parts = stored_rules.decode(stored.rules).schedules
    schedule = with_dst(AnyOf(parts, start, end, offset), _dst_of(stored))
    assert isinstance(schedule, AnyOf)
    if len(parts) > 1:
        return schedule
    [rule] = schedule.schedules
    assert isinstance(rule, Recurrence)
    return replace(rule, start=start, end=end, offset=offset)


def _every(stored: StoredSchedule) -> timedelta:
    count, period = stored.interval_every or 0, stored.interval_period
    try:
        every = timedelta(**{period: count})
    except (TypeError, OverflowError):
        every = timedelta()
    if every <= timedelta():
        raise ScheduleError(f"Every {count} {period} is not an interval.")
    return every


def _expression(stored: StoredSchedule) -> str:
    fields = (
        stored.cron_minute,
        stored.cron_hour,
        stored.cron_day_of_month,
        stored.cron_month_of_year,
        stored.cron_day_of_week,
    )
    return " ".join("".join(field.split()) for field in fields)


def schedule_of(task: Task) -> Schedule:
    return to_schedule(load_schedule(task))


def refuse_too_often(schedule: Schedule, *, least: int = 1) -> None:
    """Raise ScheduleError if less than so many seconds lie between two fire times."""
    if least == 1 and isinstance(schedule, Cron):
        # A cron expression cannot fire twice in a second.
        return
    if (found := least_interval(schedule)) < least:
        raise ScheduleError(
            f"It fires every {found:g} s, and {least} s are the least between two fires."
        )


def _least(schedule: Schedule, surface: str) -> int:
    """Return the setting for the least seconds between two fire times of a task."""
    least: int = settings.SCHEDULER_MIN_CRON_INTERVAL
    if isinstance(grid_of(schedule), Interval) and surface == Surface.TASKS:
        least = max(least, settings.SCHEDULER_MIN_FREQUENCY)
    return least


def first_fire(
    stored: StoredSchedule,
    *,
    now: datetime,
    last_fire_at: datetime | None,
    surface: str,
) -> datetime | None:
    """Return the next fire time of a task that is new, resumed or edited, or None.

    A one-off fires even if its moment has passed, but only once. Any other schedule
    continues at its next fire time, without catch-up.
    """
    if stored.is_paused:
        return None
    schedule = to_schedule(stored)
    for part in parts_of(schedule):
        refuse_too_often(part, least=_least(part, surface))
    if stored.is_one_off and last_fire_at is not None:
        return None
    if isinstance(schedule, Once):
        is_over = stored.ends_at is not None and schedule.at > stored.ends_at
        return None if is_over else schedule.at
    return first_after(schedule, now)
