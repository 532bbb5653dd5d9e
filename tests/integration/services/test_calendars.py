"""A calendar moves its tasks when it changes, and accounts know what it was before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.calendars import CalendarChoice, OnExcluded
from tasks_api.domain.day_sets import WEEKDAYS
from tasks_api.domain.exceptions import InvalidState, InvalidTask, TaskBusy
from tasks_api.domain.fire_counts import Buckets
from tasks_api.domain.schedules import Cron, Interval
from tasks_api.domain.tallies import PLANNED, Tally
from tasks_api.models import CalendarVersion, ScheduleChange, Task
from tasks_api.services import calendars, forecast, pausing, tasks
from tasks_api.services.planned_hours import Tallies, count_planned
from tasks_api.services.reconciliation import reconcile
from tasks_api.storage import task_rows
from tests.integration.support.calendars import (
    change_calendar,
    make_calendar,
    task_on,
)
from tests.integration.support.stored_tasks import HOUR, take_due
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NEVER = CalendarChoice(exclude=("always",))


def midnight_after(now: datetime, days: int) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + days * DAY


def test_a_new_version_moves_the_tasks_that_follow_the_calendar(user: User) -> None:
    now = timezone.now()
    make_calendar(user, "closed")
    task = task_on(user, Cron("0 0 * * *"), CalendarChoice(exclude=("closed",)))
    other = task_on(user, Cron("0 0 * * *"), CalendarChoice(), calendars=None)
    tomorrow = midnight_after(now, 1)

    change_calendar(user, "closed", dates=[tomorrow.date().isoformat()])

    moved = Task.objects.get(pk=task.pk)
    assert moved.next_fire_at == tomorrow + DAY
    assert moved.version == task.version + 1
    change = ScheduleChange.objects.get()
    assert (change.task_id, change.what) == (task.pk, "edited")
    assert change.calendars == task.calendars != moved.calendars
    assert Task.objects.get(pk=other.pk).next_fire_at == tomorrow


def test_a_paused_task_follows_the_new_version_when_it_is_resumed(user: User) -> None:
    now = timezone.now()
    make_calendar(user, "closed")
    task = task_on(user, Cron("0 0 * * *"), CalendarChoice(exclude=("closed",)))
    pausing.pause_tasks(user, [str(task.pk)], now=now)
    Task.objects.update(pause_reason="It failed.")
    tomorrow = midnight_after(now, 1)

    change_calendar(user, "closed", dates=[tomorrow.date().isoformat()])

    held = Task.objects.get()
    assert (held.next_fire_at, held.pause_reason) == (None, "It failed.")
    pausing.resume_tasks(user, [str(task.pk)], now=now)
    assert Task.objects.get().next_fire_at == tomorrow + DAY


def test_a_calendar_that_leaves_nothing_is_refused(user: User) -> None:
    make_calendar(user, "always", weekdays=list(WEEKDAYS))

    with pytest.raises(InvalidTask, match="It never fires again") as refusal:
        task_on(user, Interval(timezone.now(), HOUR), NEVER)

    assert refusal.value.field == "calendars"
    assert not Task.objects.exists()


def test_a_task_revives_when_its_calendar_has_days_again(user: User) -> None:
    make_calendar(user, "always")
    task = task_on(user, Interval(timezone.now() + MINUTE, HOUR), NEVER)

    change_calendar(user, "always", weekdays=list(WEEKDAYS))
    without = Task.objects.get().next_fire_at
    change_calendar(user, "always")

    assert without is None
    assert Task.objects.get().next_fire_at == task.next_fire_at


def test_an_unknown_calendar_and_one_of_another_tenant_are_refused(
    user: User, stranger: User
) -> None:
    make_calendar(stranger, "always")

    with pytest.raises(InvalidTask, match="There is no calendar always"):
        task_on(user, Interval(timezone.now(), HOUR), NEVER)


def test_a_calendar_that_tasks_follow_is_not_removed(user: User) -> None:
    now = timezone.now()
    make_calendar(user, "always")
    task_on(user, Interval(now, HOUR), NEVER)

    with pytest.raises(InvalidState, match="1 task follows this calendar"):
        calendars.remove_calendar(user, "always", now=now)

    task = Task.objects.with_schedule().select_related("owner").get()
    with transaction.atomic():
        spec = task_rows.load_spec(task)
        tasks.change_task(user, task, spec, now=now)
    calendars.remove_calendar(user, "always", now=now)
    make_calendar(user, "always")
    assert CalendarVersion.objects.count() == 2


def test_a_change_of_too_many_tasks_is_refused_whole(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calendars, "MAX_TASKS", 1)
    make_calendar(user, "always")
    for _ in range(2):
        task_on(user, Interval(timezone.now(), HOUR), NEVER)

    with pytest.raises(InvalidState, match="More than 1 tasks follow"):
        change_calendar(user, "always", weekdays=["sun"])

    assert CalendarVersion.objects.get().number == 1


def test_no_task_keeps_an_old_version_when_both_change_at_once(user: User) -> None:
    make_calendar(user, "always")

    numbers = count()

    def act() -> None:
        if next(numbers) % 2:
            change_calendar(user, "always", dates=["2030-01-01"])
            return
        try:
            task_on(user, Interval(timezone.now() + HOUR, HOUR), NEVER)
        except TaskBusy:
            return

    run_in_threads(12, act)

    last = CalendarVersion.objects.order_by("-number")[0]
    assert last.number == 7
    texts = set(Task.objects.values_list("calendars", flat=True))
    wanted = f'{{"exclude":[[{last.calendar_id},{last.pk}]]}}'
    assert texts <= {wanted}


def test_the_account_computes_the_past_with_the_version_that_counted(
    user: User,
) -> None:
    now = timezone.now()
    # No fire time is near, so it makes no difference how long the test takes.
    start = now - 2.5 * HOUR
    gap = {
        "from": (start + 50 * MINUTE).isoformat(),
        "to": (start + 70 * MINUTE).isoformat(),
    }
    make_calendar(user, "gap", ranges=[gap])
    task = task_on(user, Interval(start, HOUR), CalendarChoice(exclude=("gap",)))
    Task.objects.update(created_at=start - HOUR)
    take_due()
    before = reconcile(user, task.pk, since=start - HOUR, until=None)

    change_calendar(user, "gap")

    after = reconcile(user, task.pk, since=start - HOUR, until=None)
    assert (before.planned, before.excluded) == (2, 1)
    assert (after.planned, after.excluded) == (2, 1)
    assert before.differences == after.differences == []
    [left] = after.excluded_times
    assert left == (start + HOUR, "gap", 1)


def test_forecast_and_planned_hours_count_what_calendars_let_through(
    user: User,
) -> None:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    start = now + HOUR
    gap = {"from": start.isoformat(), "to": (start + 2 * HOUR).isoformat()}
    make_calendar(user, "gap", "Europe/Berlin", ranges=[gap])
    choice = CalendarChoice(exclude=("gap",))
    for schedule in (
        Interval(start + MINUTE, HOUR),
        Cron("1 * * * *", "Europe/Berlin"),
    ):
        task_on(user, schedule, choice)
        task_on(user, schedule, choice)
        task_on(user, schedule, CalendarChoice(), calendars=None)
    weekly = CalendarChoice(("gap",), on_excluded=OnExcluded.NEXT_BUSINESS_DAY)
    task_on(user, Interval(start + MINUTE, 365 * DAY), weekly)

    buckets = Buckets(start, HOUR, 4)
    found = forecast.make_forecast(user, buckets, by=forecast.Division.NOTHING, now=now)

    assert dict(found.all.coming) == {0: 2, 1: 2, 2: 6, 3: 6}
    day = Buckets(start + DAY, HOUR, 1)
    moved = forecast.make_forecast(user, day, by=forecast.Division.NOTHING, now=now)
    assert dict(moved.all.coming) == {0: 7}
    Task.objects.update(created_at=now - DAY)
    tallies = Tallies(Tally)
    assert user.tenant_id
    count_planned(user.tenant_id, [user.pk], buckets, tallies)
    planned = {at: tally[PLANNED] for (at, _), tally in tallies.items()}
    assert planned == {start + k * HOUR: 2 if k < 2 else 6 for k in range(4)}


def test_holidays_of_a_version_stay_as_they_were_known(user: User) -> None:
    made = make_calendar(
        user, "bavaria", holidays={"country": "DE", "subdivision": "BY"}
    )
    version = calendars.present_version(made)

    assert version.holidays[f"{timezone.now().year + 1}-01-06"]
    # An older release of the library may have known other days.
    CalendarVersion.objects.update(holidays={})
    change_calendar(user, "bavaria", holidays={"country": "DE", "subdivision": "BY"})
    first, second = CalendarVersion.objects.order_by("number")
    assert (first.holidays, second.holidays) == ({}, version.holidays)


def test_days_of_a_calendar_are_whole_or_a_part(user: User) -> None:
    made = make_calendar(
        user,
        "closed",
        "America/New_York",
        dates=["2066-01-04"],
        ranges=[
            {"from": "2066-01-06T02:00:00+00:00", "to": "2066-01-06T08:00:00+00:00"}
        ],
        holidays={"country": "US"},
    )
    version = calendars.present_version(made)

    first = datetime(2066, 1, 1, tzinfo=UTC).date()
    found = list(calendars.covered_days(version, first, first + 7 * DAY))

    assert [(each.day.day, each.is_whole) for each in found] == [
        (1, True),
        (4, True),
        (5, False),
        (6, False),
    ]
    assert [each.holiday for each in found] == ["New Year's Day", None, None, None]
