"""Due tasks become runs, once each, and runs that wait are woken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db.models import F
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.delivery import retry
from tasks_api.delivery.request import HttpResult
from tasks_api.delivery.retry import Release
from tasks_api.domain import schedules
from tasks_api.domain.ids import moment_of, tenant_bits
from tasks_api.domain.schedules import (
    Cron,
    Interval,
    Once,
    Schedule,
)
from tasks_api.domain.specs import Misfire, Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.models import Attempt, Run, Task
from tasks_api.scheduler import dispatch, rescue
from tasks_api.services import tasks
from tasks_api.storage import run_rows, schedule_edits
from tasks_api.worker import leases
from tasks_api.worker.record import AttemptResult, record_results
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    TARGET,
    run_states,
    store_task,
)
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_due_task_fires_once_and_moves_on(user: User) -> None:
    start = timezone.now() - SECOND
    task = store_task(user, Interval(start, HOUR, start + 5 * HOUR))

    first = dispatch.dispatch_due()
    second = dispatch.dispatch_due()

    task.refresh_from_db()
    assert len(first.run_ids) == 1
    assert second.run_ids == []
    assert task.next_fire_at == start + HOUR
    assert Run.objects.get().scheduled_for == start


def test_a_task_is_dispatched_ahead_but_not_started_ahead(user: User) -> None:
    at = timezone.now() + 0.9 * SECOND
    task = store_task(user, Once(at))

    run_ids = dispatch.dispatch_due().run_ids

    assert len(run_ids) == 1
    assert leases.claim(run_ids) == []
    fresh = Task.objects.with_schedule().get(pk=task.pk)
    assert fresh.coming_fire_time(timezone.now()) == at


def test_a_task_of_later_is_left_alone(user: User) -> None:
    store_task(user, Once(timezone.now() + 30 * SECOND))

    assert dispatch.dispatch_due().run_ids == []


def test_the_admin_sees_when_a_schedule_last_ran_and_how_often(user: User) -> None:
    start = timezone.now() - SECOND
    task = store_task(user, Interval(start, HOUR, start + 5 * HOUR))

    dispatch.dispatch_due()

    row = PeriodicTask.objects.get(pk=task.periodic_task_id)
    assert row.total_run_count == 1
    assert row.last_run_at is not None
    assert row.last_run_at >= start


def test_many_beats_make_one_run_for_each_fire_time(user: User) -> None:
    now = timezone.now()
    for _ in range(300):
        store_task(user, Once(now))

    found = run_in_threads(8, lambda: dispatch.dispatch_due(limit=50).run_ids)
    found += run_in_threads(8, lambda: dispatch.dispatch_due(limit=50).run_ids)

    ids = [run_id for run_ids in found for run_id in run_ids]
    assert len(ids) == len(set(ids)) == Run.objects.count() == 300


def test_downtime_costs_a_periodic_task_all_but_its_newest_fire_time(
    user: User,
) -> None:
    start = timezone.now() - 3.5 * HOUR
    task = store_task(user, Interval(start, HOUR, start + 9 * HOUR))

    dispatch.dispatch_due()

    task.refresh_from_db()
    assert run_states(task) == ["missed", "missed", "missed", "pending"]
    assert task.next_fire_at == start + 4 * HOUR


def test_a_long_downtime_is_made_up_in_batches(user: User) -> None:
    start = timezone.now() - 25.5 * HOUR
    task = store_task(user, Interval(start, HOUR, start + 90 * HOUR))

    turns = [dispatch.dispatch_due(limit=10).run_ids for _ in range(4)]

    assert [len(run_ids) for run_ids in turns] == [0, 0, 1, 0]
    assert run_states(task) == ["missed"] * 25 + ["pending"]


def test_nothing_catches_up_after_the_end(user: User) -> None:
    start = timezone.now() - 10 * HOUR
    task = store_task(user, Interval(start, HOUR, start + 3 * HOUR))

    dispatch.dispatch_due()

    task.refresh_from_db()
    assert run_states(task) == ["missed"] * 4
    assert task.next_fire_at is None


def test_a_missed_one_off_runs_as_soon_as_a_beat_is_back(user: User) -> None:
    task = store_task(user, Once(timezone.now() - 100 * HOUR))

    dispatch.dispatch_due()

    assert run_states(task) == ["pending"]


def test_a_broken_schedule_pauses_its_own_task_only(user: User) -> None:
    start = timezone.now() - SECOND
    broken = store_task(user, Interval(start, HOUR, start + 9 * HOUR))
    sound = store_task(user, Interval(start, 2 * HOUR, start + 9 * HOUR))
    IntervalSchedule.objects.filter(every=3600).update(every=0)

    run_ids = dispatch.dispatch_due().run_ids

    broken.refresh_from_db()
    assert Run.objects.get(pk__in=run_ids).task == sound
    assert broken.next_fire_at is None
    assert "not an interval" in broken.pause_reason
    assert not broken.periodic_task.enabled
    assert schedule_edits.find_edited_task_ids(limit=9) == []


def test_a_task_disabled_behind_our_back_does_not_fire(user: User) -> None:
    start = timezone.now() - SECOND
    task = store_task(user, Interval(start, HOUR, start + 9 * HOUR))
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(enabled=False)

    assert dispatch.dispatch_due().run_ids == []
    task.refresh_from_db()
    assert task.next_fire_at is None


def dispatch_run(owner: User) -> Run:
    store_task(owner, Once(timezone.now() - SECOND))
    [run_id] = dispatch.dispatch_due().run_ids
    return Run.objects.get(pk=run_id)


def make_wake_due(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(wake_at=timezone.now() - SECOND)


def test_a_run_that_nobody_took_is_rung_for_again(user: User) -> None:
    run = dispatch_run(user)
    make_wake_due(run)

    assert rescue.wake_runs().run_ids == [run.pk]
    assert rescue.wake_runs().run_ids == []


@pytest.mark.parametrize(
    ("state", "age", "silence"),
    [
        ("pending", 0, 5),
        ("pending", 30, 30),
        ("pending", 3600, 60),
        # It waited for its next attempt, and not for a worker.
        ("retrying", 3600, 5),
    ],
)
def test_the_silence_between_two_rings_grows_with_the_wait_for_a_worker(
    user: User, state: str, age: int, silence: int
) -> None:
    run = dispatch_run(user)
    long_ago = timezone.now() - age * SECOND
    Run.objects.update(scheduled_for=long_ago, wake_at=long_ago, state=state)

    rescue.wake_runs()

    run.refresh_from_db()
    assert run.wake_at is not None
    left = run.wake_at - timezone.now()
    assert abs(left - silence * SECOND) < 4 * SECOND


def test_a_run_whose_worker_died_is_sent_again_under_its_own_id(user: User) -> None:
    run = dispatch_run(user)
    assert leases.claim([run.pk])
    make_wake_due(run)

    assert rescue.wake_runs().run_ids == [run.pk]

    [claimed] = leases.claim([run.pk])
    assert claimed.run_id == run.pk
    assert claimed.number == 2
    lost = Attempt.objects.get(run=run)
    assert (lost.number, lost.error) == (1, "The worker was lost.")


def test_a_run_that_was_not_sent_waits_and_has_no_attempt(user: User) -> None:
    run = dispatch_run(user)
    [claimed] = leases.claim([run.pk])
    now = timezone.now()
    silent = HttpResult(None, "silent", 0, was_sent=False)

    record_results(
        [AttemptResult(claimed, silent, Release(10.0, "Waits: silent."), now)]
    )

    run.refresh_from_db()
    assert (run.state, run.reason) == (RunState.PENDING, "Waits: silent.")
    assert (run.attempt_count, run.attempts.count()) == (0, 0)
    assert rescue.wake_runs().run_ids == []
    Run.objects.update(wake_at=F("wake_at") - 11 * SECOND)
    assert rescue.wake_runs().run_ids == [run.pk]


def test_a_run_that_keeps_losing_its_worker_fails_in_the_end(user: User) -> None:
    run = dispatch_run(user)
    for _ in range(retry.MAX_LOST_ATTEMPTS):
        leases.claim([run.pk])
        make_wake_due(run)
        rescue.wake_runs()

    run.refresh_from_db()
    assert run.state == RunState.FAILED
    assert run.attempts.count() == retry.MAX_LOST_ATTEMPTS


def test_a_run_that_an_earlier_end_overtook_is_settled(user: User) -> None:
    start = timezone.now() - SECOND
    task = store_task(user, Interval(start, HOUR, start + 9 * HOUR))
    [run_id] = dispatch.dispatch_due().run_ids
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(expires=start - HOUR)
    run = Run.objects.get(pk=run_id)
    make_wake_due(run)

    assert leases.claim([run_id]) == []
    assert rescue.wake_runs().run_ids == []

    assert run_states(task) == ["cancelled"]


def test_many_beats_wake_a_run_once(user: User) -> None:
    runs = [dispatch_run(user) for _ in range(20)]
    Run.objects.update(wake_at=timezone.now() - SECOND)

    found = run_in_threads(8, lambda: rescue.wake_runs().run_ids)

    woken = [run_id for run_ids in found for run_id in run_ids]
    assert sorted(woken) == sorted(run.pk for run in runs)


def test_a_message_that_was_not_sent_is_made_up_soon(user: User) -> None:
    run = dispatch_run(user)

    run_rows.schedule_ring([run.pk], after=timedelta())

    assert rescue.wake_runs().run_ids == [run.pk]


@pytest.mark.parametrize("moment", [datetime.max, datetime(1969, 12, 31)])  # noqa: DTZ001, DTZ901 (made aware below)
def test_a_plan_reads_the_same_in_python_and_in_sql(
    user: User, moment: datetime
) -> None:
    extreme = moment.replace(tzinfo=timezone.now().tzinfo, microsecond=123456)
    store_task(user, Once(extreme))
    store_task(user, Interval(extreme, HOUR, extreme))

    assert schedule_edits.find_edited_task_ids(limit=9) == []


INSTANT = timedelta(microseconds=1)


PLANS: list[Callable[[datetime], Schedule]] = [
    lambda now: Once(now),
    lambda now: Once(now - 40 * 24 * HOUR),
    lambda now: Once(now + SECOND / 2),
    lambda now: Interval(now, HOUR),
    lambda now: Interval(now + SECOND / 2, HOUR),
    lambda now: Interval(now - HOUR + INSTANT, HOUR),
    lambda now: Interval(now - HOUR - SECOND, HOUR),
    lambda now: Interval(now - 30 * HOUR, 7 * SECOND),
    lambda now: Interval(now, SECOND),
    lambda now: Interval(now, HOUR, now),
    lambda now: Interval(now - 7 * SECOND, HOUR, now - 7 * SECOND, 7 * SECOND),
    lambda now: Interval(now - HOUR, HOUR, offset=9 * SECOND),
    lambda now: Interval(now - HOUR - 30 * SECOND, HOUR, now, 15 * SECOND),
    lambda now: Interval(now, HOUR, now + HOUR),
    lambda now: Interval(now, HOUR, now + HOUR - INSTANT),
    lambda now: Interval(now - 9 * SECOND, 3 * SECOND, now),
    lambda now: Interval(now - HOUR, HOUR, now - SECOND),
    lambda now: Interval(now - HOUR, 2 * HOUR, now - 3 * SECOND),
    lambda now: Interval(now, timedelta(days=20_000)),
    lambda now: Interval(now, timedelta(seconds=2**31 - 1)),
    lambda _: Interval(datetime(9990, 1, 1, tzinfo=UTC), HOUR),
    lambda _: Cron("* * * * *"),
    lambda _: Cron("* * * * *", seconds="*"),
    lambda _: Cron("* * * * *", offset=3 * SECOND),
]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("misfire", "window"),
    [(misfire, None) for misfire in Misfire] + [(Misfire.LATEST, 10)],
)
def test_the_statement_decides_as_the_schedule_does(
    user: User,
    plan: Callable[[datetime], Schedule],
    misfire: Misfire,
    window: int | None,
) -> None:
    now = timezone.now()
    schedule = plan(now)
    spec = TaskSpec(Surface.TASKS, TARGET, schedule, "{}", misfire=misfire)
    spec = replace(spec, catchup_window=window)
    task = tasks.create_task(user, spec, now=now - 100 * HOUR)
    # Of what recurs, some thousands of fire times at most: more would be one run.
    since = schedule.first_from(now - (960 if isinstance(schedule, Once) else 2) * HOUR)
    Task.objects.filter(pk=task.pk).update(next_fire_at=since)

    before = clock.read()
    found = dispatch.dispatch_due(limit=100).run_ids
    after = clock.read()

    # The statement's own moment lies between the two.
    grace = None if window is None else timedelta(seconds=window)
    if misfire == Misfire.SKIP:
        grace = timedelta(seconds=settings.SCHEDULER_MISFIRE_GRACE)
    most = 100 if misfire == Misfire.ALL else 1
    assert since is not None
    possible: list[
        tuple[tuple[datetime, ...], tuple[datetime, ...], datetime | None]
    ] = []
    for at in (before, after):
        if since > at + timedelta(seconds=settings.SCHEDULER_LOOK_AHEAD):
            possible.append(((), (), since))
            continue
        due = schedules.sort_due(
            schedule, since=since, now=at, limit=100, grace=grace, most=most
        )
        is_over = isinstance(schedule, Once) and due.fires
        upcoming = None if is_over else due.next_fire_at
        possible.append((tuple(m.moment for m in due.missed), due.fires, upcoming))
    runs = Run.objects.filter(task=task).order_by("scheduled_for")
    missed = tuple(run.scheduled_for for run in runs.filter(state=RunState.MISSED))
    pending = list(runs.filter(state=RunState.PENDING))
    fires = tuple(run.scheduled_for for run in pending)
    task.refresh_from_db()
    assert (missed, fires, task.next_fire_at) in possible
    assert set(found) == {run.pk for run in pending}
    for fired in pending:
        assert fired.pk.version == 7
        moment = int(fired.scheduled_for.timestamp() * 1000) / 1000
        assert abs(moment_of(fired.pk) - moment) <= 0.001
        assert tenant_bits(fired.pk) == fired.tenant_id
