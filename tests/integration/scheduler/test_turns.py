"""What one beat does at a time, others neither do nor wait for."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import TokenBounds, User
from accounts.services import token_bounds
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from tasks_api.domain.bounds import Bounds
from tasks_api.domain.schedules import Interval, Once
from tasks_api.models import Run, Task
from tasks_api.scheduler import overdue
from tasks_api.services import lapsing
from tasks_api.worker import long_work
from tests.integration.support.long_work import (
    begin_run,
    latest_run_of,
    make_long_work,
    pass_deadline,
)
from tests.integration.support.stored_tasks import HOUR, SECOND, store_task
from tests.integration.support.threads import held_elsewhere, refusing_to_wait

pytestmark = pytest.mark.django_db(transaction=True)


def begin(kind: LockKind) -> None:
    """Do what another beat does that has its turn, and is not done yet."""
    # Not as a beat does: it would lose its turn where this test is slow.
    locks.acquire(kind)
    list(Task.objects.select_for_update(no_key=True))


def test_one_beat_makes_runs_of_overdue_tasks(user: User) -> None:
    start = timezone.now() - 1.5 * SECOND
    task = store_task(user, Interval(start, 2 * SECOND, start + HOUR))
    Task.objects.filter(pk=task.pk).update(next_fire_at=start)

    with held_elsewhere(lambda: begin(LockKind.OVERDUE_TASKS)), refusing_to_wait():
        assert not overdue.let_wait()
        assert not Run.objects.exists()

    overdue.let_wait()
    assert Run.objects.exists()


def test_one_beat_ends_runs_whose_deadlines_have_passed(user: User) -> None:
    task = make_long_work(user, pause_after_failures=3)
    begin_run(task)
    run = latest_run_of(task)
    pass_deadline(run)

    with held_elsewhere(lambda: begin(LockKind.DEADLINES)), refusing_to_wait():
        assert long_work.expire().run_ids == []

    assert long_work.expire().run_ids == [run.pk]


def test_one_beat_ends_the_tasks_of_bounds_that_lapsed(user: User) -> None:
    assert user.tenant is not None
    user.bounds = token_bounds.store_bounds(
        user.tenant, Bounds(renew_within=3600), parent=None, now=timezone.now()
    )
    task = store_task(user, Once(timezone.now() + HOUR))
    TokenBounds.objects.update(ends_at=timezone.now() - SECOND)

    with held_elsewhere(lambda: begin(LockKind.LAPSED_BOUNDS)), refusing_to_wait():
        assert not lapsing.end_lapsed()

    assert lapsing.end_lapsed()
    task.refresh_from_db()
    assert task.ended_at is not None


def test_a_beat_that_freezes_soon_loses_its_turn() -> None:
    with transaction.atomic():
        assert locks.try_turn(LockKind.DEADLINES)
        with connection.cursor() as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            assert cursor.fetchone() == ("2s",)
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() != ("2s",)
