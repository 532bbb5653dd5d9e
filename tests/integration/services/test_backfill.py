"""A backfill makes a run of each slot that it is about, and of no other."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as configured
from hypothesis import strategies as st

from accounts.models import AuditEntry, User
from tasks_api.delivery.retry import GiveUp
from tasks_api.domain.backfills import Pace, Which
from tasks_api.domain.exceptions import (
    InvalidState,
    InvalidTask,
    TaskNotFound,
)
from tasks_api.domain.schedules import Cron, Interval, Once, fire_times_between
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import (
    backfill,
    manual_runs,
    pausing,
    reconciliation,
    redrive,
)
from tasks_api.services.backfill import WantedSlots
from tasks_api.storage import stored_schedules
from tests.integration.support.backfills import (
    DAY,
    FAST,
    backfilled,
    end_run,
    hourly_task,
    let_be_due,
    live_backfills,
    make_task,
    settle,
)
from tests.integration.support.reconciliation_model import TaskModel, let_pass
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    store_task,
    take_due,
    take_waiting,
)
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_no_run_delivered_is_sent_oldest_first_with_its_own_moment(
    user: User,
) -> None:
    task = hourly_task(user)
    # After a downtime only the newest fire time fires; the others are missed.
    [newest] = take_due()
    end_run(newest)
    missed = Run.objects.filter(task=task, state=RunState.MISSED)
    slots = list(
        missed.order_by("scheduled_for").values_list("scheduled_for", flat=True)
    )

    made = backfilled(user, task)

    runs = live_backfills(task)
    assert len(slots) == 9
    assert (made.runs, made.plan.slots) == (9, slots)
    assert [run.slot for run in runs] == slots
    assert [run.scheduled_for for run in runs] == made.plan.times
    assert {run.by_hand for run in runs} == {True}
    let_be_due(task)
    sent = sorted(take_waiting(), key=lambda run: run.scheduled_for)
    assert [run.slot for run in sent] == slots
    assert {run.backfill_id for run in sent} == {made.backfill_id}
    entry = AuditEntry.objects.get(action="task.backfill")
    assert entry.object_id == str(task.pk)
    # The account of the schedule stays as it is.
    found = reconciliation.reconcile(user, task.pk, since=None, until=None)
    assert (found.balance, found.differences) == (0, [])


def test_a_repeated_call_makes_only_what_is_missing(user: User) -> None:
    task = hourly_task(user)
    settle(task)
    first = backfilled(user, task)
    assert backfilled(user, task).runs == 0
    let_be_due(task)
    runs = sorted(take_waiting(), key=lambda run: run.scheduled_for)
    end_run(runs[0])
    end_run(runs[1], GiveUp("HTTP 500"))

    again = backfilled(user, task)

    assert (first.runs, again.runs) == (9, 1)
    assert again.plan.slots == [runs[1].slot]


def test_two_calls_at_once_make_each_run_once(user: User) -> None:
    task = hourly_task(user, age=100 * HOUR)
    settle(task)
    since = timezone.now() - 5 * DAY

    made = run_in_threads(4, lambda: backfilled(user, task, since=since).runs)

    assert sorted(made) == [0, 0, 0, 99]
    assert len({run.slot for run in live_backfills(task)}) == 99


def test_a_redrive_that_delivered_a_slot_counts(user: User) -> None:
    task = hourly_task(user, age=3 * HOUR)
    settle(task)
    failed = Run.objects.filter(task=task, state=RunState.MISSED).earliest(
        "scheduled_for"
    )
    redrive.redrive_run(user, failed.pk)
    under_way = backfilled(user, task, dry_run=True).plan.slots
    [run] = take_waiting()
    end_run(run)

    assert failed.scheduled_for not in under_way
    assert failed.scheduled_for not in backfilled(user, task).plan.slots


def test_a_slot_that_is_backfilled_is_not_redriven_as_well(user: User) -> None:
    task = hourly_task(user, age=3 * HOUR)
    settle(task)
    missed = Run.objects.filter(task=task, state=RunState.MISSED).earliest(
        "scheduled_for"
    )
    backfilled(user, task)

    with pytest.raises(InvalidState, match="being sent again already"):
        redrive.redrive_run(user, missed.pk)


def test_missed_includes_a_pause_and_all_goes_back_before_the_task(user: User) -> None:
    task = hourly_task(user, age=2 * HOUR)
    settle(task)
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    let_pass(task, 5 * HOUR)
    pausing.resume_tasks(user, [str(task.pk)], now=timezone.now())
    task.refresh_from_db()
    assert task.starts_at is not None

    missed = backfilled(user, task, dry_run=True).plan.slots
    everything = backfilled(user, task, which=Which.ALL, dry_run=True).plan.slots

    now = timezone.now()
    grid = [task.starts_at + number * HOUR for number in range(-30, 30)]
    passed = [at for at in grid if now - DAY <= at < now]
    running = Run.objects.get(task=task, state=RunState.RUNNING).scheduled_for
    assert missed == [at for at in passed if at >= task.starts_at and at != running]
    assert everything == [at for at in passed if at != running]


@pytest.mark.parametrize("seed", range(20))
def test_all_is_the_grid_of_the_schedule_whenever_it_began(
    user: User, seed: int
) -> None:
    chance = random.Random(seed)
    every = timedelta(seconds=chance.choice([3600, 5400, 86400, 7]))
    offset = timedelta(seconds=chance.choice([0, 0, 5]))
    start = timezone.now() + chance.uniform(-5, 5) * DAY
    schedule = Interval(start, every, None, offset)
    stored = stored_schedules.to_stored(schedule, created_at=start)
    since = start - timedelta(seconds=chance.uniform(-1e5, 1e6))

    moved = stored_schedules.to_schedule(stored_schedules.without_start(stored, since))

    far = (
        replace(schedule, start=start - 10_000_000 * every)
        if every < HOUR
        else replace(schedule, start=start - 1000 * every)
    )
    until = since + 50 * every
    assert list(fire_times_between(moved, since, until)) == list(
        fire_times_between(far, since, until)
    )


def test_a_cron_is_backfilled_in_its_zone(user: User) -> None:
    task = make_task(user, Cron("30 2 * * *", "Europe/Berlin"))
    since = datetime(2026, 3, 27, tzinfo=UTC)

    slots = backfilled(
        user, task, since=since, until=since + 4 * DAY, which=Which.ALL, dry_run=True
    ).plan.slots

    # On 29 March the clock skips that time.
    assert [f"{slot:%d %H:%M}" for slot in slots] == [
        *("27 01:30", "28 01:30", "29 01:00", "30 00:30")
    ]


def test_a_dry_run_makes_nothing_and_its_hash_is_that_of_the_plan(user: User) -> None:
    task = hourly_task(user)
    settle(task)
    plan = backfilled(user, task, dry_run=True).plan
    assert live_backfills(task) == []

    made = backfilled(user, task, expected=plan.fingerprint)

    assert made.plan.slots == plan.slots
    # The runs are under way, so the same plan is another one now.
    with pytest.raises(InvalidState, match="another one now"):
        backfilled(user, task, expected=plan.fingerprint)


def test_a_hash_is_good_for_one_backfill_of_all(user: User) -> None:
    task = hourly_task(user)
    settle(task)
    options: dict[str, Any] = {"which": Which.ALL, "since": timezone.now() - 8 * HOUR}
    plan = backfilled(user, task, dry_run=True, **options).plan
    backfilled(user, task, expected=plan.fingerprint, **options)
    let_be_due(task)
    for run in take_waiting():
        end_run(run)

    again = backfilled(user, task, dry_run=True, **options).plan

    assert again.slots == plan.slots
    with pytest.raises(InvalidState, match="another one now"):
        backfilled(user, task, expected=plan.fingerprint, **options)


def test_too_many_slots_are_refused_with_the_end_that_is_possible(user: User) -> None:
    task = make_task(user, Cron("* * * * *"))
    since = datetime(2026, 1, 1, tzinfo=UTC)

    with pytest.raises(InvalidTask, match="set to to 2026-01-07T22:40:00Z") as refused:
        backfilled(user, task, since=since, which=Which.ALL)

    assert refused.value.field == "to"
    until = datetime(2026, 1, 7, 22, 40, tzinfo=UTC)
    made = backfilled(user, task, since=since, until=until, which=Which.ALL)
    assert made.runs == backfill.MAX_SLOTS
    slow = Pace(1, "hour")
    with pytest.raises(InvalidTask, match="choose a faster pace") as refused:
        backfilled(
            user, task, since=since - DAY, until=since, which=Which.ALL, pace=slow
        )
    assert refused.value.field == "pace"


def test_nobody_else_backfills_a_task(
    user: User, colleague: User, stranger: User
) -> None:
    task = hourly_task(user)

    for other in (colleague, stranger):
        with pytest.raises(TaskNotFound):
            backfilled(other, task)


def test_the_slot_of_a_one_off_is_its_moment_once_it_has_run(user: User) -> None:
    task = store_task(user, Once(timezone.now() - SECOND))
    assert backfilled(user, task).runs == 0
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    assert backfilled(user, task).runs == 0
    pausing.resume_tasks(user, [str(task.pk)], now=timezone.now())
    [run] = take_due()
    assert backfilled(user, task).runs == 0
    end_run(run, GiveUp("HTTP 500"))

    assert backfilled(user, task).plan.slots == [run.scheduled_for]


def test_a_manual_run_delivers_no_slot(user: User) -> None:
    task = hourly_task(user, age=3 * HOUR)
    settle(task)
    manual_runs.fire_task(task.pk, now=timezone.now())
    for run in take_waiting():
        end_run(run)

    assert len(backfilled(user, task).plan.slots) == 2


@given(st.integers(min_value=0, max_value=2**32))
@configured(
    max_examples=12,
    deadline=None,
    # What happens depends on the moment too, so a smaller number is no simpler case.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_after_any_history_each_planned_slot_is_delivered_once(
    user: User, seed: int
) -> None:
    chance = random.Random(seed)
    world = TaskModel(user, chance)
    story = [world.step() for _ in range(chance.randint(4, 20))]
    world.wait()
    world.finish()
    since = timezone.now() - DAY

    before = delivered_slots(world.task)
    made = backfill.backfill_task(
        user, world.task.pk, WantedSlots(since, pace=FAST, may_overlap=True)
    )
    planned = planned_slots(world)

    runs = live_backfills(world.task)
    slots = [run.slot for run in runs if run.backfill_id == made.backfill_id]
    assert made.runs == len(slots) == len(set(slots)), story
    assert not set(slots) & set(before), story
    # What the account planned is delivered, under way, or backfilled now.
    unfinished = Run.objects.filter(task=world.task, finished_at=None)
    open_slots = {run.slot or run.scheduled_for for run in unfinished}
    assert planned <= set(before) | open_slots, story


def delivered_slots(task: Task) -> Collection[datetime]:
    done = Run.objects.filter(task=task, state=RunState.SUCCEEDED)
    return {run.slot or run.scheduled_for for run in done}


def planned_slots(world: TaskModel) -> set[datetime]:
    """The fire times of the runs that the schedules made, whatever became of them."""
    runs = Run.objects.filter(task=world.task, by_hand=False)
    return set(runs.values_list("scheduled_for", flat=True))
