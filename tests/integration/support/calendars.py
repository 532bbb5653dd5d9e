"""Calendars that tests store, and tasks that follow them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.utils import timezone

from accounts.models import User
from tasks_api.domain.calendars import CalendarChoice
from tasks_api.domain.schedules import Schedule
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Calendar, Task
from tasks_api.services import calendars, tasks
from tasks_api.services.calendars import EMPTY_CONTENT, CalendarContent
from tests.integration.support.stored_tasks import TARGET


def content(zone: str = "UTC", **given: Any) -> CalendarContent:
    return CalendarContent(zone, EMPTY_CONTENT | given)


def make_calendar(user: User, name: str, zone: str = "UTC", **given: Any) -> Calendar:
    now = timezone.now()
    return calendars.create_calendar(user, name, content(zone, **given), now=now)


def change_calendar(user: User, name: str, zone: str = "UTC", **given: Any) -> Calendar:
    now = timezone.now()
    return calendars.change_calendar(user, name, content(zone, **given), now=now)


def task_on(
    user: User, schedule: Schedule, choice: CalendarChoice, **more: Any
) -> Task:
    spec = TaskSpec(Surface.TASKS, TARGET, schedule, "{}", calendars=choice)
    task = tasks.create_task(user, replace(spec, **more), now=timezone.now())
    return Task.objects.with_schedule().get(pk=task.pk)
