"""The tasks that follow a calendar, as people read them."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count

from accounts.models import User
from tasks_api.models import Calendar, Task
from tasks_api.services.task_details import title_of
from tasks_api.storage import calendar_rules


class CalendarUser(NamedTuple):
    """A task that follows a calendar, and by which of its lists."""

    task_id: UUID
    title: str
    # `exclude`, `only` or `hold`.
    lists: tuple[str, ...]
    next_fire_at: datetime | None
    is_paused: bool


class CalendarUsers(NamedTuple):
    """A page of tasks. `after` is the last one if there are more, else None."""

    tasks: list[CalendarUser]
    after: UUID | None


def count_tasks_of_calendars(user: User) -> Counter[int]:
    """Count the living tasks that the user reaches, by the ids of their calendars."""
    following = Task.objects.visible_to(user).on_calendars()
    texts = following.values_list("calendars").annotate(tasks=Count("pk"))
    counts: Counter[int] = Counter()
    for text, tasks in texts.order_by():
        for calendar_id in calendar_rules.calendars_in(text):
            counts[calendar_id] += tasks
    return counts


def find_users_of(
    user: User, calendar: Calendar, *, after: UUID | None, limit: int
) -> CalendarUsers:
    """Return the tasks that the user reaches and that follow a calendar, newest first."""
    mark = calendar_rules.mark_of(calendar.pk)
    own = Task.objects.visible_to(user).select_related("periodic_task")
    found = own.on_calendar(mark).order_by("-pk")
    if after is not None:
        found = found.filter(pk__lt=after)
    rows = list(found[: limit + 1])
    tasks = [_describe(task, calendar) for task in rows[:limit]]
    return CalendarUsers(tasks, tasks[-1].task_id if len(rows) > limit else None)


def _describe(task: Task, calendar: Calendar) -> CalendarUser:
    return CalendarUser(
        task.pk,
        title_of(task),
        calendar_rules.lists_with(task.calendars, calendar.pk),
        task.coming_fire_time,
        not task.periodic_task.enabled,
    )
