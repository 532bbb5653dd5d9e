"""Beats on real rows: they follow edits, send nobody's tasks once, and ring."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from celery import current_app
from django.conf import LazySettings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
)
from kombu import Connection

from accounts.models import User
from tasks_api.domain.schedules import Interval, Once
from tasks_api.messaging import broker
from tasks_api.models import Heartbeat, Run, Task
from tasks_api.scheduler import bells, missing_workers
from tasks_api.scheduler.beat import TenantScheduler
from tasks_api.tasks import fire
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    give_back,
    store_task,
    take_due,
)
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


class BrokerQueue:
    """The messages that wait in the broker, as [task name, arguments]."""

    def __init__(self) -> None:
        self._name = current_app.conf.task_default_queue

    def purge(self) -> None:
        with current_app.connection_for_write() as connection:
            self._redis(connection).delete(self._name)

    def messages(self) -> list[tuple[str, list[Any]]]:
        with current_app.connection_for_read() as connection:
            raw = self._redis(connection).lrange(self._name, 0, -1)
        return [self._read(json.loads(text)) for text in raw]

    @staticmethod
    def _redis(connection: Connection) -> Any:
        return connection.default_channel.client  # type: ignore[attr-defined]  # a channel of Redis

    def _read(self, message: dict[str, Any]) -> tuple[str, list[Any]]:
        body = json.loads(base64.b64decode(message["body"]))
        return message["headers"]["task"], body[0]


@pytest.fixture
def queue() -> Iterator[BrokerQueue]:
    found = BrokerQueue()
    found.purge()
    yield found
    found.purge()


@pytest.fixture
def beat() -> TenantScheduler:
    return TenantScheduler(app=current_app)


def task_names(queue: BrokerQueue) -> list[str]:
    return [name for name, _ in queue.messages()]


def ring_at(beat: TenantScheduler, workers: int) -> None:
    """Tick as if the beat had just counted so many workers."""
    beat.tick()
    beat._bells.workers = workers
    beat.tick()


def test_a_bell_has_no_contents(
    user: User, beat: TenantScheduler, queue: BrokerQueue
) -> None:
    store_task(user, Once(timezone.now()))

    ring_at(beat, workers=1)

    assert queue.messages() == [(broker.DELIVER_TASK, [])]
    # Only workers make runs.
    assert not Run.objects.exists()


def test_a_beat_rings_before_something_is_due_and_not_for_later(
    user: User, beat: TenantScheduler, queue: BrokerQueue, settings: LazySettings
) -> None:
    store_task(user, Once(timezone.now() + HOUR))
    ring_at(beat, workers=1)
    assert task_names(queue) == []

    settings.SCHEDULER_LOOK_AHEAD = 2 * HOUR.total_seconds()
    beat.tick()

    assert task_names(queue) == [broker.DELIVER_TASK]


def test_a_beat_rings_for_runs_that_wait(
    user: User, beat: TenantScheduler, queue: BrokerQueue
) -> None:
    store_task(user, Once(timezone.now()))
    give_back(take_due())

    ring_at(beat, workers=1)

    assert task_names(queue) == [broker.DELIVER_TASK]


def test_as_many_workers_are_rung_as_there_is_work_for(
    user: User,
    beat: TenantScheduler,
    queue: BrokerQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bells, "BATCH_SIZE", 25)
    now = timezone.now()
    for _ in range(30):
        store_task(user, Once(now))

    ring_at(beat, workers=4)

    assert task_names(queue) == [broker.DELIVER_TASK] * 2


def test_without_workers_no_bell_fills_the_broker(
    user: User, beat: TenantScheduler, queue: BrokerQueue
) -> None:
    store_task(user, Once(timezone.now()))

    beat.tick()
    beat.tick()

    assert task_names(queue) == []


def test_a_beat_rings_once_a_second_for_one_moment(
    user: User,
    beat: TenantScheduler,
    queue: BrokerQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bells, "REPEAT_INTERVAL", 60.0)
    store_task(user, Once(timezone.now()))
    ring_at(beat, workers=1)
    beat.tick()
    assert task_names(queue) == [broker.DELIVER_TASK]

    # Another moment is another bell. A poll that was slow sees nothing over a minute old.
    store_task(user, Once(timezone.now() - 30 * SECOND))
    beat.tick()

    assert len(task_names(queue)) == 2


def test_a_run_whose_worker_was_lost_is_rung_for(
    user: User,
    beat: TenantScheduler,
    queue: BrokerQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(missing_workers, "RECONNECT_GRACE", 0.0)
    store_task(user, Once(timezone.now()))
    take_due()
    beat.tick()
    Run.objects.update(wake_at=timezone.now() - SECOND)

    beat.tick()

    assert Run.objects.get().state == "pending"
    assert broker.DELIVER_TASK in task_names(queue)


def test_a_tick_follows_an_edit_of_a_shared_interval(
    user: User, beat: TenantScheduler
) -> None:
    start = timezone.now() + 10 * SECOND
    task = store_task(user, Interval(start, HOUR, start + 9 * HOUR))
    beat.tick()
    interval = IntervalSchedule.objects.get(every=3600)
    interval.every = 5
    interval.save()
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(
        start_time=timezone.now() - HOUR
    )

    beat.tick()

    task.refresh_from_db()
    assert task.next_fire_at is not None
    assert task.next_fire_at - timezone.now() < 6 * SECOND


def test_a_tick_follows_edits_made_while_no_beat_was_up(
    user: User, beat: TenantScheduler
) -> None:
    task = store_task(user, Once(timezone.now() + HOUR))
    later = timezone.now() + 2 * HOUR
    clocked = ClockedSchedule.objects.get()
    clocked.clocked_time = later
    clocked.save()

    beat.tick()

    task.refresh_from_db()
    assert task.next_fire_at == later


def test_a_task_edited_to_a_crontab_follows_it(
    user: User, beat: TenantScheduler
) -> None:
    task = store_task(user, Interval(timezone.now() + HOUR, HOUR, None))
    row = PeriodicTask.objects.get(pk=task.periodic_task_id)
    row.interval, row.start_time = None, None
    row.crontab = CrontabSchedule.objects.create(minute="30", timezone="Asia/Kathmandu")
    row.save()

    beat.tick()

    task.refresh_from_db()
    # Kathmandu is 5:45 ahead, so its half hours are our quarters to.
    assert task.next_fire_at is not None
    assert task.next_fire_at.minute == 45


def unowned_periodic_task(**fields: object) -> PeriodicTask:
    every = IntervalSchedule.objects.create(every=1, period="seconds")
    values = {"name": "report", "task": "reports.send", "interval": every}
    row = PeriodicTask.objects.create(**(values | fields))
    long_ago = timezone.now() - timedelta(minutes=5)
    PeriodicTask.objects.filter(pk=row.pk).update(last_run_at=long_ago)
    return row


def test_a_periodic_task_of_no_tenant_is_sent_as_celery_beat_would(
    beat: TenantScheduler, queue: BrokerQueue
) -> None:
    row = unowned_periodic_task(args='["daily"]')

    beat.tick()

    assert queue.messages() == [("reports.send", ["daily"])]
    row.refresh_from_db()
    assert row.total_run_count == 1


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("kind", ["interval", "crontab", "clocked"])
def test_a_beat_whose_clock_is_off_sends_it_when_the_others_do(
    beat: TenantScheduler, queue: BrokerQueue, hours: int, kind: str
) -> None:
    soon = timezone.now() + timedelta(minutes=30)
    daily = CrontabSchedule.objects.create(minute=soon.minute, hour=soon.hour)
    half = IntervalSchedule.objects.create(every=35, period="minutes")
    later = ClockedSchedule.objects.create(clocked_time=soon)
    none: dict[str, object] = {"interval": None, "crontab": None, "clocked": None}
    waiting = {"interval": half, "crontab": daily, "clocked": later}[kind]
    unowned_periodic_task(
        name="not yet", **(none | {kind: waiting, "one_off": kind == "clocked"})
    )
    due = unowned_periodic_task(name="due", task="reports.due")

    with time_machine.travel(timezone.now() + hours * HOUR, tick=True):
        beat.tick()

    assert task_names(queue) == ["reports.due"]
    due.refresh_from_db()
    assert abs(due.last_run_at - timezone.now()) < timedelta(minutes=1)


def test_many_beats_send_it_once(queue: BrokerQueue) -> None:
    unowned_periodic_task()

    def tick() -> None:
        TenantScheduler(app=current_app).tick()

    run_in_threads(6, tick)

    assert task_names(queue) == ["reports.send"]


def test_a_disabled_periodic_task_is_not_sent(
    beat: TenantScheduler, queue: BrokerQueue
) -> None:
    unowned_periodic_task(enabled=False)

    beat.tick()

    assert task_names(queue) == []


def test_a_broken_periodic_task_stops_neither_the_beat_nor_the_others(
    user: User, beat: TenantScheduler, queue: BrokerQueue
) -> None:
    unowned_periodic_task(name="broken", args="[not json")
    unowned_periodic_task(name="sound")
    store_task(user, Once(timezone.now()))

    # A beat that has not counted workers yet sends no bell.
    beat._bells.workers = 1
    beat.tick()

    assert sorted(task_names(queue)) == ["reports.send", broker.DELIVER_TASK]


def test_a_schedule_that_never_fires_is_logged_once_for_each_change(
    beat: TenantScheduler, queue: BrokerQueue, caplog: pytest.LogCaptureFixture
) -> None:
    never = CrontabSchedule.objects.create(
        minute="0", hour="0", day_of_month="30", month_of_year="2"
    )
    row = unowned_periodic_task(name="never", interval=None, crontab=never)
    unowned_periodic_task(name="sound")

    def said() -> list[str]:
        return [each.getMessage() for each in caplog.records if each.exc_info is None]

    for changed in range(3):
        row.description = f"changed {changed}"
        row.save()
        beat._operator_tasks.reload()
        beat.tick()
        beat._operator_tasks.reload()
        beat.tick()

    lines = [line for line in said() if "'never'" in line]
    assert len(lines) == 3
    assert "cannot be computed" in lines[0]
    assert "day_of_month" in lines[0]
    assert all(each.exc_info is None for each in caplog.records)
    assert set(task_names(queue)) == {"reports.send"}


def test_an_idle_tick_is_one_statement(beat: TenantScheduler) -> None:
    beat.tick()

    with CaptureQueriesContext(connection) as queries:
        beat.tick()

    assert len(queries) == 1


def test_a_beat_says_that_it_is_alive(beat: TenantScheduler) -> None:
    beat.tick()

    assert Heartbeat.objects.get().kind == "beat"
    beat.close()
    assert not Heartbeat.objects.exists()


def test_a_message_that_names_a_task_fires_nothing(
    user: User, queue: BrokerQueue
) -> None:
    task = store_task(user, Once(timezone.now() + HOUR))
    row = Task.objects.get(pk=task.pk).periodic_task

    assert row.task == fire.name
    fire(*json.loads(row.args))

    assert not Run.objects.exists()
    assert task_names(queue) == []


def test_a_lease_that_ran_out_in_an_outage_is_not_over_at_once(
    user: User, beat: TenantScheduler
) -> None:
    store_task(user, Once(timezone.now()))
    take_due()
    beat.tick()
    Run.objects.update(wake_at=timezone.now() - SECOND)

    # It has just begun, so that it may have been away with all the others.
    beat.tick()

    assert Run.objects.get().state == "running"
