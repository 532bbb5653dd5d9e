"""Intervals that are too short pause their task, and crowds of missed fire times are one row."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from celery import current_app
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Cron, Interval, Schedule
from tasks_api.domain.specs import Misfire, Surface, TaskSpec
from tasks_api.domain.states import RunState, Stage
from tasks_api.models import Run, Task
from tasks_api.scheduler.beat import TenantScheduler
from tasks_api.services import pausing, reconciliation, removal, tasks
from tasks_api.services.account import Account, FireTimeOutcome
from tasks_api.storage import schedule_changes
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    TARGET,
    run_states,
    store_task,
    take_due,
)

pytestmark = pytest.mark.django_db(transaction=True)

# A little more than ten thousand seconds.
LONG = timedelta(seconds=12_345)


@pytest.fixture
def beat() -> TenantScheduler:
    return TenantScheduler(app=current_app)


@pytest.mark.parametrize("period", ["microseconds", "seconds"])
def test_an_interval_that_is_too_short_pauses_its_task(
    user: User, beat: TenantScheduler, period: str
) -> None:
    task = store_task(user, Interval(timezone.now() + HOUR, HOUR))
    row = PeriodicTask.objects.get(pk=task.periodic_task_id)
    row.interval = IntervalSchedule.objects.create(every=3, period=period)
    row.start_time = None
    row.save()

    beat.tick()
    beat.tick()

    task.refresh_from_db()
    row.refresh_from_db()
    assert "4 s are the least between two fires" in task.pause_reason
    assert (task.next_fire_at, row.enabled, run_states(task)) == (None, False, [])


def test_a_too_short_interval_written_past_the_api_pauses_when_it_is_due(
    user: User, beat: TenantScheduler
) -> None:
    task = store_task(user, Interval(timezone.now(), HOUR))
    every = IntervalSchedule.objects.create(every=5, period="microseconds")
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(interval=every)

    take_due()

    task.refresh_from_db()
    assert "5e-06 s" in task.pause_reason
    assert (task.next_fire_at, run_states(task)) == (None, [])


def test_a_resume_does_not_start_what_is_too_short(
    user: User, settings: LazySettings
) -> None:
    task = store_task(user, Interval(timezone.now() + HOUR, 10 * SECOND))
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    settings.SCHEDULER_MIN_FREQUENCY = 60

    pausing.resume_tasks(user, [str(task.pk)], now=timezone.now())

    task.refresh_from_db()
    assert "60 s are the least" in task.pause_reason
    assert task.next_fire_at is None


def test_an_every_of_the_cron_jobs_may_be_short_and_is_resumed(user: User) -> None:
    task = tasks.create_task(
        user,
        TaskSpec(Surface.CRON_JOBS, TARGET, Interval(timezone.now(), SECOND), "{}"),
        now=timezone.now(),
    )
    for verb in (pausing.pause_tasks, pausing.resume_tasks):
        verb(user, [str(task.pk)], now=timezone.now())

    task.refresh_from_db()
    assert (task.pause_reason, task.next_fire_at is None) == ("", False)


def down_since(owner: User, kind: str, misfire: Misfire = Misfire.LATEST) -> Task:
    """A task of every second that no worker has looked at for a long time."""
    start = clock.now().replace(microsecond=0) - LONG
    schedules: dict[str, Schedule] = {
        "interval": Interval(start, SECOND),
        "cron": Cron("* * * * *", "Europe/Berlin", start, seconds="*"),
    }
    spec = TaskSpec(Surface.TASKS, TARGET, schedules[kind], "{}", misfire=misfire)
    task = tasks.create_task(owner, spec, now=start)
    before = start - SECOND
    Task.objects.filter(pk=task.pk).update(created_at=before, next_fire_at=start)
    return task


def account_of(owner: User, task: Task, since: datetime) -> Account:
    found = reconciliation.reconcile(owner, task.pk, since=since, until=None)
    assert (found.balance, found.missing, found.unplanned) == (0, 0, 0)
    return found


@pytest.mark.parametrize("kind", ["interval", "cron"])
@pytest.mark.parametrize("misfire", [Misfire.LATEST, Misfire.ALL])
def test_many_missed_fire_times_are_one_run_that_says_how_many(
    user: User, kind: str, misfire: Misfire
) -> None:
    task = down_since(user, kind, misfire)

    first = take_due()

    [run] = Run.objects.all()
    assert (first, run.state) == ([], RunState.MISSED)
    assert run.reason.startswith("12,")
    assert "fire times, up to" in run.reason
    for _ in range(3):
        take_due()
    fired = Run.objects.exclude(state=RunState.MISSED)
    assert fired.filter(scheduled_for__lte=clock.now()).count() >= (100 if misfire == Misfire.ALL else 1)  # fmt: skip
    assert Run.objects.filter(state=RunState.MISSED).count() < 20
    found = account_of(user, task, run.scheduled_for - SECOND)
    assert found.outcomes[FireTimeOutcome.MISSED] > 12_000
    # A part of it alone is explained as well.
    part = account_of(user, task, run.scheduled_for + HOUR)
    assert part.planned == pytest.approx(found.planned - 3600, abs=5)


@pytest.mark.parametrize("kind", ["interval", "cron"])
def test_many_that_a_removal_cut_off_are_one_run(user: User, kind: str) -> None:
    task = down_since(user, kind)
    removal.remove_task(user, str(task.pk), now=timezone.now())

    while schedule_changes.settle_open_changes():
        pass

    missed = Run.objects.filter(task=task, state=RunState.MISSED)
    assert missed.count() == 1
    assert missed.get().reason.startswith("12,")
    assert Run.objects.filter(task=task, state=RunState.CANCELLED).count() == 1
    found = account_of(user, task, missed.get().scheduled_for)
    assert found.outcomes[FireTimeOutcome.MISSED] > 12_000


def test_the_covering_runs_of_a_task_are_found_by_index(user: User) -> None:
    task = store_task(user, Interval(timezone.now() + HOUR, HOUR))
    now = timezone.now()
    Run.objects.bulk_create(
        Run(
            pk=id_for(now - number * HOUR, user.pk),
            task=task,
            tenant=task.tenant,
            scheduled_for=now - number * HOUR,
            state=RunState.MISSED,
            finished_at=now,
            # One run in a thousand stands for several fire times.
            stage=Stage.LATE,
            covers_until=None if number % 1000 else now - number * HOUR + HOUR,
        )
        for number in range(3000)
    )

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_api_run")
        cursor.execute(
            "EXPLAIN SELECT scheduled_for FROM tasks_api_run"
            " WHERE task_id = %s AND covers_until >= now()",
            [task.pk],
        )
        plan = " ".join(row[0] for row in cursor.fetchall())

    assert "run_covers" in plan
