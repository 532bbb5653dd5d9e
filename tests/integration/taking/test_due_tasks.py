"""Due tasks are taken, once each, and move to their next fire time."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from functools import partial

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.domain.schedules import Cron, Interval, Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Run, Task
from tasks_api.services import tasks
from tasks_api.storage import schedule_edits
from tasks_api.taking import due_tasks, following, leases
from tasks_api.taking.due_tasks import TakenTasks
from tasks_api.taking.room import Room
from tasks_api.taking.run_counts import RunCounts
from tests.acceptance.harness import eventually
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    TARGET,
    ids_of,
    run_states,
    store_task,
    take_due,
)
from tests.integration.support.threads import is_a_lock_awaited, run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_due_task_fires_once_and_moves_on(user: User) -> None:
    start = timezone.now() - SECOND
    task = store_task(user, Interval(start, HOUR, start + 5 * HOUR))

    first = take_due()
    second = take_due()

    task.refresh_from_db()
    run = Run.objects.get()
    assert ids_of(first) == [run.pk]
    assert second == []
    assert task.next_fire_at == start + HOUR
    assert (run.scheduled_for, task.last_fire_at) == (start, start)


def test_a_worker_that_takes_sees_what_comes_after(user: User) -> None:
    start = timezone.now() - SECOND
    later = start + 2 * HOUR
    assert take_and_look().seen is None
    store_task(user, Once(start))
    store_task(user, Once(later))

    seen = take_and_look().seen

    assert seen is not None
    assert (seen.has_waiting_runs, seen.next_fire_at) == (False, later)
    assert (seen.next_wake_at, seen.next_at) == (None, later)


def test_a_task_may_be_the_next_one_after_itself(user: User) -> None:
    start = timezone.now() - SECOND
    store_task(user, Interval(start, HOUR, start + 5 * HOUR))
    store_task(user, Once(start + 2 * HOUR))

    seen = take_and_look().seen

    assert seen is not None
    assert seen.next_fire_at == start + HOUR


def take_and_look() -> TakenTasks:
    return due_tasks.take_and_look(Room(), leases.new_lease(leases.NO_PRESENCE))


def test_a_run_is_taken_under_its_lease_with_what_its_request_needs(user: User) -> None:
    at = clock.now() - SECOND
    spec = TaskSpec(Surface.TASKS, TARGET, Once(at), '{"größe": 1}', method="PUT")
    task = tasks.create_task(user, spec, now=at)
    lease = leases.new_lease(7)

    before = clock.now()
    [taken] = due_tasks.take_due(Room(), lease).runs
    after = clock.now()

    run = Run.objects.get()
    assert (run.state, run.lease, run.attempt_count) == ("running", lease, 1)
    assert run.started_at is not None
    assert before <= run.started_at <= after
    assert run.wake_at == run.started_at + settings.SCHEDULER_LEASE * SECOND
    assert (taken.run_id, taken.task_id, taken.tenant_id, taken.scheduled_for) == (
        run.pk,
        task.pk,
        user.tenant_id,
        at,
    )
    assert (taken.method, taken.url, taken.body) == ("PUT", TARGET, '{"größe": 1}')
    assert (taken.number, taken.lost_count, taken.lease) == (1, 0, lease)


def test_nothing_is_taken_before_its_moment(user: User) -> None:
    at = timezone.now() + 0.9 * SECOND
    task = store_task(user, Once(at))
    store_task(user, Once(timezone.now() + 30 * SECOND))

    taken = take_due()
    while not taken:
        assert clock.read() < at + 5 * SECOND
        fresh = Task.objects.with_schedule().get(pk=task.pk)
        assert fresh.coming_fire_time == at
        taken = take_due()

    run = Run.objects.get()
    assert run.started_at is not None
    assert at <= run.started_at
    assert ids_of(taken) == [run.pk]


def test_the_admin_sees_when_a_schedule_last_ran_and_how_often(user: User) -> None:
    start = timezone.now() - SECOND
    task = store_task(user, Interval(start, HOUR, start + 5 * HOUR))
    store_task(user, Once(start))
    counts = RunCounts()

    taken = due_tasks.take_due(Room(), leases.new_lease(leases.NO_PRESENCE))
    counts.add(taken.recurring, timezone.now())
    counts.write()
    counts.write()

    row = PeriodicTask.objects.get(pk=task.periodic_task_id)
    assert taken.recurring == [task.pk]
    assert row.total_run_count == 1
    assert row.last_run_at is not None
    assert row.last_run_at >= start


def test_many_workers_take_each_fire_time_once(user: User) -> None:
    now = timezone.now()
    for _ in range(300):
        store_task(user, Once(now))

    found = run_in_threads(8, partial(take_due, Room(places=50)))
    while more := take_due():
        found.append(more)

    ids = [run_id for taken in found for run_id in ids_of(taken)]
    assert len(ids) == len(set(ids)) == Run.objects.count() == 300


def test_downtime_costs_a_periodic_task_all_but_its_newest_fire_time(
    user: User,
) -> None:
    start = timezone.now() - 3.5 * HOUR
    task = store_task(user, Interval(start, HOUR, start + 9 * HOUR))

    take_due()

    task.refresh_from_db()
    assert run_states(task) == ["missed", "missed", "missed", "running"]
    assert task.next_fire_at == start + 4 * HOUR


def test_a_long_downtime_is_made_up_in_batches(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_tasks, "BATCH_SIZE", 10)
    start = timezone.now() - 25.5 * HOUR
    task = store_task(user, Interval(start, HOUR, start + 90 * HOUR))

    lease = leases.new_lease(leases.NO_PRESENCE)
    turns = [due_tasks.take_due(Room(), lease) for _ in range(4)]

    assert [len(turn.runs) for turn in turns] == [0, 0, 1, 0]
    # A worker looks again at once while there is more to make up for.
    assert [turn.unfinished for turn in turns] == [1, 1, 0, 0]
    assert run_states(task) == ["missed"] * 25 + ["running"]


def test_nothing_catches_up_after_the_end(user: User) -> None:
    start = timezone.now() - 10 * HOUR
    task = store_task(user, Interval(start, HOUR, start + 3 * HOUR))

    take_due()

    task.refresh_from_db()
    assert run_states(task) == ["missed"] * 4
    assert task.next_fire_at is None


def test_a_missed_one_off_runs_as_soon_as_a_worker_is_back(user: User) -> None:
    task = store_task(user, Once(timezone.now() - 100 * HOUR))

    take_due()

    assert run_states(task) == ["running"]


def test_a_broken_schedule_pauses_its_own_task_only(user: User) -> None:
    start = timezone.now() - SECOND
    broken = store_task(user, Interval(start, HOUR, start + 9 * HOUR))
    sound = store_task(user, Interval(start, 2 * HOUR, start + 9 * HOUR))
    IntervalSchedule.objects.filter(every=3600).update(every=0)

    [taken] = take_due()

    broken.refresh_from_db()
    assert taken.task_id == sound.pk
    assert broken.next_fire_at is None
    assert "not an interval" in broken.pause_reason
    assert not broken.periodic_task.enabled
    assert schedule_edits.find_edited_task_ids(limit=9) == []


def test_a_task_disabled_behind_our_back_does_not_fire(user: User) -> None:
    start = timezone.now() - SECOND
    task = store_task(user, Interval(start, HOUR, start + 9 * HOUR))
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(enabled=False)

    assert take_due() == []
    task.refresh_from_db()
    assert task.next_fire_at is None
    assert run_states(task) == []


# What there is no room for stays due.


@pytest.mark.parametrize("is_disputed", [False, True])
def test_no_more_is_taken_than_has_room(user: User, is_disputed: bool) -> None:
    late = timezone.now() - (2.5 * HOUR if is_disputed else SECOND)
    for number in range(5):
        store_task(user, Interval(late + number * SECOND / 9, HOUR))

    first = take_due(Room(places=2))
    assert Run.objects.exclude(state="missed").count() == 2
    second = take_due(Room(places=2))
    third = take_due(Room(places=2))

    times = [run.scheduled_for for taken in (first, second, third) for run in taken]
    assert [len(first), len(second), len(third)] == [2, 2, 1]
    # The earliest are first.
    assert times == sorted(times)


def test_no_more_of_a_tenant_is_taken_than_has_room(user: User, stranger: User) -> None:
    now = timezone.now()
    for _ in range(4):
        store_task(user, Once(now - SECOND))
        store_task(stranger, Once(now))
    assert user.tenant_id
    room = Room(places_each=3, places_of={user.tenant_id: 1})

    taken = due_tasks.take_due(room, leases.new_lease(leases.NO_PRESENCE))

    tenants = Counter(run.tenant_id for run in taken.runs)
    assert tenants == {user.tenant_id: 1, stranger.tenant_id: 3}
    assert (taken.due, taken.left) == (8, 4)
    assert Task.objects.filter(next_fire_at__lte=now).count() == 4


def test_no_more_bytes_are_taken_than_have_room_but_always_one(user: User) -> None:
    now = timezone.now()
    for number in range(3):
        body = '"' + "x" * 1000 + '"'
        spec = TaskSpec(Surface.TASKS, TARGET, Once(now - number * SECOND), body)
        tasks.create_task(user, spec, now=now)

    turns = [len(take_due(Room(bytes=size))) for size in (1, 1100, 1)]

    assert turns == [1, 2, 0]


# The following fire times of crons.


DAY = 24 * HOUR


def daily_cron(user: User) -> Task:
    """A cron whose last fire time, today's midnight, is due."""
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    task = store_task(user, Cron("0 0 * * *"))
    Task.objects.filter(pk=task.pk).update(next_fire_at=midnight)
    task.refresh_from_db()
    return task


