"""What a change of a calendar would do to the coming fire times of its tasks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from accounts.models import User
from tasks_api.domain import effort
from tasks_api.domain.calendars import CalendarRules, OnCalendars
from tasks_api.domain.day_sets import CalendarDays
from tasks_api.domain.effort import TooMuch
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.schedules import MICROSECOND, fire_times_between
from tasks_api.models import Calendar, Task
from tasks_api.services import calendars
from tasks_api.services.calendars import CalendarContent
from tasks_api.services.coming import schedule_of
from tasks_api.services.task_details import title_of

# How far a preview looks, and how many fire times of a task it compares: those of a year,
# for a task that fires once a day.
SPAN = timedelta(days=366)
MAX_FIRE_TIMES = 400
MAX_TASKS = 1_000
# Seconds of computing for all tasks, and steps for each schedule of one.
MAX_COMPUTE_SECONDS = 1.0
MAX_STEPS = 100_000


class TaskEffect(NamedTuple):
    """How the coming fire times of a task change; a moved one is dropped and added."""

    task_id: UUID
    # The name that its client gave it, and what people call it.
    name: str
    title: str
    dropped: int
    added: int
    # Fire times whose runs would wait and do not now, and the other way round.
    held: int
    released: int
    # Whether the task has no fire time any more.
    is_over: bool

    @property
    def is_changed(self) -> bool:
        return any((self.dropped, self.added, self.held, self.released))


class CalendarEffect(NamedTuple):
    """What a change does: `compared` of the `tasks` that follow were compared."""

    tasks: int
    compared: int
    until: datetime
    changed: list[TaskEffect]

    @property
    def dropped(self) -> int:
        return sum(each.dropped for each in self.changed)

    @property
    def added(self) -> int:
        return sum(each.added for each in self.changed)

    @property
    def held(self) -> int:
        return sum(each.held for each in self.changed)

    @property
    def released(self) -> int:
        return sum(each.released for each in self.changed)


def preview_change(
    user: User, name: str, wanted: CalendarContent, *, now: datetime
) -> CalendarEffect:
    """Compare the fire times of the coming year before and after a change.

    It changes nothing, and takes about a second at most. Paused tasks count as if they
    went on. Raises CalendarNotFound, and InvalidTask if nobody knows the country.
    """
    assert user.tenant is not None
    calendar = calendars.get_calendar(user.tenant, name)
    after = _days_after(calendar, wanted, now)
    tasks = calendars.tasks_on(calendar).with_schedule().order_by("pk")
    effects = list(_compare(tasks[:MAX_TASKS], after, now))
    changed = [each for each in effects if each.is_changed]
    count = calendars.count_tasks(calendar)
    return CalendarEffect(count, len(effects), now + SPAN, changed)


def _days_after(
    calendar: Calendar, wanted: CalendarContent, now: datetime
) -> CalendarDays:
    return CalendarDays.from_content(
        wanted.content,
        wanted.find_holidays(now),
        # No version has this id.
        version_id=0,
        calendar_id=calendar.pk,
        name=calendar.name,
        number=calendar.version + 1,
        zone=wanted.zone,
    )


def _compare(
    tasks: Iterable[Task], after: CalendarDays, now: datetime
) -> Iterator[TaskEffect]:
    """Yield the effects on tasks, until their time to compute is over."""
    budget = time.thread_time() + MAX_COMPUTE_SECONDS
    for task in tasks:
        if time.thread_time() > budget:
            return
        yield _effect_on(task, after, now)


def _effect_on(task: Task, after: CalendarDays, now: datetime) -> TaskEffect:
    schedule = schedule_of(task)
    if not isinstance(schedule, OnCalendars):
        # An operator has put another kind of schedule in its place.
        return TaskEffect(task.pk, task.name, title_of(task), 0, 0, 0, 0, is_over=False)
    changed = replace(schedule, rules=_with_days(schedule.rules, after))
    limit = MAX_FIRE_TIMES if task.runs_left is None else task.runs_left
    old = _Coming.read(schedule, now, min(limit, MAX_FIRE_TIMES))
    new = _Coming.read(changed, now, min(limit, MAX_FIRE_TIMES))
    until = min(old.until, new.until)
    was, will_be = old.upto(until), new.upto(until)
    held_before = {at for at in was if schedule.rules.held(at)}
    held_after = {at for at in will_be if changed.rules.held(at)}
    return TaskEffect(
        task.pk,
        task.name,
        title_of(task),
        dropped=len(was - will_be),
        added=len(will_be - was),
        held=len(held_after - held_before),
        released=len((held_before - held_after) & will_be),
        is_over=bool(was) and not new.times,
    )


def _with_days(rules: CalendarRules, days: CalendarDays) -> CalendarRules:
    def put(given: tuple[CalendarDays, ...]) -> tuple[CalendarDays, ...]:
        return tuple(
            days if each.calendar_id == days.calendar_id else each for each in given
        )

    return replace(
        rules, exclude=put(rules.exclude), only=put(rules.only), hold=put(rules.hold)
    )


class _Coming(NamedTuple):
    """The coming fire times of a schedule, and the moment up to which they are all."""

    times: list[datetime]
    until: datetime

    @classmethod
    def read(cls, schedule: OnCalendars, now: datetime, limit: int) -> _Coming:
        until, times = now + SPAN, []
        coming = fire_times_between(schedule, now + MICROSECOND, until)
        try:
            with effort.apart(MAX_STEPS, TooMuch):
                for at in islice(coming, limit + 1):
                    times.append(at)
        except (ScheduleError, TooMuch):
            return cls(times, times[-1] if times else now)
        if len(times) <= limit:
            return cls(times, until)
        return cls(times[:limit], times[limit] - MICROSECOND)

    def upto(self, moment: datetime) -> set[datetime]:
        return {at for at in self.times if at <= moment}
