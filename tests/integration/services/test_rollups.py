"""Each run of a closed hour is counted once, whenever it was made and whenever it ended."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from accounts.models import Tenant, User
from tasks_api.domain import tallies
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Cron, Interval, Once
from tasks_api.domain.states import RunState
from tasks_api.models import HourRollup, LateRun, RollupProgress, Run, Task
from tasks_api.monitoring import collector
from tasks_api.services import (
    erasure,
    manual_runs,
    owners,
    removal,
    rollups,
    stats,
)
from tasks_api.services.account import FireTimeOutcome
from tasks_api.services.reconciliation import reconcile
from tasks_api.services.rollups import WHOLE_TENANT, keep_rollups
from tasks_api.services.stats import floor_hour, read_account, read_stats
from tasks_api.storage import schedule_changes
from tests.integration.support.reconciliation_model import (
    TaskModel,
    let_pass,
    settle_all,
)
from tests.integration.support.stored_runs import hourly_task, store_run
from tests.integration.support.stored_tasks import SECOND, store_task, take_due
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def close() -> None:
    keep_rollups(now=timezone.now())


def closed_until(user: User) -> datetime:
    return RollupProgress.objects.get(tenant=user.tenant).closed_until


def sums(owner_id: int = WHOLE_TENANT) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in HourRollup.objects.filter(owner_id=owner_id):
        found.update(row.counts)
    return found


def shown_states(user: User) -> Counter[str]:
    """The runs by state as the stats of the last day count them."""
    total = read_stats(user, since=timezone.now() - 22 * HOUR, until=None).total
    prefix = tallies.RUNS
    return Counter(
        {
            name.removeprefix(prefix): size
            for name, size in total.items()
            if name.startswith(prefix)
        }
    )


def stored_states(user: User) -> Counter[str]:
    now = timezone.now()
    since = floor_hour(now - 22 * HOUR)
    runs = Run.objects.visible_to(user).filter(scheduled_for__range=(since, now))
    return Counter(runs.values_list("state", flat=True))


def finish(run: Run, state: RunState = RunState.SUCCEEDED) -> None:
    Run.objects.filter(pk=run.pk).update(
        state=state, wake_at=None, lease=None, finished_at=timezone.now()
    )


def pending_run(task: Task, *, ago: int) -> Run:
    at = timezone.now() - timedelta(minutes=ago)
    return Run.objects.create(
        id=id_for(at, task.tenant_id),
        task=task,
        tenant=task.tenant,
        scheduled_for=at,
        wake_at=timezone.now(),
    )


@pytest.fixture
def boss(colleague: User) -> User:
    colleague.reaches_tenant = True
    return colleague


def test_runs_are_counted_for_their_user_and_for_the_tenant(
    user: User, boss: User, stranger: User
) -> None:
    for owner, ago in ((user, 30), (user, 130), (boss, 250), (stranger, 250)):
        store_run(hourly_task(owner), ago=ago, state=RunState.SUCCEEDED)
        store_run(hourly_task(owner), ago=ago, state=RunState.FAILED, reason="HTTP 500")

    close()

    assert sums(user.pk)["runs:succeeded"] in (1, 2)
    for each in (user, boss, stranger):
        assert shown_states(each) == stored_states(each)
    assert sum(shown_states(boss).values()) == 6


def test_a_late_run_is_counted_once_when_it_is_over(user: User) -> None:
    task = hourly_task(user)
    first, second = pending_run(task, ago=200), pending_run(task, ago=190)
    close()
    seen = [shown_states(user)]

    finish(first)
    seen.append(shown_states(user))
    run_in_threads(3, close)
    seen.append(shown_states(user))
    finish(second, RunState.FAILED)
    close()
    close()

    assert seen[0] == {"pending": 2}
    assert seen[1] == seen[2] == {"pending": 1, "succeeded": 1}
    assert shown_states(user) == {"succeeded": 1, "failed": 1}
    assert sums()["runs:succeeded"] == sums()["runs:failed"] == 1
    assert LateRun.objects.filter(counted_at=None).count() == 0


def test_a_late_run_that_was_deleted_is_forgotten(user: User) -> None:
    run = pending_run(hourly_task(user), ago=200)
    close()

    run.delete()
    close()

    assert LateRun.objects.filter(counted_at=None).count() == 0
    assert shown_states(user) == {}


def test_a_moment_in_a_closed_hour_is_counted_when_its_task_has_run(user: User) -> None:
    store_run(hourly_task(user), ago=200)
    close()
    task = store_task(user, Once(timezone.now() - timedelta(minutes=200)))
    while take_due():
        pass
    waiting = shown_states(user)

    finish(Run.objects.get(task=task))
    Task.objects.filter(pk=task.pk).update(ended_at=timezone.now(), next_fire_at=None)
    close()
    close()

    assert waiting == {"failed": 1, "running": 1}
    assert shown_states(user) == stored_states(user) == {"failed": 1, "succeeded": 1}
    assert sums()["runs:failed"] == 1


def test_an_hour_with_a_fire_time_without_a_run_stays_open(user: User) -> None:
    store_run(hourly_task(user), ago=300)
    due = store_task(user, Interval(timezone.now() - 3 * HOUR, HOUR, None))
    close()

    assert closed_until(user) <= Task.objects.get(pk=due.pk).next_fire_at  # type: ignore[operator]  # it is due
    take_due()
    close()
    assert closed_until(user) > timezone.now() - 2 * HOUR
    assert shown_states(user) == stored_states(user)


def test_many_processes_count_each_run_once(user: User, boss: User) -> None:
    for ago in range(70, 900, 10):
        store_run(hourly_task(user), ago=ago)

    run_in_threads(4, close)
    close()

    assert sums()["runs:failed"] == sums(user.pk)["runs:failed"]
    assert shown_states(boss) == stored_states(boss)


def test_sums_follow_the_tasks_to_another_user(user: User, boss: User) -> None:
    store_run(hourly_task(user), ago=200)
    store_run(hourly_task(boss), ago=200)
    close()

    owners.transfer_tasks(user, boss)

    assert sums(user.pk) == {}
    assert sums(boss.pk) == sums()
    assert shown_states(user) == {}


def test_sums_go_with_their_user_and_tenant(
    user: User, boss: User, alpha: Tenant
) -> None:
    store_run(hourly_task(user), ago=200)
    store_run(hourly_task(boss), ago=200, state=RunState.SUCCEEDED)
    pending_run(hourly_task(boss), ago=201)
    close()

    erasure.erase_user(user, heir=None, removes_tasks=True, report=print)
    assert (+sums())["runs:failed"] == 0
    assert shown_states(boss) == stored_states(boss)

    erasure.erase_tenant(alpha, report=print)
    assert not HourRollup.objects.exists()
    assert not LateRun.objects.exists()


def test_old_sums_are_deleted(user: User, alpha: Tenant) -> None:
    store_run(hourly_task(user), ago=30 * 60)
    store_run(hourly_task(user), ago=20 * 60)
    close()
    assert HourRollup.objects.count() == 4

    alpha.retention_days = 1
    alpha.save()
    close()

    assert HourRollup.objects.count() == 2


def test_late_requests_and_reasons_are_counted(user: User) -> None:
    task = hourly_task(user)
    for number in range(100):
        run = store_run(
            task,
            ago=200 + number,
            reason=f"HTTP 503; that was attempt {number}, the last one",
        )
        late = timedelta(milliseconds=1000 if number < 98 else 90_000)
        Run.objects.filter(pk=run.pk).update(started_at=run.scheduled_for + late)
    close()

    total = read_stats(user, since=timezone.now() - 22 * HOUR, until=None).total

    assert list(tallies.reasons_of(total)) == [(RunState.FAILED, "HTTP 503", 100)]
    assert 1000 <= (tallies.late_percentile(total, 0.5) or 0) <= 1100
    assert 90_000 <= (tallies.late_percentile(total, 0.99) or 0) <= 99_000


def move_with_runs(task: Task, span: timedelta) -> None:
    """Move a task into the past, with the ids of its runs, which begin with their times."""
    let_pass(task, span)
    for run in Run.objects.filter(task=task):
        new_id = id_for(run.scheduled_for, run.tenant_id)
        Run.objects.filter(pk=run.pk).update(id=new_id)


def accounts_of_tasks(
    user: User, since: datetime, until: datetime
) -> tuple[int, Counter[FireTimeOutcome], int]:
    """The sum of the accounts of a user's tasks, one by one."""
    planned, manual = 0, 0
    outcomes: Counter[FireTimeOutcome] = Counter()
    for task in Task.objects.visible_to(user):
        found = reconcile(user, task.pk, since=since, until=until)
        assert found.differences == []
        planned, manual = planned + found.planned, manual + found.manual
        outcomes += found.outcomes
    return planned, outcomes, manual