def test_a_cron_moves_to_the_fire_time_that_was_computed_beforehand(user: User) -> None:
    task = daily_cron(user)
    due = task.next_fire_at
    assert due is not None
    assert following.plan([task.pk]) == 1
    task.refresh_from_db()
    assert task.following_fire_times == [
        due + number * DAY for number in range(1, following.STEPS + 1)
    ]

    taken = due_tasks.take_due(Room(), leases.new_lease(leases.NO_PRESENCE))

    task.refresh_from_db()
    assert len(taken.runs) == 1
    assert (taken.unplanned, taken.recurring) == ([], [task.pk])
    assert (task.last_fire_at, task.next_fire_at) == (due, due + DAY)
    assert task.following_fire_times is not None
    assert task.following_fire_times[0] == due + 2 * DAY


def test_a_cron_that_has_used_up_its_following_fire_times_is_to_be_planned(
    user: User,
) -> None:
    task = daily_cron(user)

    # Python decides it, because no following fire time is known.
    taken = due_tasks.take_due(Room(), leases.new_lease(leases.NO_PRESENCE))

    assert taken.unplanned == [task.pk]
    assert following.plan(taken.unplanned) == 1
    task.refresh_from_db()
    due = task.next_fire_at
    assert due is not None
    Task.objects.filter(pk=task.pk).update(
        next_fire_at=due - DAY, last_fire_at=None, following_fire_times=[due]
    )
    Run.objects.all().delete()
    taken = due_tasks.take_due(Room(), leases.new_lease(leases.NO_PRESENCE))
    assert (len(taken.runs), taken.unplanned) == (1, [task.pk])
    task.refresh_from_db()
    assert (task.next_fire_at, task.following_fire_times) == (due, [])


