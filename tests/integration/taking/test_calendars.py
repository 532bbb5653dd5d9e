"""Workers fire tasks as their calendars say, and hold runs back while a calendar says so."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.domain.calendars import CalendarChoice
from tasks_api.domain.day_sets import WEEKDAYS
from tasks_api.domain.schedules import Cron, Interval
from tasks_api.domain.specs import Overlap
from tasks_api.models import Calendar, Run, Task
from tasks_api.services import held_runs, manual_runs, tasks
from tasks_api.storage import task_rows
from tasks_api.taking import due_tasks, following, leases
from tasks_api.taking.room import Room
from tests.integration.support.calendars import (
    change_calendar,
    make_calendar,
    task_on,
)
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    store_task,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
ALL_DAYS = list(WEEKDAYS)


def today(now: datetime) -> str:
    return WEEKDAYS[now.weekday()]


def span(first: datetime, last: datetime) -> dict[str, str]:
    return {"from": first.isoformat(), "to": last.isoformat()}


def late_interval(every: timedelta = HOUR) -> Interval:
    """An interval with a fire time that has just passed."""
    return Interval(timezone.now() - SECOND, every)


def test_the_statement_takes_a_task_on_calendars_and_moves_it_past_them(
    user: User,
) -> None:
    schedule = late_interval()
    gap = span(schedule.start + MINUTE, schedule.start + 150 * MINUTE)
    make_calendar(user, "gap", ranges=[gap])
    task = task_on(user, schedule, CalendarChoice(exclude=("gap",)))
    following.plan([task.pk])

    taken = due_tasks.take_due(Room(), leases.new_lease(leases.NO_PRESENCE))

    [run] = taken.runs
    assert run.scheduled_for == schedule.start
    task.refresh_from_db()
    assert task.next_fire_at == schedule.start + 3 * HOUR
    # Python forgets the following fire times, so it was the statement.
    assert task.following_fire_times
    assert task.following_fire_times[0] == schedule.start + 4 * HOUR


def test_a_task_without_known_fire_times_is_decided_alike(user: User) -> None:
    schedule = late_interval()
    gap = span(schedule.start + MINUTE, schedule.start + 150 * MINUTE)
    make_calendar(user, "gap", ranges=[gap])
    task = task_on(user, schedule, CalendarChoice(exclude=("gap",)))

    [run] = take_due()

    task.refresh_from_db()
    assert run.scheduled_for == schedule.start
    assert task.next_fire_at == schedule.start + 3 * HOUR
    assert task.following_fire_times is None


def test_the_first_fire_time_is_one_that_calendars_let_through(user: User) -> None:
    now = timezone.now()
    make_calendar(user, "today", weekdays=[today(now), today(now + DAY)])
    left = task_on(user, Cron("* * * * *"), CalendarChoice(exclude=("today",)))
    only = task_on(user, Cron("* * * * *"), CalendarChoice(only=("today",)))

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    assert left.next_fire_at == midnight + 2 * DAY
    assert only.next_fire_at is not None
    assert only.next_fire_at <= now + MINUTE


def test_runs_wait_while_a_calendar_holds_them_and_go_in_order_at_the_pace(
    user: User,
) -> None:
    now = timezone.now()
    end = (now + 2 * HOUR).replace(microsecond=0)
    make_calendar(user, "freeze", ranges=[span(now - HOUR, end)])
    choice = CalendarChoice(hold=("freeze",), pace="20/minute")
    first = [task_on(user, late_interval(), choice) for _ in range(3)]
    assert take_due() == []
    second = [task_on(user, late_interval(), choice) for _ in range(3)]

    assert take_due() == []

    runs = list(Run.objects.order_by("wake_at"))
    assert {run.state for run in runs} == {"pending"}
    assert {run.reason for run in runs} == {"Held by calendar freeze."}
    assert [run.wake_at for run in runs] == [end + k * 3 * SECOND for k in range(6)]
    assert [run.task_id in {task.pk for task in first} for run in runs] == (
        [True] * 3 + [False] * 3
    )
    assert [task.next_fire_at for task in Task.objects.all()].count(None) == 0
    assert len(second) == 3


def test_runs_without_a_pace_go_when_the_hold_ends(user: User) -> None:
    now = timezone.now()
    end = (now + 2 * HOUR).replace(microsecond=0)
    make_calendar(user, "freeze", ranges=[span(now - HOUR, end)])
    for _ in range(3):
        task_on(user, late_interval(), CalendarChoice(hold=("freeze",)))

    take_due()

    assert {run.wake_at for run in Run.objects.all()} == {end}
    assert Calendar.objects.get().next_release_at is None


def test_a_hold_that_is_over_holds_nothing(user: User) -> None:
    now = timezone.now()
    make_calendar(user, "freeze", ranges=[span(now - 2 * HOUR, now - HOUR)])
    task_on(user, late_interval(), CalendarChoice(hold=("freeze",), pace="1/hour"))

    assert len(take_due()) == 1


def test_a_manual_run_is_sent_during_a_hold(user: User) -> None:
    make_calendar(user, "freeze", weekdays=ALL_DAYS)
    soon = Interval(timezone.now() + HOUR, HOUR)
    task = task_on(user, soon, CalendarChoice(hold=("freeze",)))

    assert manual_runs.fire_task(task.pk, now=timezone.now())

    assert [run.task_id for run in take_waiting()] == [task.pk]


def test_runs_that_may_not_overlap_are_skipped_while_one_is_held(user: User) -> None:
    make_calendar(user, "freeze", weekdays=ALL_DAYS)
    choice = CalendarChoice(hold=("freeze",))
    task = task_on(user, late_interval(), choice, overlap=Overlap.SKIP)
    take_due()
    Task.objects.filter(pk=task.pk).update(next_fire_at=timezone.now())

    take_due()

    states = Run.objects.order_by("scheduled_for").values_list("state", flat=True)
    assert list(states) == ["pending", "skipped"]


def hold_runs(user: User, number: int) -> list[Run]:
    make_calendar(user, "freeze", weekdays=ALL_DAYS)
    choice = CalendarChoice(hold=("freeze",), pace="1/minute")
    for _ in range(number):
        task_on(user, late_interval(), choice)
    assert take_due() == []
    return list(Run.objects.order_by("wake_at"))


def test_a_new_version_without_the_hold_lets_runs_go_from_now_on(user: User) -> None:
    runs = hold_runs(user, 3)

    change_calendar(user, "freeze")

    now = clock.read()
    again = list(Run.objects.order_by("wake_at"))
    assert [run.pk for run in again] == [run.pk for run in runs]
    waits = [run.wake_at - now for run in again if run.wake_at]
    assert waits[0] <= timedelta()
    assert [wait - waits[0] for wait in waits] == [k * MINUTE for k in range(3)]
    assert [run.run_id for run in take_waiting()] == [runs[0].pk]


def test_a_new_version_gives_places_by_fire_times(user: User) -> None:
    first, second, third = hold_runs(user, 3)
    # As after workers that took them at the same time, one quicker than the other.
    Run.objects.filter(pk=first.pk).update(
        wake_at=third.wake_at, scheduled_for=first.scheduled_for - SECOND
    )
    Run.objects.filter(pk=third.pk).update(wake_at=first.wake_at)

    change_calendar(user, "freeze")

    again = list(Run.objects.order_by("wake_at").values_list("pk", flat=True))
    assert again[0] == first.pk
    assert set(again[1:]) == {second.pk, third.pk}


def test_held_runs_that_nobody_took_for_an_hour_still_go_at_the_pace(
    user: User,
) -> None:
    runs = hold_runs(user, 3)
    change_calendar(user, "freeze")
    # All workers were killed for an hour, and the places of all runs passed.
    for run in Run.objects.all():
        assert run.wake_at is not None
        Run.objects.filter(pk=run.pk).update(wake_at=run.wake_at - HOUR)

    assert held_runs.spread_out_late() == 3
    assert held_runs.spread_out_late() == 0

    assert [run.run_id for run in take_waiting()] == [runs[0].pk]
    left = Run.objects.filter(state="pending").order_by("wake_at")
    assert [run.pk for run in left] == [run.pk for run in runs[1:]]
    now = clock.read()
    assert all(run.wake_at and run.wake_at > now for run in left)


def test_runs_of_a_task_that_waits_for_no_calendar_any_more_go_at_once(
    user: User,
) -> None:
    runs = hold_runs(user, 2)
    held = runs[1]
    task = Task.objects.with_schedule().select_related("owner").get(pk=held.task_id)

    with transaction.atomic():
        spec = task_rows.load_spec(task)
        tasks.change_task(user, task, spec, now=timezone.now())

    assert held.pk in {run.run_id for run in take_waiting()}
    assert Run.objects.get(pk=runs[0].pk).state == "pending"


def test_places_after_a_hold_leave_out_the_next_hold(user: User) -> None:
    now = timezone.now()
    first, second = (now + HOUR).replace(microsecond=0), now + 2 * HOUR
    second = second.replace(microsecond=0)
    holds = [span(now - HOUR, first), span(first + MINUTE, second)]
    make_calendar(user, "freeze", ranges=holds)
    choice = CalendarChoice(hold=("freeze",), pace="2/minute")
    for _ in range(4):
        task_on(user, late_interval(), choice)

    take_due()

    woken = [run.wake_at for run in Run.objects.order_by("wake_at")]
    half = 30 * SECOND
    assert woken == [first, first + half, second, second + half]


def test_a_task_without_calendars_reads_none(user: User) -> None:
    task = store_task(user, late_interval())

    assert len(take_due()) == 1

    assert Task.objects.get(pk=task.pk).calendars == ""