def assert_account_is_the_sum(user: User) -> None:
    found = read_account(user, since=timezone.now() - 10 * HOUR, until=None)
    expected = accounts_of_tasks(user, found.since, found.until)

    assert (found.planned, +found.outcomes, found.manual) == expected
    assert (found.balance, found.differences) == (0, [])


@pytest.mark.parametrize("seed", range(3))
def test_the_account_is_the_sum_of_the_accounts_of_all_tasks(
    user: User, boss: User, seed: int
) -> None:
    chance = random.Random(seed)
    models = [TaskModel(chance.choice([user, boss]), chance) for _ in range(12)]
    for model in models:
        for _ in range(chance.randint(1, 12)):
            model.step()
        if chance.random() < 0.3:
            model.remove()
        move_with_runs(model.task, timedelta(minutes=chance.randint(60, 180)))
    for _ in range(10):
        once = store_task(
            user, Once(timezone.now() - chance.uniform(0, 300) * 60 * SECOND)
        )
        if chance.random() < 0.3:
            removal.remove_task(user, str(once.pk), now=timezone.now())
    crowded = store_task(boss, Interval(timezone.now() - 5 * HOUR, SECOND, None))
    while take_due() or schedule_changes.settle_open_changes():
        pass
    settle_all()
    Task.objects.filter(pk=crowded.pk).update(next_fire_at=timezone.now() + HOUR)
    manual_runs.fire_task(crowded.pk, now=timezone.now())
    close()

    assert sums()[tallies.COVERED] > 1000
    assert_account_is_the_sum(user)
    assert_account_is_the_sum(boss)


