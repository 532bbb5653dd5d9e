"""What schedules of all kinds have in common: their parts, their zone, their policies."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.cron import DEFAULT_DST, Dst
from tasks_api.domain.rules import AnyOf, Recurrence, last_moment_of
from tasks_api.domain.schedules import Cron, Once, Part, Schedule, grid_of


def without_spread(schedule: Schedule) -> Schedule:
    """Return the schedule without the offset, `dst` and calendars of its policies."""
    schedule = grid_of(schedule)
    if isinstance(schedule, Once):
        return schedule
    return with_dst(replace(schedule, offset=timedelta()), DEFAULT_DST)


def with_dst(schedule: Schedule, dst: Dst) -> Schedule:
    """Return the schedule with a policy for what it has of fixed local times."""
    match schedule:
        case OnCalendars(grid=grid):
            changed = with_dst(grid, dst)
            assert not isinstance(changed, Once | OnCalendars)
            return replace(schedule, grid=changed)
        case Cron() | Recurrence():
            return replace(schedule, dst=dst)
        case AnyOf(schedules=parts):
            parts = tuple(
                replace(each, dst=dst) if isinstance(each, Cron | Recurrence) else each
                for each in parts
            )
            return replace(schedule, schedules=parts)
    return schedule


def dst_of(schedule: Schedule) -> Dst | None:
    """Return the policy that with_dst() gave; None if nothing is of fixed local times."""
    zoned = (each for each in parts_of(schedule) if isinstance(each, Cron | Recurrence))
    return next((each.dst for each in zoned), None)


def zone_of(schedule: Schedule) -> str:
    """Return the zone whose clock the schedule follows; UTC if it follows none, or several."""
    zones = {
        each.zone for each in parts_of(schedule) if isinstance(each, Cron | Recurrence)
    }
    return zones.pop() if len(zones) == 1 else "UTC"


def parts_of(schedule: Schedule) -> tuple[Part, ...]:
    """Return the schedules of which one is enough to fire."""
    grid = grid_of(schedule)
    return grid.schedules if isinstance(grid, AnyOf) else (grid,)


def last_moment(schedule: Schedule) -> datetime | None:
    """Return a moment after which a schedule has no fire times; None if it goes on.

    The end of several schedules is not counted, but those of each are.
    """
    match schedule:
        case OnCalendars(grid=grid):
            return last_moment(grid)
        case Once(at=at):
            return at
        case AnyOf(schedules=parts):
            lasts = [last_moment(each) for each in parts]
            known = [each for each in lasts if each is not None]
            return max(known) if len(known) == len(lasts) else None
        case Recurrence(end=end):
            ends = [each for each in (end, last_moment_of(schedule)) if each]
            return min(ends, default=None)
    return schedule.end
