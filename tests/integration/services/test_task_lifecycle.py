"""Pause, resume, remove and edits win over what is already on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, IntervalSchedule, PeriodicTask
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from tasks_api.domain.exceptions import TaskAccessDenied, TaskNotFound
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.scheduler import dispatch, poll, rescue
from tasks_api.services import admin_edits, finding, manual_runs, pausing, removal
from tasks_api.services import tasks as task_services
from tasks_api.storage import schedule_edits
from tasks_api.storage.task_rows import load_spec
from tasks_api.worker import leases
from tests.integration.support.stored_tasks import HOUR, SECOND, run_states, store_task
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


def hourly_task(owner: User, *, starts_in: timedelta = -SECOND) -> Task:
    start = timezone.now() + starts_in
    return store_task(owner, Interval(start, HOUR, start + 9 * HOUR))


def pause_task(task: Task) -> None:
    pausing.pause_tasks(task.owner, [str(task.pk)], now=timezone.now())


def resume_task(task: Task) -> None:
    pausing.resume_tasks(task.owner, [str(task.pk)], now=timezone.now())


def reload(task: Task) -> Task:
    return Task.objects.with_schedule().get(pk=task.pk)


def adopt_all_edits() -> None:
    admin_edits.sync_admin_edits(schedule_edits.find_edited_task_ids(limit=9))


def test_a_paused_task_does_not_fire(user: User) -> None:
    task = hourly_task(user)

    pause_task(task)

    assert dispatch.dispatch_due().run_ids == []
    assert reload(task).coming_fire_time(timezone.now()) is None


def test_pause_wins_over_a_message_that_is_already_sent(user: User) -> None:
    task = hourly_task(user)
    run_ids = dispatch.dispatch_due().run_ids

    pause_task(task)

    assert leases.claim(run_ids) == []
    assert run_states(task) == ["cancelled"]


@pytest.mark.parametrize("state", ["pending", "retrying"])
def test_a_run_by_hand_is_sent_though_the_task_is_paused_before(
    user: User, state: str
) -> None:
    task = hourly_task(user, starts_in=HOUR)
    run_id = manual_runs.fire_task(task.pk, now=timezone.now())
    assert run_id
    Run.objects.filter(pk=run_id).update(state=state)

    pause_task(task)

    assert rescue.wake_runs().run_ids == [run_id]
    [claimed] = leases.claim([run_id])
    assert claimed.run_id == run_id


def test_a_run_by_hand_is_cancelled_by_removal(user: User) -> None:
    task = hourly_task(user, starts_in=HOUR)
    manual_runs.fire_task(task.pk, now=timezone.now())
    pause_task(task)

    removal.remove_task(user, str(task.pk), now=timezone.now())

    assert run_states(task) == ["cancelled"]


def test_a_run_by_hand_outlives_another_moment_of_its_one_off(
    user: User,
) -> None:
    task = store_task(user, Once(timezone.now() + HOUR))
    run_id = manual_runs.fire_task(task.pk, now=timezone.now())

    moved = replace(load_spec(task), schedule=Once(timezone.now() + 2 * HOUR))
    now = timezone.now()
    with transaction.atomic():
        locked = finding.lock_task(user, str(task.pk), surface=Surface.TASKS, now=now)
        task_services.change_task(user, locked, moved, now=now)

    assert [run.pk for run in Run.objects.filter(task=task)] == [run_id]


def test_a_run_under_way_survives_pause_and_removal(user: User) -> None:
    task = hourly_task(user)
    leases.claim(dispatch.dispatch_due().run_ids)

    pause_task(task)
    removal.remove_task(user, str(task.pk), now=timezone.now())

    assert run_states(task) == ["running"]


def test_resume_continues_at_the_next_grid_point(user: User) -> None:
    task = hourly_task(user, starts_in=-3.5 * HOUR)
    pause_task(task)

    resume_task(task)

    assert dispatch.dispatch_due().run_ids == []
    start = reload(task).periodic_task.start_time
    assert reload(task).next_fire_at == start + 4 * HOUR


def test_a_pause_around_the_moment_of_looking_ahead_loses_no_fire_time(
    user: User,
) -> None:
    task = hourly_task(user, starts_in=0.9 * SECOND)
    dispatch.dispatch_due()

    pause_task(task)
    assert run_states(task) == []
    resume_task(task)

    assert len(dispatch.dispatch_due().run_ids) == 1


def test_pausing_twice_and_resuming_what_runs_change_nothing(user: User) -> None:
    task = hourly_task(user, starts_in=HOUR)
    before = reload(task).next_fire_at

    resume_task(task)
    assert reload(task).next_fire_at == before
    pause_task(task)
    pause_task(task)

    assert reload(task).next_fire_at is None


def test_a_one_off_that_was_due_while_paused_runs_once_on_resume(user: User) -> None:
    task = store_task(user, Once(timezone.now() + HOUR))
    pause_task(task)
    late = timezone.now() - SECOND
    ClockedSchedule.objects.update(clocked_time=late)

    resume_task(task)

    [run_id] = dispatch.dispatch_due().run_ids
    assert len(leases.claim([run_id])) == 1
    assert dispatch.dispatch_due().run_ids == []


def test_a_dispatched_one_off_waits_out_a_pause(user: User) -> None:
    task = store_task(user, Once(timezone.now() - SECOND))
    [run_id] = dispatch.dispatch_due().run_ids

    pause_task(task)
    assert leases.claim([run_id]) == []
    resume_task(task)

    assert rescue.wake_runs().run_ids == [run_id]
    assert len(leases.claim([run_id])) == 1


def test_a_removed_task_is_gone_and_its_runs_remain(user: User) -> None:
    task = hourly_task(user)
    run_ids = dispatch.dispatch_due().run_ids

    removal.remove_task(user, str(task.pk), now=timezone.now())

    assert leases.claim(run_ids) == []
    assert run_states(task) == ["cancelled"]
    with pytest.raises(TaskNotFound):
        removal.remove_task(user, str(task.pk), now=timezone.now())


@pytest.mark.parametrize("task_id", ["", "nonsense", "\0", "x" * 5000])
def test_an_id_that_is_none_is_not_found(user: User, task_id: str) -> None:
    with pytest.raises(TaskNotFound):
        pausing.pause_tasks(user, [task_id], now=timezone.now())


def test_tasks_of_others_are_refused_and_none_is_touched(
    user: User, stranger: User
) -> None:
    own, foreign = hourly_task(user), hourly_task(stranger)

    with pytest.raises(TaskAccessDenied):
        pausing.pause_tasks(user, [str(own.pk), str(foreign.pk)], now=timezone.now())

    assert reload(own).next_fire_at is not None


def test_pause_and_dispatch_at_once_leave_no_run_that_may_start(user: User) -> None:
    tasks = [hourly_task(user) for _ in range(30)]
    ids = [str(task.pk) for task in tasks]
    verbs: list[Callable[[], object]] = [
        lambda: pausing.pause_tasks(user, ids, now=timezone.now()),
        dispatch.dispatch_due,
        dispatch.dispatch_due,
    ]
    turns = iter(verbs)

    run_in_threads(3, lambda: next(turns)())

    run_ids = list(Run.objects.values_list("pk", flat=True))
    assert leases.claim(run_ids) == []
    assert not Run.objects.filter(state=RunState.PENDING).exists()


def test_bulk_takes_the_same_number_of_statements_for_any_number_of_tasks(
    user: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    ids = [str(hourly_task(user).pk) for _ in range(40)]

    with django_assert_max_num_queries(10):
        pausing.pause_tasks(user, ids, now=timezone.now())
    with django_assert_max_num_queries(10):
        pausing.resume_tasks(user, ids, now=timezone.now())


def test_an_edited_interval_takes_effect_from_its_start(user: User) -> None:
    task = hourly_task(user, starts_in=-10 * SECOND)
    dispatch.dispatch_due()
    row = PeriodicTask.objects.get(pk=task.periodic_task_id)
    row.interval = IntervalSchedule.objects.create(every=7, period="minutes")
    row.save()

    adopt_all_edits()

    assert reload(task).next_fire_at == row.start_time + timedelta(minutes=7)
    assert schedule_edits.find_edited_task_ids(limit=9) == []


def test_an_edited_one_off_forgets_its_old_moment(user: User) -> None:
    task = store_task(user, Once(timezone.now() + 0.9 * SECOND))
    [run_id] = dispatch.dispatch_due().run_ids
    later = timezone.now() + HOUR
    ClockedSchedule.objects.update(clocked_time=later)

    adopt_all_edits()

    assert not Run.objects.filter(pk=run_id).exists()
    assert reload(task).next_fire_at == later


def test_disabling_and_enabling_in_the_admin_is_pause_and_resume(user: User) -> None:
    task = hourly_task(user, starts_in=HOUR)
    row = PeriodicTask.objects.get(pk=task.periodic_task_id)
    row.enabled = False
    row.save()
    adopt_all_edits()
    assert reload(task).next_fire_at is None

    row.enabled = True
    row.save()
    adopt_all_edits()

    assert reload(task).next_fire_at == row.start_time


def test_ours_are_the_only_writes_that_do_not_announce_themselves(user: User) -> None:
    before = poll.find_work(at_most=1).edited_at

    task = hourly_task(user)
    pause_task(task)
    resume_task(task)
    dispatch.dispatch_due()
    assert poll.find_work(at_most=1).edited_at == before

    PeriodicTask.objects.get(pk=task.periodic_task_id).save()
    assert poll.find_work(at_most=1).edited_at != before


@pytest.mark.parametrize("many", [2, 40])
def test_tasks_run_by_hand_cost_the_same_however_many(
    user: User,
    stranger: User,
    many: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    tasks = [hourly_task(owner) for owner in (user, stranger) for _ in range(many // 2)]
    now = timezone.now()

    # Two of them begin and end the transaction, and each tenant has an entry.
    with django_assert_num_queries(7):
        made = manual_runs.fire_tasks([task.pk for task in tasks], now=now)

    runs = Run.objects.filter(pk__in=made, by_hand=True)
    assert set(runs.values_list("task", flat=True)) == {task.pk for task in tasks}
    assert manual_runs.fire_tasks([], now=now) == []
