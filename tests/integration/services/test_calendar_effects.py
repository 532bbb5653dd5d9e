"""A preview of a change of a calendar says what happens when the change is made."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.calendars import CalendarChoice, OnExcluded
from tasks_api.domain.exceptions import CalendarNotFound, InvalidTask
from tasks_api.domain.schedules import Cron, Interval, Schedule, fire_times_between
from tasks_api.models import Calendar, Task
from tasks_api.services import calendar_effects, pausing
from tasks_api.services.calendar_effects import CalendarEffect
from tasks_api.services.coming import schedule_of
from tests.integration.support.calendars import (
    change_calendar,
    content,
    make_calendar,
    task_on,
)

pytestmark = pytest.mark.django_db

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOON = Cron("0 12 * * *")


def days(*numbers: int) -> list[str]:
    """The days so far from now."""
    return [(timezone.now() + each * DAY).date().isoformat() for each in numbers]


def preview(user: User, **given: Any) -> CalendarEffect:
    now = timezone.now()
    return calendar_effects.preview_change(user, "closed", content(**given), now=now)


def coming(task: Task, until: datetime) -> set[datetime]:
    schedule = schedule_of(Task.objects.with_schedule().get(pk=task.pk))
    assert schedule is not None
    return set(fire_times_between(schedule, timezone.now(), until))


@pytest.mark.parametrize(
    "schedule", [NOON, Cron("30 2 * * MON-FRI", "Europe/Berlin"), Cron("0 6 */2 * *")]
)
@pytest.mark.parametrize("on_excluded", list(OnExcluded))
@pytest.mark.parametrize("list_name", ["exclude", "only"])
def test_a_preview_counts_what_the_change_then_does(
    user: User, schedule: Schedule, on_excluded: OnExcluded, list_name: str
) -> None:
    make_calendar(user, "closed", dates=days(3, 5, 100), weekdays=["sat"])
    lists: dict[str, Any] = {list_name: ("closed",)}
    task = task_on(user, schedule, CalendarChoice(on_excluded=on_excluded, **lists))
    after: dict[str, Any] = {"dates": days(4, 5, 6, 200), "weekdays": ["sat", "sun"]}

    found = preview(user, **after)
    before = coming(task, found.until)
    change_calendar(user, "closed", **after)
    now = coming(task, found.until)

    [effect] = found.changed
    assert effect.dropped == len(before - now)
    assert effect.added == len(now - before)


def test_a_preview_counts_a_day_that_comes_in_and_one_that_goes(user: User) -> None:
    make_calendar(user, "closed", dates=days(3, 4))
    task_on(user, NOON, CalendarChoice(exclude=("closed",)), name="nightly")

    found = preview(user, dates=days(4, 5, 6))

    [effect] = found.changed
    assert (effect.title, effect.dropped, effect.added) == ("nightly", 2, 1)
    assert (found.dropped, found.added, found.held, found.released) == (2, 1, 0, 0)


def test_a_preview_counts_runs_that_would_wait(user: User) -> None:
    make_calendar(user, "closed", dates=days(3, 4))
    task_on(user, NOON, CalendarChoice(hold=("closed",)))

    found = preview(user, dates=days(4, 5, 6))

    assert (found.dropped, found.added, found.held, found.released) == (0, 0, 2, 1)


def test_a_preview_says_that_a_task_never_fires_again(user: User) -> None:
    make_calendar(user, "closed")
    task_on(user, NOON, CalendarChoice(exclude=("closed",)))

    [effect] = preview(
        user, ranges=[{"from": "2020-01-01", "to": "2999-01-01"}]
    ).changed

    assert effect.is_over
    assert effect.dropped in (365, 366)


def test_a_preview_changes_nothing(user: User) -> None:
    make_calendar(user, "closed")
    task = task_on(user, NOON, CalendarChoice(exclude=("closed",)))

    preview(user, dates=days(1, 2, 3))

    assert Calendar.objects.get().version == 1
    assert Task.objects.get().next_fire_at == task.next_fire_at


def test_paused_tasks_and_last_runs_count(user: User) -> None:
    make_calendar(user, "closed")
    choice = CalendarChoice(exclude=("closed",))
    paused = task_on(user, NOON, choice)
    pausing.pause_tasks(user, [str(paused.pk)], now=timezone.now())
    task_on(user, NOON, choice, max_runs=2)

    found = preview(user, dates=days(3, 300))

    assert found.tasks == found.compared == 2
    assert sorted(each.dropped for each in found.changed) in ([1, 2], [2])


def test_a_frequent_task_is_compared_for_as_long_as_it_takes(user: User) -> None:
    make_calendar(user, "closed")
    begin = timezone.now() + HOUR
    task_on(
        user,
        Interval(begin, timedelta(seconds=10)),
        CalendarChoice(exclude=("closed",)),
    )

    assert preview(user, dates=days(200)).changed == []


def test_a_preview_refuses_what_the_change_would(user: User) -> None:
    with pytest.raises(CalendarNotFound):
        preview(user)
    make_calendar(user, "closed")
    with pytest.raises(InvalidTask):
        preview(user, holidays={"country": "XX"})
