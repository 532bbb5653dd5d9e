"""Pause, resume, remove and edits win over whatever is not sent yet."""

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
from tasks_api.scheduler import poll, rescue
from tasks_api.services import admin_edits, finding, manual_runs, pausing, removal
from tasks_api.services import tasks as task_services
from tasks_api.storage import schedule_edits
from tasks_api.storage.task_rows import load_spec
from tests.acceptance.harness import eventually
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    give_back,
    ids_of,
    run_states,
    store_task,
    take_due,
    take_waiting,
)
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

    assert take_due() == []
    assert reload(task).coming_fire_time is None


def test_pause_wins_over_a_run_that_waits(user: User) -> None:
    task = hourly_task(user)
    give_back(take_due())

    pause_task(task)

    assert take_waiting() == []
    assert run_states(task) == ["cancelled"]


def test_pause_wins_over_a_run_whose_worker_was_lost(user: User) -> None:
    task = hourly_task(user)
    take_due()

    pause_task(task)
    Run.objects.update(wake_at=timezone.now())

    assert rescue.rescue_runs().ready == 0
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

    assert ids_of(take_waiting()) == [run_id]


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
    take_due()

    pause_task(task)
    removal.remove_task(user, str(task.pk), now=timezone.now())

    assert run_states(task) == ["running"]


def test_resume_continues_at_the_next_grid_point(user: User) -> None:
    task = hourly_task(user, starts_in=-3.5 * HOUR)
    pause_task(task)

    resume_task(task)

    assert take_due() == []
    start = reload(task).periodic_task.start_time
    assert reload(task).next_fire_at == start + 4 * HOUR


def test_a_pause_shortly_before_a_fire_time_loses_none(user: User) -> None:
    task = hourly_task(user, starts_in=2 * SECOND)
    at = reload(task).next_fire_at
    assert at is not None
    assert take_due() == []

    pause_task(task)
    assert take_due() == []
    resume_task(task)

    assert reload(task).next_fire_at == at
    eventually(take_due)
    assert Run.objects.get().scheduled_for == at


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

    assert len(take_due()) == 1
    assert take_due() == []


def test_the_run_of_a_one_off_waits_out_a_pause(user: User) -> None:
    task = store_task(user, Once(timezone.now() - SECOND))
    [run_id] = give_back(take_due())

    pause_task(task)
    assert take_waiting() == []
    resume_task(task)

    assert ids_of(take_waiting()) == [run_id]


def test_a_removed_task_is_gone_and_its_runs_remain(user: User) -> None:
    task = hourly_task(user)
    give_back(take_due())

    removal.remove_task(user, str(task.pk), now=timezone.now())

    assert take_waiting() == []
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


def test_pause_and_workers_at_once_leave_no_run_that_may_start(user: User) -> None:
    tasks = [hourly_task(user) for _ in range(30)]
    ids = [str(task.pk) for task in tasks]

    def take_and_give_back() -> None:
        give_back(take_due())

    verbs: list[Callable[[], object]] = [
        lambda: pausing.pause_tasks(user, ids, now=timezone.now()),
        take_and_give_back,
        take_and_give_back,
    ]
    turns = iter(verbs)

    run_in_threads(3, lambda: next(turns)())

    assert (take_due(), take_waiting()) == ([], [])
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
    take_due()
    row = PeriodicTask.objects.get(pk=task.periodic_task_id)
    row.interval = IntervalSchedule.objects.create(every=7, period="minutes")
    row.save()

    adopt_all_edits()

    assert reload(task).next_fire_at == row.start_time + timedelta(minutes=7)
    assert schedule_edits.find_edited_task_ids(limit=9) == []


def test_an_edited_one_off_forgets_its_old_moment(user: User) -> None:
    task = store_task(user, Once(timezone.now() - SECOND))
    later = timezone.now() + HOUR
    ClockedSchedule.objects.update(clocked_time=later)

    adopt_all_edits()

    assert take_due() == []
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
    before = poll.find_work().edited_at

    task = hourly_task(user)
    pause_task(task)
    resume_task(task)
    take_due()
    assert poll.find_work().edited_at == before

    PeriodicTask.objects.get(pk=task.periodic_task_id).save()
    assert poll.find_work().edited_at != before


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
