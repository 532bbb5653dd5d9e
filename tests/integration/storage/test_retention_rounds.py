"""A round of retention goes in small batches, rests, ends in time, and locks out nobody."""

from __future__ import annotations

import importlib
import threading
from collections import Counter

import pytest
from django.apps import apps
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, PeriodicTask

from accounts.models import User
from tasks_api import tasks
from tasks_api.models import (
    Attempt,
    Run,
    Task,
)
from tasks_api.storage import retention
from tests.integration.support.old_rows import (
    DAY,
    LONG_AGO,
    ended_task,
    finished_run,
    periodic_task,
    prune_all,
)
from tests.integration.support.stored_tasks import HOUR

pytestmark = pytest.mark.django_db(transaction=True)


def test_more_rows_than_a_batch_holds_all_go(
    user: User, stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    for owner in (user, stranger):
        task = periodic_task(owner)
        for day in range(7):
            finished_run(task, LONG_AGO + day * DAY)

    assert prune_all()["run"] == 14
    assert not Run.objects.exists()
    assert not Attempt.objects.exists()


def test_runs_of_the_same_moment_all_go(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    moment = timezone.now() - LONG_AGO
    for _ in range(5):
        task = periodic_task(user)
        run = finished_run(task, LONG_AGO)
        Run.objects.filter(pk=run.pk).update(scheduled_for=moment)

    prune_all()

    assert not Run.objects.exists()


def test_the_oldest_go_first(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 1)
    task = periodic_task(user)
    runs = [finished_run(task, LONG_AGO - number * DAY) for number in (2, 0, 3, 1)]
    left = [oldest_first := sorted(runs, key=lambda run: run.scheduled_for)]

    def look(_: float) -> bool:
        found = list(Run.objects.order_by("scheduled_for"))
        # Other kinds have their turns, too.
        if found != left[-1]:
            left.append(found)
        return not found

    prune_all(pause=look)

    assert left == [oldest_first[number:] for number in range(5)]


def test_a_round_ends_when_its_pause_says_so(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 1)
    task = periodic_task(user)
    for day in range(3):
        finished_run(task, LONG_AGO + day * DAY)

    prune_all(pause=lambda _: True)

    assert Run.objects.count() == 2


def test_much_of_one_kind_keeps_no_other_waiting(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 1)
    task = periodic_task(user)
    for number in range(9):
        finished_run(task, LONG_AGO + number * DAY)
    ended_task(user, LONG_AGO)
    bites = iter([False, False, True])

    gone = prune_all(pause=lambda _: next(bites))

    assert (gone["run"], gone["task"]) == (1, 1)


def test_a_round_rests_after_each_batch_and_ends_in_time(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 1)
    task = periodic_task(user)
    for day in range(3):
        finished_run(task, LONG_AGO + day * DAY)
    rests: list[float] = []

    prune_all(pause=rests.append)

    assert len(rests) >= 3
    assert min(rests) > 0
    monkeypatch.setattr(retention, "ROUND_SECONDS", 0.0)
    finished_run(task, LONG_AGO)
    finished_run(task, LONG_AGO + HOUR)
    prune_all(pause=rests.append)
    assert Run.objects.count() == 1


def test_the_number_of_statements_does_not_depend_on_the_number_of_rows(
    user: User,
) -> None:
    def statements(count: int) -> int:
        task = periodic_task(user)
        for number in range(count):
            finished_run(task, LONG_AGO + number * HOUR)
        with CaptureQueriesContext(connection) as seen:
            assert prune_all()["run"] == count
        return len(seen)

    assert statements(1) == statements(40)


def test_several_workers_prune_at_once_and_each_row_goes_once(
    user: User, stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 7)
    for owner in (user, stranger):
        task = periodic_task(owner)
        for number in range(150):
            finished_run(task, LONG_AGO + number * HOUR)
        for number in range(50):
            ended_task(owner, LONG_AGO + number * HOUR)
    together = threading.Barrier(4)
    gone: list[Counter[str]] = []

    def work() -> None:
        together.wait()
        try:
            gone.append(prune_all())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What one had locked when another one passed.
    gone.append(prune_all())

    total = sum(gone, Counter())
    assert (total["run"], total["task"]) == (300, 100)
    assert not Run.objects.exists()
    assert (
        Task.objects.count()
        == PeriodicTask.objects.exclude(http_task=None).count()
        == 2
    )
    assert not ClockedSchedule.objects.exists()


def test_a_locked_row_is_left_for_the_next_round(user: User) -> None:
    task = periodic_task(user)
    held = finished_run(task, LONG_AGO)
    finished_run(task, LONG_AGO + DAY)
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "SELECT 1 FROM tasks_api_run WHERE id = %s FOR UPDATE", [held.pk]
            )
            locked.set()
            done.wait(20)
            cursor.execute("ROLLBACK")
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(20)
    try:
        assert prune_all()["run"] == 1
    finally:
        done.set()
        holder.join()
    assert prune_all()["run"] == 1


def test_a_worker_begins_one_round_at_a_time(user: User) -> None:
    finished_run(periodic_task(user), LONG_AGO)
    with tasks._pruning:
        tasks.prune()
        assert Run.objects.exists()

    tasks.prune()

    assert not Run.objects.exists()


def test_a_round_is_sent_every_minute_and_rounds_do_not_pile_up(db: None) -> None:
    migration = importlib.import_module("tasks_api.migrations.0001_initial")
    migration.add_housekeeping(apps, None)

    row = PeriodicTask.objects.get(name="forget old history")
    assert (row.interval.every, row.interval.period) == (1, "minutes")
    assert row.task == tasks.prune.name
    assert row.expire_seconds < 60