def test_a_run_that_was_deleted_by_hand_shows_in_the_balance(user: User) -> None:
    task = store_task(user, Interval(timezone.now() - 4 * HOUR, 600 * SECOND, None))
    while take_due():
        pass
    gone = Run.objects.filter(task=task).order_by("scheduled_for")[3]
    hour = floor_hour(gone.scheduled_for)
    gone.delete()
    close()

    found = read_account(user, since=timezone.now() - 6 * HOUR, until=None)

    assert found.balance == 1
    assert found.differences == [stats.HourBalance(hour, 1)]


def test_a_tenant_whose_hours_cannot_be_summed_up_stops_no_other(
    user: User, stranger: User, caplog: pytest.LogCaptureFixture
) -> None:
    # In the middle of an hour, so that the late runs are of the hour that has sums.
    ago = timezone.now().minute + 150
    for owner in (user, stranger):
        store_run(hourly_task(owner), ago=ago)
    pending_run(hourly_task(user), ago=ago + 1)
    close()
    # What no release writes: the sums would be no numbers.
    HourRollup.objects.filter(tenant=user.tenant).update(counts={"runs:failed": "x"})
    late = pending_run(hourly_task(stranger), ago=ago + 2)
    LateRun.objects.create(
        run_id=late.pk,
        task_id=late.task_id,
        tenant=late.tenant,
        hour=floor_hour(late.scheduled_for),
    )

    for run in Run.objects.filter(finished_at=None):
        finish(run)
    close()

    assert "could not be summed up" in caplog.text
    assert LateRun.objects.get(tenant=stranger.tenant).counted_at is not None
    assert LateRun.objects.get(tenant=user.tenant).counted_at is None


def test_a_schedule_that_cannot_be_computed_stops_no_sums_of_its_tenant(
    user: User,
) -> None:
    store_run(hourly_task(user), ago=200)
    broken = store_task(user, Cron("0 0 1 1 *", "Europe/Berlin"))
    long_ago = timezone.now() - 5 * HOUR
    Task.objects.filter(pk=broken.pk).update(dst="unheard of", created_at=long_ago)

    close()

    assert closed_until(user) > timezone.now() - 2 * HOUR
    assert sums()["runs:failed"] == 1


def test_the_metric_says_how_far_the_sums_are_behind(user: User) -> None:
    store_run(hourly_task(user), ago=5)
    now = timezone.now()
    keep_rollups(now=now)
    assert rollups.lag(now=now) == 0

    progress = RollupProgress.objects.get(tenant=user.tenant)
    progress.closed_until -= 3 * HOUR
    progress.save()

    assert rollups.lag(now=now) == 3 * 3600
    assert b"\nscheduler_rollup_lag_seconds " in collector.exposition()


def test_a_round_begins_to_count_for_some_of_many_new_tenants(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "MAX_NEW_TENANTS", 2)
    for number in range(4):
        Tenant.objects.create(name=f"New {number}")

    counts = []
    for _ in range(4):
        keep_rollups(now=timezone.now(), pause=lambda _: True)
        counts.append(RollupProgress.objects.count())

    assert counts == [2, 4, 5, 5]


def test_a_round_that_is_told_to_end_looks_at_one_tenant(
    user: User, stranger: User
) -> None:
    for owner in (user, stranger):
        store_run(hourly_task(owner), ago=130)

    keep_rollups(now=timezone.now(), pause=lambda _: True)

    progress = RollupProgress.objects.all()
    closed = [each.closed_until > each.closed_from for each in progress]
    assert sorted(closed) == [False, True]


def test_a_tenant_that_newer_ones_overtook_is_counted(user: User) -> None:
    older = Tenant.objects.create(name="Older")
    Tenant.objects.create(name="Newer")
    close()
    RollupProgress.objects.filter(tenant=older).delete()

    close()

    assert RollupProgress.objects.filter(tenant=older).exists()


@pytest.mark.parametrize("fires", [False, True])
@pytest.mark.parametrize("is_new", [False, True])
def test_counting_begins_with_the_first_fire_time_that_a_tenant_has(
    user: User, alpha: Tenant, *, fires: bool, is_new: bool
) -> None:
    now = timezone.now()
    # Nothing of a new tenant is left out, and no empty hours of an old one are closed.
    first = alpha.created_at if is_new else now
    if not is_new:
        Tenant.objects.update(created_at=now - timedelta(days=90))
    if fires:
        first = now - 5 * HOUR
        store_task(user, Once(first))

    keep_rollups(now=now)

    assert RollupProgress.objects.get(tenant=alpha).closed_from == floor_hour(first)
