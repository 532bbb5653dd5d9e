"""The coming fire times of a stored task."""

from __future__ import annotations

from datetime import datetime

from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.fire_times import ComingFireTime, coming_fire_times
from tasks_api.domain.schedules import (
    MICROSECOND,
    Grid,
    Once,
    Schedule,
    grid_of,
)
from tasks_api.models import Task
from tasks_api.storage import stored_schedules


def schedule_of(task: Task) -> Schedule | None:
    """The schedule of a stored task; None if the admin stored an invalid one."""
    try:
        return stored_schedules.schedule_of(task)
    except ScheduleError:
        return None


def written_schedule_of(task: Task) -> Once | Grid | None:
    """The schedule of a stored task without its calendars, as requests give it."""
    schedule = schedule_of(task)
    return None if schedule is None else grid_of(schedule)


def fire_times_of_task(
    task: Task, schedule: Schedule, now: datetime, count: int
) -> list[ComingFireTime]:
    """The next fire times of a stored task, paused or not."""
    if not task.periodic_task.one_off:
        if task.runs_left is not None:
            count = min(count, task.runs_left)
        return list(coming_fire_times(schedule, since=now, count=count))
    if task.last_fire_at is not None and task.last_fire_at <= now:
        return []
    # A one-time task that is late, or whose moment passed in a pause, is still to run.
    since = min(schedule.at - MICROSECOND, now) if isinstance(schedule, Once) else now
    return list(coming_fire_times(schedule, since=since, count=1))
