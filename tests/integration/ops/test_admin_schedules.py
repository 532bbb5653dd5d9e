"""Staff see schedules in words, and edit those that only one task has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
)

from accounts.models import User
from tasks_api.domain.schedules import Cron, Interval, Once
from tests.conftest import MakeTask

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def test_a_schedule_is_shown_with_its_seconds_and_years(
    staff: Client, make_task: MakeTask
) -> None:
    make_task(schedule=Cron("30 2 * * *", seconds="15", years="2090-2095"))

    text = staff.get(reverse("admin:tasks_api_task_changelist")).content.decode()

    assert "At 02:30:15, 2090 through 2095, in UTC" in text


def test_schedules_are_shown_in_words(staff: Client, make_task: MakeTask) -> None:
    begin = timezone.now() + HOUR
    make_task(schedule=Interval(begin, timedelta(minutes=90)))
    make_task(schedule=Once(begin))
    make_task(schedule=Cron("0 9 * * MON#1", zone="Europe/Berlin"))

    page = staff.get(reverse("admin:tasks_api_task_changelist")).content.decode()

    assert "Every 1 hour 30 minutes" in page
    assert f"Once, at {begin:%Y-%m-%d %H:%M:%S} UTC" in page
    assert "At 09:00, on the first Monday of the month, in Europe/Berlin" in page
    for needless in ("at seconds", "in years", "m/h/dM"):
        assert needless not in page


def test_a_schedule_that_has_no_words_is_shown_as_it_is_stored(
    staff: Client, make_task: MakeTask
) -> None:
    row = make_task(schedule=Cron("0 9 * * *")).periodic_task
    CrontabSchedule.objects.filter(pk=row.crontab_id).update(minute="61")

    page = staff.get(reverse("admin:tasks_api_task_changelist")).content.decode()

    assert "61 9 * * *" in page


def stored(name: str, pk: object = None) -> str:
    page = f"admin:django_celery_beat_{name}"
    return reverse(f"{page}_change", args=[pk]) if pk else reverse(f"{page}_add")


@pytest.mark.parametrize("kind", ["interval", "crontab"])
def test_a_schedule_that_tasks_share_cannot_be_changed(
    staff: Client, make_task: MakeTask, stranger: User, kind: str
) -> None:
    begin = timezone.now() + HOUR
    schedule = Interval(begin, HOUR) if kind == "interval" else Cron("0 9 * * *")
    own, others = make_task(schedule=schedule), make_task(stranger, schedule=schedule)
    shared = getattr(own.periodic_task, f"{kind}_id")
    assert getattr(others.periodic_task, f"{kind}_id") == shared

    changed = staff.post(
        stored(f"{kind}schedule", shared),
        {"every": 1, "period": "microseconds", "minute": "*", "hour": "*"},
    )
    deleted = staff.post(
        reverse(f"admin:django_celery_beat_{kind}schedule_delete", args=[shared]),
        {"post": "yes"},
    )

    assert (changed.status_code, deleted.status_code) == (403, 403)
    page = staff.get(stored(f"{kind}schedule", shared)).content.decode()
    assert "2 tasks; to give one of them another schedule, choose it there" in page
    form = staff.get(stored("periodictask", own.periodic_task_id)).content.decode()
    assert f"lookup_id_{kind}" in form
    assert f"change_id_{kind}" not in form


def test_adding_a_schedule_that_is_there_gives_that_row(
    staff: Client, make_task: MakeTask
) -> None:
    task = make_task(schedule=Interval(timezone.now() + HOUR, timedelta(seconds=30)))

    staff.post(stored("intervalschedule"), {"every": 30, "period": "seconds"})
    staff.post(stored("intervalschedule"), {"every": 31, "period": "seconds"})

    rows = IntervalSchedule.objects.filter(period="seconds", every__in=[30, 31])
    assert rows.filter(every=30).get().pk == task.periodic_task.interval_id
    assert rows.count() == 2


def test_the_moment_of_one_task_alone_can_be_moved(
    staff: Client, make_task: MakeTask
) -> None:
    task = make_task()
    clocked_id = task.periodic_task.clocked_id

    staff.post(
        stored("clockedschedule", clocked_id),
        {"clocked_time_0": "2090-12-05", "clocked_time_1": "08:00:00"},
    )

    moved = ClockedSchedule.objects.get(pk=clocked_id).clocked_time
    assert moved == datetime(2090, 12, 5, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minute", "day", "weekday"),
    [("0", "LW", "*"), ("0", "L", "*"), ("0", "*", "MON#1"), ("0/5", "*", "*")],
)
def test_whatever_a_cron_expression_may_say_can_be_saved(
    staff: Client, make_task: MakeTask, minute: str, day: str, weekday: str
) -> None:
    task = make_task(schedule=Cron("0 9 * * *"))
    row = task.periodic_task
    fields = {
        "minute": minute,
        "hour": "*",
        "day_of_month": day,
        "month_of_year": "*",
        "day_of_week": weekday,
        "timezone": "UTC",
    }

    added = staff.post(stored("crontabschedule"), fields)
    crontab = CrontabSchedule.objects.get(**fields)
    form = staff.get(stored("periodictask", row.pk)).context["adminform"].form
    values = {name: form[name].value() or "" for name in form.fields}
    values |= {"crontab": crontab.pk, "start_time_0": "", "start_time_1": ""}
    chosen = staff.post(stored("periodictask", row.pk), values)

    assert (added.status_code, chosen.status_code) == (302, 302)
    row.refresh_from_db()
    assert row.crontab_id == crontab.pk


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("minute", "61", "Its minute field is not valid"),
        ("hour", "25", "Its hour field is not valid"),
        ("day_of_month", "0L", "Its day of month field is not valid"),
        ("month_of_year", "13", "Its month field is not valid"),
        ("day_of_week", "MON#6", "Its weekday field is not valid"),
    ],
)
def test_a_cron_expression_that_nobody_can_read_is_refused_by_its_field(
    staff: Client, field: str, text: str, said: str
) -> None:
    fields = {
        "minute": "*",
        "hour": "*",
        "day_of_month": "*",
        "month_of_year": "*",
        "day_of_week": "*",
        "timezone": "UTC",
    }

    page = staff.post(stored("crontabschedule"), {**fields, field: text})

    assert said in page.content.decode()
    assert not CrontabSchedule.objects.filter(**{field: text}).exists()


def test_the_form_of_a_schedule_offers_no_list_of_all_of_them(
    staff: Client, make_task: MakeTask
) -> None:
    task = make_task()
    for _ in range(3):
        make_task()

    page = staff.get(stored("periodictask", task.periodic_task_id)).content.decode()

    for other in ClockedSchedule.objects.exclude(pk=task.periodic_task.clocked_id):
        assert f'value="{other.pk}"' not in page
