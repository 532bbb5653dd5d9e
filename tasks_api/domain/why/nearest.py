"""Find the last fire time before a moment: schedules themselves only look ahead."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from tasks_api.domain.calendars import MAX_SHIFT, OnCalendars
from tasks_api.domain.schedules import (
    MICROSECOND,
    Interval,
    Once,
    Schedule,
    fire_times_between,
)

FIRST_LOOK = timedelta(minutes=1)
# Each look before that goes so many times as far back.
GROWTH = 4


def last_before(
    schedule: Schedule, moment: datetime, floor: datetime
) -> datetime | None:
    """Return the last fire time before a moment, from a floor on; None if there is none."""
    last = moment - MICROSECOND
    if isinstance(schedule, Interval | Once):
        return _last_by_grid(schedule, last, floor)
    if isinstance(schedule, OnCalendars) and schedule.moves:
        return _last_moved(schedule, last, floor)
    look = FIRST_LOOK
    while last >= floor:
        since = floor if last - floor <= look else last - look
        newest = deque(fire_times_between(schedule, since, last), maxlen=1)
        if newest:
            return newest[0]
        last, look = since - MICROSECOND, look * GROWTH
    return None


def _last_moved(
    schedule: OnCalendars, last: datetime, floor: datetime
) -> datetime | None:
    """Look at each fire time of the grid once: any of them may have moved."""
    look, offset = MAX_SHIFT, schedule.offset
    while last >= floor:
        since = max(floor, last - look)
        first, until = since - MAX_SHIFT - offset, last + MAX_SHIFT - offset
        moved = (
            schedule.fate(at).at
            for at in fire_times_between(schedule.grid, first, until)
        )
        found = [at + offset for at in moved if at is not None]
        if inside := [at for at in found if since <= at <= last]:
            return max(inside)
        last, look = since - MICROSECOND, look * GROWTH
    return None


def _last_by_grid(
    schedule: Interval | Once, last: datetime, floor: datetime
) -> datetime | None:
    if isinstance(schedule, Once):
        return schedule.at if floor <= schedule.at <= last else None
    until = last - schedule.offset
    if schedule.end is not None:
        until = min(until, schedule.end)
    if until < schedule.start:
        return None
    steps = (until - schedule.start) // schedule.every
    found = schedule.start + steps * schedule.every + schedule.offset
    return found if found >= floor else None
