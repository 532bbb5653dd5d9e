"""Tasks that resume make up for their pause if the user wants so."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from celery import current_app
from django.utils import timezone

from accounts.models import Tenant, User
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.schedules import MAX_CATCH_UP, Interval, Once
from tasks_api.domain.specs import Misfire, Overlap, Surface, TaskSpec
from tasks_api.domain.states import EndReason, RunState
from tasks_api.models import ReopenedHours, RollupProgress, Run, ScheduleChange, Task
from tasks_api.scheduler import poll
from tasks_api.scheduler.beat import TenantScheduler
from tasks_api.services import catch_ups, pausing, removal, tasks
from tasks_api.services.pausing import Hold
from tasks_api.services.reconciliation import reconcile
from tasks_api.services.rollups import keep_rollups
from tasks_api.services.stats import read_account
from tests.integration.support.passed_fire_times import assert_balanced, states
from tests.integration.support.reconciliation_model import let_pass, settle_all
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    TARGET,
    take_due,
    take_waiting,
)
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)
PAUSED_REASON = "Passed while the task was paused"


def minutely(
    user: User, *, overlap: Overlap = Overlap.ALLOW, max_runs: int | None = None
) -> Task:
    """A task that misses what is late: only catching up makes up for it."""
    spec = TaskSpec(
        Surface.TASKS,
        TARGET,
        Interval(timezone.now() + 30 * SECOND, MINUTE),
        "{}",
        misfire=Misfire.SKIP,
        overlap=overlap,
        max_runs=max_runs,
    )
    return tasks.create_task(user, spec, now=timezone.now())


def pause(task: Task, *, minutes: int, hold: Hold | None = None) -> None:
    """Pause a task for so long; it has so many fire times meanwhile."""
    pausing.pause_tasks(task.owner, [str(task.pk)], now=timezone.now(), hold=hold)
    let_pass(task, minutes * MINUTE)


def resume(task: Task, catch_up: CatchUp | None = None) -> None:
    ids = [str(task.pk)]
    pausing.resume_tasks(task.owner, ids, now=timezone.now(), catch_up=catch_up)


def test_a_task_makes_up_for_nothing_unless_the_user_says_so(user: User) -> None:
    task = minutely(user)
    pause(task, minutes=5)

    resume(task)
    settle_all()

    assert states(task) == Counter()
    assert_balanced(task, planned=0)


def test_the_latest_fire_time_fires_with_its_own_time(user: User) -> None:
    task = minutely(user)
    pause(task, minutes=5)

    resume(task, CatchUp.LATEST)
    assert_balanced(task, planned=5)
    settle_all()

    assert states(task) == {RunState.PENDING: 1, RunState.MISSED: 4}
    [run] = take_waiting()
    task.refresh_from_db()
    assert run.scheduled_for + MINUTE == task.next_fire_at
    reasons = Run.objects.filter(task=task, state=RunState.MISSED)
    assert all(each.reason.startswith(PAUSED_REASON) for each in reasons)
    assert_balanced(task, planned=5)


def test_all_fire_in_the_order_of_their_times(user: User) -> None:
    task = minutely(user)
    pause(task, minutes=7)

    resume(task, CatchUp.ALL)
    settle_all()

    runs = Run.objects.filter(task=task).order_by("wake_at")
    times = list(runs.values_list("scheduled_for", flat=True))
    assert len(times) == 7
    assert times == sorted(times)
    assert len(take_waiting()) == 7
    assert_balanced(task, planned=7)


def test_what_is_made_up_for_is_no_more_than_the_runs_left(user: User) -> None:
    task = minutely(user, max_runs=3)
    pause(task, minutes=7)

    resume(task, CatchUp.ALL)
    settle_all()

    assert states(task) == {RunState.PENDING: 3, RunState.MISSED: 4}
    task.refresh_from_db()
    assert (task.end_reason, task.next_fire_at) == (EndReason.MAX_RUNS, None)
    assert (task.runs_made, len(take_waiting())) == (3, 3)
    assert_balanced(task, planned=7)


def test_a_task_with_runs_left_goes_on_after_it_made_up(user: User) -> None:
    task = minutely(user, max_runs=3)
    pause(task, minutes=2)

    resume(task, CatchUp.ALL)
    settle_all()

    task.refresh_from_db()
    assert (task.runs_made, task.ended_at) == (2, None)
    assert_balanced(task, planned=2)


def test_of_very_many_the_newest_fire_and_the_others_are_missed(user: User) -> None:
    task = minutely(user)
    pause(task, minutes=MAX_CATCH_UP + 50)

    resume(task, CatchUp.ALL)
    while catch_ups.settle_catch_ups(limit=7):
        assert_balanced(task, planned=MAX_CATCH_UP + 50)

    assert states(task) == {RunState.PENDING: MAX_CATCH_UP, RunState.MISSED: 50}
    runs = Run.objects.filter(task=task)
    missed = runs.filter(state=RunState.MISSED).latest("scheduled_for")
    oldest = runs.filter(state=RunState.PENDING).earliest("scheduled_for")
    assert missed.scheduled_for < oldest.scheduled_for
    assert "only the newest 100 are made up for" in missed.reason


def test_the_pause_says_beforehand_what_its_end_makes_up_for(user: User) -> None:
    task = minutely(user)
    hold = Hold("a move", timezone.now() + HOUR, CatchUp.ALL)
    pause(task, minutes=3, hold=hold)
    Task.objects.update(resume_at=timezone.now())

    assert pausing.resume_due(limit=10) == 1
    assert poll.find_work().has_open_changes
    settle_all()

    assert states(task) == {RunState.PENDING: 3}
    task.refresh_from_db()
    assert task.catch_up == CatchUp.NONE
    assert_balanced(task, planned=3)


@pytest.mark.parametrize(
    ("said", "expected"), [(None, 3), (CatchUp.NONE, 0), (CatchUp.LATEST, 1)]
)
def test_a_resume_overrides_what_the_pause_said(
    user: User, said: CatchUp | None, expected: int
) -> None:
    task = minutely(user)
    pause(task, minutes=3, hold=Hold(catch_up=CatchUp.ALL))

    resume(task, said)
    settle_all()

    assert states(task)[RunState.PENDING] == expected
    # The next pause knows nothing of it.
    pause(task, minutes=3)
    resume(task)
    settle_all()
    assert states(task)[RunState.PENDING] == 0


def test_fire_times_count_from_the_last_change_of_the_schedule(user: User) -> None:
    task = minutely(user)
    pause(task, minutes=5)
    locked = Task.objects.with_schedule().get(pk=task.pk)
    spec = TaskSpec(
        Surface.TASKS, TARGET, Interval(timezone.now() - HOUR, 20 * SECOND), "{}"
    )
    tasks.change_task(user, locked, spec, now=timezone.now())
    let_pass(task, 2 * MINUTE)

    resume(task, CatchUp.ALL)
    settle_all()

    assert states(task) == {RunState.PENDING: 6}
    assert_balanced(task, planned=6)


@pytest.mark.parametrize("way", ["pause", "remove"])
def test_what_stops_before_it_caught_up_is_cancelled(user: User, way: str) -> None:
    task = minutely(user)
    pause(task, minutes=4)
    resume(task, CatchUp.ALL)

    if way == "pause":
        pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    else:
        removal.remove_task(user, str(task.pk), now=timezone.now())
    settle_all()

    assert states(task) == {RunState.CANCELLED: 4}
    assert take_waiting() == []
    assert_balanced(task, planned=4)


@pytest.mark.parametrize(
    ("overlap", "waiting"), [(Overlap.SKIP, 1), (Overlap.QUEUE_ONE, 2)]
)
def test_the_policy_of_overlaps_counts(
    user: User, overlap: Overlap, waiting: int
) -> None:
    task = minutely(user, overlap=overlap)
    pause(task, minutes=4)

    resume(task, CatchUp.ALL)
    settle_all()

    assert states(task) == {
        RunState.PENDING: waiting,
        RunState.SKIPPED: 4 - waiting,
    }
    assert len(take_waiting()) == 1
    assert_balanced(task, planned=4)


def test_a_one_time_task_runs_once_as_ever(user: User) -> None:
    spec = TaskSpec(Surface.TASKS, TARGET, Once(timezone.now() + 30 * SECOND), "{}")
    task = tasks.create_task(user, spec, now=timezone.now())
    pause(task, minutes=4)

    resume(task, CatchUp.ALL)
    settle_all()

    assert len(take_due()) == 1
    assert take_waiting() == []


def test_a_tick_of_a_beat_makes_the_runs(user: User) -> None:
    task = minutely(user)
    pause(task, minutes=4)
    resume(task, CatchUp.ALL)

    TenantScheduler(app=current_app).tick()

    assert states(task) == {RunState.PENDING: 4}


def test_beats_at_once_make_each_run_once(user: User) -> None:
    stored = [minutely(user) for _ in range(6)]
    for task in stored:
        pause(task, minutes=20)
        resume(task, CatchUp.ALL)

    def settle() -> None:
        while catch_ups.settle_catch_ups(limit=5):
            pass

    run_in_threads(3, settle)
    settle_all()

    for task in stored:
        assert states(task) == {RunState.PENDING: 20}
        assert_balanced(task, planned=20)


def test_a_beat_that_dies_leaves_the_rest_to_the_next_one(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = minutely(user)
    pause(task, minutes=30)
    resume(task, CatchUp.LATEST)
    catch_ups.settle_catch_ups(limit=10)
    monkeypatch.setattr(catch_ups, "UPDATE_OPEN_FROM", "SELECT 1 / 0, %s, %s")

    with pytest.raises(Exception, match="division by zero"):
        catch_ups.settle_catch_ups(limit=10)
    assert_balanced(task, planned=30)
    monkeypatch.undo()
    settle_all()

    assert states(task) == {RunState.PENDING: 1, RunState.MISSED: 29}
    assert_balanced(task, planned=30)


def test_fire_times_beyond_the_retention_have_no_runs(user: User) -> None:
    Tenant.objects.update(retention_days=1)
    task = minutely(user)
    pause(task, minutes=3 * 24 * 60)

    resume(task, CatchUp.ALL)

    [opened] = ScheduleChange.objects.exclude(open_from=None)
    assert opened.open_from is not None
    oldest = timezone.now() - timedelta(days=1)
    assert oldest <= opened.open_from + 10 * SECOND <= oldest + 2 * MINUTE


def test_closed_hours_of_the_pause_are_counted_again(user: User) -> None:
    task, other = minutely(user), minutely(user)
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    for each in (task, other):
        let_pass(each, 5 * HOUR)
    take_due()
    settle_all()
    keep_rollups(now=timezone.now())
    before = read_account(user, since=timezone.now() - 10 * HOUR, until=None)

    resume(task, CatchUp.ALL)
    keep_rollups(now=timezone.now())
    assert ReopenedHours.objects.exists()
    settle_all()
    keep_rollups(now=timezone.now())

    # The hour of now is counted again once it is closed.
    [left] = ReopenedHours.objects.all()
    assert left.since == RollupProgress.objects.get(tenant=user.tenant).closed_until
    found = read_account(user, since=timezone.now() - 10 * HOUR, until=None)
    assert (found.balance, found.differences) == (0, [])
    own = [
        reconcile(user, each.pk, since=found.since, until=found.until)
        for each in (task, other)
    ]
    assert found.planned == sum(each.planned for each in own)
    assert found.planned > before.planned + 150