@pytest.mark.parametrize("change", ["version", "rules"])
def test_following_fire_times_of_before_a_change_count_no_more(
    user: User, change: str
) -> None:
    task = daily_cron(user)
    following.plan([task.pk])
    wrong = [clock.now() + 77 * DAY] * 3
    changed = {"version": 99} if change == "version" else {"following_rules": "2001z"}
    Task.objects.filter(pk=task.pk).update(following_fire_times=wrong, **changed)
    due = task.next_fire_at
    assert due is not None

    assert len(take_due()) == 1

    task.refresh_from_db()
    assert (task.next_fire_at, task.following_fire_times) == (due + DAY, None)


def test_following_fire_times_are_not_written_beside_another_next_one(
    user: User,
) -> None:
    """Another worker takes the task between the reading and the writing."""
    task = daily_cron(user)
    later = clock.now() + 90 * DAY
    planned: list[int] = []

    def plan() -> None:
        try:
            planned.append(following.plan([task.pk]))
        finally:
            connection.close()

    planning = threading.Thread(target=plan)
    with transaction.atomic():
        Task.objects.filter(pk=task.pk).update(next_fire_at=later)
        planning.start()
        eventually(is_a_lock_awaited)
    planning.join()

    task.refresh_from_db()
    assert planned
    assert (task.next_fire_at, task.following_fire_times) == (later, None)


@pytest.mark.parametrize("schedule", [Once(datetime(2200, 1, 1, tzinfo=UTC)), Interval(datetime(2200, 1, 1, tzinfo=UTC), HOUR)])  # fmt: skip
def test_one_offs_and_intervals_need_no_following_fire_times(
    user: User, schedule: Once | Interval
) -> None:
    task = store_task(user, schedule)

    assert following.plan([task.pk]) == 0
    assert following.plan([]) == 0

    task.refresh_from_db()
    assert task.following_fire_times is None


@pytest.mark.parametrize("moment", [datetime.max, datetime(1969, 12, 31)])  # noqa: DTZ001, DTZ901 (made aware below)
def test_a_plan_reads_the_same_in_python_and_in_sql(
    user: User, moment: datetime
) -> None:
    extreme = moment.replace(tzinfo=timezone.now().tzinfo, microsecond=123456)
    store_task(user, Once(extreme))
    store_task(user, Interval(extreme, HOUR, extreme))

    assert schedule_edits.find_edited_task_ids(limit=9) == []
