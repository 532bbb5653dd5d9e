"""The account of a task: what was planned is what was written down, whatever happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from tasks_api.domain.exceptions import InvalidTask, TaskNotFound
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.models import Run, ScheduleChange, Task
from tasks_api.services import (
    finding,
    manual_runs,
    pausing,
    reconciliation,
    removal,
    tasks,
)
from tasks_api.services.account import Account, FireTimeOutcome
from tasks_api.services.reconciliation import reconcile
from tasks_api.storage import schedule_changes
from tests.integration.support.reconciliation_model import DAY, MINUTE, TARGET, let_pass
from tests.integration.support.stored_tasks import (
    SECOND,
    run_states,
    store_task,
    take_due,
)
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


def past_task(user: User) -> Task:
    """Ten minutes old, with a fire time every minute of them; nobody was there."""
    start = timezone.now() - 10 * MINUTE + 30 * SECOND
    return store_task(user, Interval(start, MINUTE, None))


def account_of(task: Task) -> Account:
    return reconcile(task.owner, task.pk, since=None, until=None)


def settled_states(task: Task) -> list[str]:
    while schedule_changes.settle_open_changes():
        pass
    return run_states(task)


def pause_task(task: Task) -> None:
    pausing.pause_tasks(task.owner, [str(task.pk)], now=timezone.now())


def test_a_pause_after_a_downtime_leaves_a_run_for_every_fire_time(user: User) -> None:
    task = past_task(user)

    pause_task(task)
    before = account_of(task)

    assert settled_states(task) == ["missed"] * 9 + ["cancelled"]
    assert before.outcomes == {FireTimeOutcome.UNDER_WAY: 10}
    assert account_of(task).outcomes == {
        FireTimeOutcome.MISSED: 9,
        FireTimeOutcome.CANCELLED: 1,
    }
    newest = Run.objects.latest("scheduled_for")
    assert newest.reason == "The task was paused before anybody fired it."


def test_a_removal_after_a_downtime_leaves_a_run_for_every_fire_time(
    user: User,
) -> None:
    task = past_task(user)

    removal.remove_task(user, str(task.pk), now=timezone.now())

    assert settled_states(task) == ["missed"] * 9 + ["cancelled"]
    assert account_of(task).balance == 0


def test_an_edit_that_nobody_announced_leaves_a_run_for_every_fire_time(
    user: User,
) -> None:
    task = past_task(user)
    every = IntervalSchedule.objects.create(every=7, period="hours")
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(interval=every)

    take_due()

    assert settled_states(task) == ["missed"] * 9 + ["cancelled"]
    assert [change.what for change in account_of(task).changes] == ["edited"]
    assert account_of(task).balance == 0


def test_a_change_by_its_owner_leaves_a_run_for_every_fire_time(user: User) -> None:
    task = past_task(user)
    start = timezone.now() - 10 * MINUTE
    spec = TaskSpec(Surface.TASKS, TARGET, Interval(start, 7 * SECOND, None), "{}")

    now = timezone.now()
    with transaction.atomic():
        locked = finding.lock_task(user, str(task.pk), surface=Surface.TASKS, now=now)
        tasks.change_task(user, locked, spec, now=now)
    let_pass(task, MINUTE)
    take_due()

    assert settled_states(task)[:10] == ["missed"] * 9 + ["cancelled"]
    assert (account_of(task).balance, account_of(task).differences) == (0, [])


def test_a_long_downtime_is_settled_in_batches(user: User) -> None:
    task = past_task(user)
    pause_task(task)

    turns = [schedule_changes.settle_open_changes(limit=4) for _ in range(4)]

    assert turns == [True, True, False, False]
    assert run_states(task) == ["missed"] * 9 + ["cancelled"]
    assert not ScheduleChange.objects.exclude(open_from=None).exists()


def test_many_beats_settle_without_waiting_for_each_other(user: User) -> None:
    tasks = [past_task(user) for _ in range(8)]
    for task in tasks:
        pause_task(task)

    run_in_threads(4, schedule_changes.settle_open_changes)
    while schedule_changes.settle_open_changes():
        pass

    assert Run.objects.count() == 80


def test_a_one_off_that_was_due_is_cancelled_by_its_removal(user: User) -> None:
    task = store_task(user, Once(timezone.now() - MINUTE))

    removal.remove_task(user, str(task.pk), now=timezone.now())

    assert settled_states(task) == ["cancelled"]
    assert account_of(task).outcomes == {FireTimeOutcome.CANCELLED: 1}


def test_a_one_off_that_waits_in_a_pause_is_cancelled_by_its_removal(
    user: User,
) -> None:
    due, later = (
        store_task(user, Once(timezone.now() + moment)) for moment in (-MINUTE, MINUTE)
    )
    ids = [str(due.pk), str(later.pk)]
    pausing.pause_tasks(user, ids, now=timezone.now())
    assert account_of(due).planned == 0

    for task_id in ids:
        removal.remove_task(user, task_id, now=timezone.now())

    assert settled_states(due) == ["cancelled"]
    assert account_of(due).outcomes == {FireTimeOutcome.CANCELLED: 1}
    assert settled_states(later) == []
    assert account_of(later).planned == 0


def test_closing_takes_the_same_number_of_statements_for_any_number_of_tasks(
    user: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tasks = [past_task(user) for _ in range(30)]

    with transaction.atomic(), django_assert_num_queries(1):
        schedule_changes.record_change(
            [task.pk for task in tasks], ScheduleChange.ChangeKind.PAUSED
        )


def test_spread_fire_times_are_accounted_for_through_a_pause(user: User) -> None:
    start = timezone.now() - 10 * MINUTE
    every = Interval(start, MINUTE, None)
    spec = TaskSpec(Surface.TASKS, TARGET, every, "{}", spread=50)
    task = tasks.create_task(user, spec, now=start)
    offset = Task.objects.get(pk=task.pk).spread_offset * SECOND
    pause_task(task)
    settled_states(task)

    pausing.resume_tasks(user, [str(task.pk)], now=timezone.now())
    let_pass(task, 5 * MINUTE)
    take_due()

    found = reconcile(user, task.pk, since=start - DAY, until=None)
    assert fire_times(task)[0] == start - 5 * MINUTE + offset
    assert (found.planned, found.balance, found.differences) == (
        Run.objects.filter(scheduled_for__lte=found.until).count(),
        0,
        [],
    )


def test_a_run_that_is_gone_is_named(user: User) -> None:
    task = past_task(user)
    take_due()
    lost = Run.objects.filter(task=task).order_by("scheduled_for")[4]
    Run.objects.filter(pk=lost.pk).delete()

    found = account_of(task)

    [difference] = found.differences
    assert difference.kind == "missing"
    assert difference.scheduled_for == lost.scheduled_for
    assert (found.planned, found.balance, found.missing) == (10, 1, 1)


def test_a_run_that_nobody_planned_is_named(user: User) -> None:
    task = past_task(user)
    take_due()
    at = timezone.now() - 5 * MINUTE
    state, ended = RunState.SUCCEEDED, timezone.now()
    extra = Run.objects.create(
        id=id_for(at, task.tenant_id), task=task, tenant=task.tenant, scheduled_for=at, state=state, finished_at=ended
    )  # fmt: skip

    found = account_of(task)

    [difference] = found.differences
    assert (difference.kind, difference.run_id) == ("unplanned", extra.pk)
    assert (found.planned, found.balance, found.unplanned) == (10, 0, 1)


def test_runs_by_hand_stand_beside_the_plan(user: User) -> None:
    task = past_task(user)
    take_due()

    manual_runs.fire_task(task.pk, now=timezone.now())

    assert (
        account_of(task).planned,
        account_of(task).manual,
        account_of(task).balance,
    ) == (10, 1, 0)


def test_parts_of_a_time_add_up_to_the_whole(user: User) -> None:
    task = past_task(user)
    take_due()
    cuts = [task.created_at - timedelta(hours=1), *fire_times(task)[3:7:3], None]

    parts = [
        reconcile(user, task.pk, since=since, until=until).planned
        for since, until in pairwise(cuts)
    ]

    assert parts == [3, 3, 4]


def fire_times(task: Task) -> list[datetime]:
    runs = Run.objects.filter(task=task).order_by("scheduled_for")
    return list(runs.values_list("scheduled_for", flat=True))


def test_too_much_at_once_is_refused(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "MAX_FIRE_TIMES", 9)
    task = past_task(user)
    take_due()

    with pytest.raises(InvalidTask, match="more than 9 fire times"):
        account_of(task)


@pytest.mark.parametrize("name", ["from", "to"])
def test_a_range_before_what_is_kept_is_refused(user: User, name: str) -> None:
    task = past_task(user)
    moment = {"since" if name == "from" else "until": datetime(1, 1, 1, tzinfo=UTC)}

    with pytest.raises(InvalidTask, match=f"{name} is before"):
        reconcile(user, task.pk, **{"since": None, "until": None, **moment})


def test_the_account_of_a_foreign_task_is_not_found(user: User, stranger: User) -> None:
    task = past_task(user)

    with pytest.raises(TaskNotFound):
        reconcile(stranger, task.pk, since=None, until=None)
