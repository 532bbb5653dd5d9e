"""One task in trouble pauses alone, and one part of a tick that fails stops no other."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from rest_framework.test import APIClient

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.delivery.request import ClaimedRun
from tasks_api.domain.schedules import Cron, Interval, Once
from tasks_api.domain.specs import Overlap, Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.models import Heartbeat, Run, Task
from tasks_api.scheduler import isolation
from tasks_api.scheduler.beat import TenantScheduler
from tasks_api.services import removal, tasks
from tasks_api.taking import isolation as task_isolation
from tasks_api.taking import leases
from tasks_api.taking.room import Room
from tests.conftest import ClientFor
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    TARGET,
    run_states,
    store_task,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture
def beat() -> TenantScheduler:
    return TenantScheduler(app=current_app)


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def take() -> list[ClaimedRun]:
    return task_isolation.take_due(Room(), leases.new_lease(leases.NO_PRESENCE)).runs


def make_overdue(task: Task) -> None:
    Task.objects.filter(pk=task.pk).update(next_fire_at=clock.now() - 10 * SECOND)


@contextmanager
def table_gone(name: str) -> Iterator[None]:
    sql(f"ALTER TABLE {name} RENAME TO gone")
    try:
        yield
    finally:
        sql(f"ALTER TABLE gone RENAME TO {name}")


@pytest.mark.parametrize("overlap", [Overlap.ALLOW, Overlap.SKIP, Overlap.QUEUE_ONE])
@pytest.mark.parametrize(
    "schedule",
    [
        Cron("* * * * *", seconds="*", end=LAST),
        Interval(datetime(2026, 1, 1, tzinfo=UTC), 5 * SECOND, LAST),
    ],
)
def test_an_end_at_the_end_of_the_calendar_stops_no_worker(
    user: User, schedule: Cron | Interval, overlap: Overlap
) -> None:
    spec = TaskSpec(Surface.TASKS, TARGET, schedule, "{}", overlap=overlap)
    task = tasks.create_task(user, spec, now=timezone.now())
    make_overdue(task)

    take()

    task.refresh_from_db()
    assert task.pause_reason == ""
    assert RunState.RUNNING in run_states(task)


@pytest.mark.parametrize("fields", [{"cron": "* * * * *"}, {"frequency": 3600}])
def test_a_spread_task_may_end_with_the_calendar(
    user: User, client_for: ClientFor, fields: dict[str, object]
) -> None:
    api: APIClient = client_for(user)
    body = {
        "task_type": "periodic",
        **fields,
        "start_datetime": "2030-01-01T00:00:00Z",
        "end_datetime": "9999-12-31T23:59:59Z",
        "spread": 30,
        "url": "http://93.184.216.34/",
    }

    made = api.post("/tasks/", body, format="json")

    assert made.status_code == 201
    task_id = made.json()["id"]
    shown = api.get(f"/tasks/id/{task_id}").json()
    assert shown["end_datetime"] == "9999-12-31 23:59:59"
    assert shown["start_datetime"] == "2030-01-01 00:00:00"
    for path in ("account/", "next/?n=2"):
        assert api.get(f"/tasks/{task_id}/{path}").status_code == 200
    changed = api.patch(f"/tasks/id/{task_id}", {"spread": 20}, format="json")
    assert changed.status_code == 200


def test_a_task_that_nobody_can_compute_pauses_alone(
    user: User, stranger: User, caplog: pytest.LogCaptureFixture
) -> None:
    broken = store_task(user, Cron("* * * * *", seconds="*"))
    make_overdue(broken)
    Task.objects.filter(pk=broken.pk).update(dst="unheard of")
    sound = store_task(stranger, Once(timezone.now()))

    take()
    take()

    broken.refresh_from_db()
    assert (broken.next_fire_at, run_states(sound)) == (None, [RunState.RUNNING])
    assert "unheard of" in broken.pause_reason
    assert not PeriodicTask.objects.get(pk=broken.periodic_task_id).enabled
    assert len([each for each in caplog.records if "pauses" in each.message]) == 1


def test_a_row_that_the_statement_fails_of_pauses_alone(
    user: User, stranger: User
) -> None:
    broken = store_task(user, Interval(timezone.now(), HOUR))
    sql(
        "UPDATE django_celery_beat_periodictask SET expires = 'infinity' WHERE id = %s",
        broken.periodic_task_id,
    )
    sound = store_task(stranger, Once(timezone.now()))

    lease = leases.new_lease(leases.NO_PRESENCE)
    taken = task_isolation.take_due(Room(), lease)
    # The batch may have taken the other task before it failed. Then its run waits, and
    # the worker looks again at once.
    assert taken.unfinished
    [run] = taken.runs + take_waiting()

    broken.refresh_from_db()
    assert (run.task_id, run_states(sound)) == (sound.pk, [RunState.RUNNING])
    assert (broken.next_fire_at, run_states(broken)) == (None, [])
    assert broken.pause_reason


def test_an_edit_that_nobody_can_follow_holds_up_no_other(
    user: User, stranger: User, beat: TenantScheduler
) -> None:
    broken, sound = (
        store_task(user, Cron("0 0 * * *")),
        store_task(stranger, Cron("0 0 * * *")),
    )
    Task.objects.filter(pk=broken.pk).update(dst="unheard of")
    end = timezone.now() + HOUR
    for task in (broken, sound):
        row = PeriodicTask.objects.get(pk=task.periodic_task_id)
        row.expires = end
        row.save()

    beat.tick()

    broken.refresh_from_db()
    sound.refresh_from_db()
    assert (sound.ends_at, broken.next_fire_at) == (end, None)
    assert "unheard of" in broken.pause_reason


def test_a_part_that_fails_stops_no_other_and_is_logged_once(
    user: User, beat: TenantScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    now = timezone.now()
    past = store_task(user, Interval(now - HOUR, HOUR, now - SECOND))
    Task.objects.update(next_fire_at=None)

    with table_gone("tasks_api_schedulechange"):
        # Three parts cannot do without it.
        beat.tick()
        beat.tick()

    past.refresh_from_db()
    assert past.ended_at is not None
    assert Heartbeat.objects.get().kind == "beat"
    errors = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert sorted(each.message.partition(":")[0] for each in errors) == [
        "Catching up",
        "Polling",
        "Settling schedule changes",
    ]


def test_a_part_that_failed_rests_and_works_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = isolation.TickParts()
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    asked: list[float] = []

    def fail() -> str:
        asked.append(now)
        raise ValueError("no")

    for _ in range(100):
        assert parts.run("A part", fail, "otherwise") == "otherwise"
        now += 0.2

    assert len(asked) < 8
    assert len(caplog.records) == 1
    now += isolation.MAX_REST_SECONDS
    assert parts.run("A part", lambda: "done", "otherwise") == "done"


def test_a_change_that_cannot_be_settled_holds_up_no_other(
    user: User, beat: TenantScheduler
) -> None:
    broken, sound = (store_task(user, Cron("* * * * *", seconds="*")) for _ in range(2))
    make_overdue(broken)
    make_overdue(sound)
    Task.objects.filter(pk=broken.pk).update(dst="unheard of")
    for task in (broken, sound):
        removal.remove_task(user, str(task.pk), now=timezone.now())

    beat.tick()

    assert Run.objects.filter(task=sound, state=RunState.MISSED).count() >= 8
    assert run_states(broken) == []
