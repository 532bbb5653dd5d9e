"""Old history goes, in bites; what is young, waits or still fires stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, PeriodicTask

from accounts.models import User
from tasks_api import dispatch, retention
from tasks_api.delivery import leases
from tasks_api.models import Attempt, Run, Task, id_for
from tasks_api.schedules import Interval, Once
from tasks_api.states import RunState
from tests.integration.test_dispatch import HOUR, SECOND, store

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(days=40)


def finished(task: Task, ago: timedelta) -> Run:
    moment = timezone.now() - ago
    run = Run.objects.create(
        id=id_for(moment, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=moment,
        state=RunState.SUCCEEDED,
        finished_at=moment,
    )
    Attempt.objects.create(run=run, number=1, started_at=moment, duration_ms=1)
    return run


def test_old_runs_go_with_their_attempts_and_young_ones_stay(user: User) -> None:
    task = store(user, Interval(timezone.now() + HOUR, HOUR, None))
    for day in range(5):
        finished(task, LONG_AGO + timedelta(days=day))
    young = finished(task, timedelta(days=3))

    retention.prune(now=timezone.now())

    assert [run.pk for run in Run.objects.all()] == [young.pk]
    assert [attempt.run_id for attempt in Attempt.objects.all()] == [young.pk]


def test_more_than_one_bite_is_taken(user: User, monkeypatch) -> None:
    monkeypatch.setattr(retention, "BITE", 2)
    task = store(user, Interval(timezone.now() + HOUR, HOUR, None))
    for day in range(7):
        finished(task, LONG_AGO + timedelta(days=day))

    retention.prune(now=timezone.now())

    assert not Run.objects.exists()


def test_an_ended_task_goes_with_its_schedule_and_a_living_one_stays(
    user: User,
) -> None:
    ended = store(user, Once(timezone.now() + HOUR))
    old = timezone.now() - LONG_AGO
    Task.objects.filter(pk=ended.pk).update(ended_at=old, next_fire_at=None)
    living = store(user, Once(timezone.now() + HOUR))

    retention.prune(now=timezone.now())

    assert [task.pk for task in Task.objects.all()] == [living.pk]
    assert not PeriodicTask.objects.filter(pk=ended.periodic_task_id).exists()
    assert ClockedSchedule.objects.count() == 1


def test_a_task_whose_young_runs_are_kept_stays_with_them(user: User) -> None:
    ended = store(user, Once(timezone.now() + HOUR))
    old = timezone.now() - LONG_AGO
    Task.objects.filter(pk=ended.pk).update(ended_at=old, next_fire_at=None)
    finished(ended, timedelta(days=1))

    retention.prune(now=timezone.now())

    assert Task.objects.filter(pk=ended.pk).exists()


def test_a_run_that_waits_is_never_forgotten(user: User) -> None:
    store(user, Once(timezone.now() - LONG_AGO))
    [run_id] = dispatch.dispatch_due().run_ids

    retention.prune(now=timezone.now() + SECOND)

    assert len(leases.claim([run_id])) == 1
