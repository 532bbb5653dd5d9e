"""Requests of tasks that a bounded token made start only as its bounds allow."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from accounts.models import TokenBounds, User
from accounts.services import token_bounds
from tasks_api.domain.bounds import WINDOW, Bounds
from tasks_api.domain.exceptions import OutOfBounds, QuotaExceeded
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Surface
from tasks_api.models import BoundedStart, Run, Task
from tasks_api.scheduler import poll
from tasks_api.services import lapsing, manual_runs
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    ids_of,
    run_states,
    store_task,
    take_due,
    take_waiting,
)
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


def bind(user: User, parent: TokenBounds | None = None, **bounds: Any) -> TokenBounds:
    """Let the user call with a token of these bounds."""
    assert user.tenant is not None
    user.bounds = token_bounds.store_bounds(
        user.tenant, Bounds(**bounds), parent=parent, now=timezone.now()
    )
    return user.bounds


def let_pass(time: timedelta) -> None:
    """Move all that is stored of bounds back, as if the time had passed."""
    BoundedStart.objects.update(started_at=F("started_at") - time)
    Run.objects.filter(stage="live").update(wake_at=F("wake_at") - time)
    TokenBounds.objects.exclude(ends_at=None).update(ends_at=F("ends_at") - time)


def store_due(user: User, count: int = 1) -> list[Task]:
    return [store_task(user, Once(timezone.now() - SECOND)) for _ in range(count)]


def test_a_task_with_wide_bounds_is_taken_as_any_other(user: User) -> None:
    bounds = bind(user, runs_per_day=5)
    [task] = store_due(user)

    [run] = take_due()

    assert (run.task_id, run.bounds_id) == (task.pk, bounds.pk)
    assert BoundedStart.objects.count() == 1
    assert take_due() == take_waiting() == []


def test_no_more_start_in_a_day_than_the_bounds_allow(user: User) -> None:
    bind(user, runs_per_day=3)
    store_due(user, 10)

    assert len(take_due()) == 3
    waiting = Run.objects.filter(state="pending")
    assert waiting.count() == 3
    assert {run.reason[:40] for run in waiting} == {
        "Waits for the runs a day of its token un"
    }
    assert Run.objects.filter(state="missed").count() == 4
    let_pass(WINDOW - 5 * SECOND)
    assert take_waiting() == []
    let_pass(6 * SECOND)
    assert len(take_waiting()) == 3
    assert take_waiting() == []


def test_the_window_slides(user: User) -> None:
    bind(user, runs_per_day=2)
    store_due(user)
    assert len(take_due()) == 1
    let_pass(WINDOW / 2)
    store_due(user, 3)
    assert len(take_due()) == 1
    let_pass(WINDOW / 2 + SECOND)
    assert len(take_waiting()) == 1
    let_pass(WINDOW / 2)
    assert len(take_waiting()) == 1


def test_many_workers_admit_no_more_together(user: User) -> None:
    bind(user, runs_per_day=20)
    store_due(user, 40)

    found = run_in_threads(6, take_due)
    found += run_in_threads(6, take_waiting)

    ids = [run_id for taken in found for run_id in ids_of(taken)]
    assert len(ids) == len(set(ids)) == BoundedStart.objects.count() == 20


def test_a_narrower_token_counts_against_those_before(user: User) -> None:
    wide = bind(user, runs_per_day=3)
    store_due(user, 2)
    assert len(take_due()) == 2
    bind(user, wide, runs_per_day=2)
    store_due(user, 2)

    assert len(take_due()) == 1
    assert BoundedStart.objects.filter(bounds=wide).count() == 3


def test_retries_and_manual_runs_count(user: User) -> None:
    bind(user, runs_per_day=2)
    task = store_task(user, Once(timezone.now() + HOUR))
    for _ in range(2):
        manual_runs.fire_task(task.pk, now=timezone.now())
    [first, _] = take_waiting()
    Run.objects.filter(pk=first.run_id).update(
        state="retrying", lease=None, wake_at=timezone.now()
    )
    manual_runs.fire_task(task.pk, now=timezone.now())

    assert take_waiting() == []
    assert manual_runs.fire_task(task.pk, now=timezone.now()) is None
    with pytest.raises(QuotaExceeded) as refusal:
        manual_runs.run_now(
            user, str(task.pk), surface=Surface.TASKS, now=timezone.now()
        )
    assert refusal.value.until is not None
    assert Run.objects.filter(state="pending").count() == 2


def test_a_recurring_task_makes_no_more_waiting_runs_than_a_day_has(user: User) -> None:
    bind(user, runs_per_day=2)
    task = store_task(user, Interval(timezone.now() - 65 * SECOND, 10 * SECOND))
    Task.objects.filter(pk=task.pk).update(misfire="all")

    assert len(take_due()) == 2

    assert Counter(run_states(task)) == {"running": 2, "pending": 2, "missed": 3}


def test_what_nobody_renews_ends(user: User) -> None:
    bounds = bind(user, renew_within=7 * 24 * 3600)
    [soon, later] = [store_task(user, Once(timezone.now() + HOUR)) for _ in range(2)]
    manual_runs.fire_task(soon.pk, now=timezone.now())
    let_pass(timedelta(days=7) - 20 * SECOND)
    assert take_waiting() == []
    assert not poll.find_work().has_lapsed_bounds
    let_pass(21 * SECOND)

    assert take_waiting() == []
    assert poll.find_work().has_lapsed_bounds
    while lapsing.end_lapsed():
        pass

    assert not poll.find_work().has_lapsed_bounds
    for task in (soon, later):
        task.refresh_from_db()
        assert task.ended_at is not None
        assert task.end_reason == "not renewed"
    assert Run.objects.get().state == "cancelled"
    assert user.bounds is not None
    with pytest.raises(OutOfBounds, match="renew"):
        store_due(user)
    bounds.refresh_from_db()
    assert bounds.lapsed_at is not None


def test_what_a_narrower_token_made_ends_with_the_wider_one(user: User) -> None:
    wide = bind(user, renew_within=3600)
    bind(user, wide)
    task = store_task(user, Once(timezone.now() + 5 * HOUR))
    TokenBounds.objects.filter(pk=wide.pk).update(ends_at=timezone.now() - SECOND)

    while lapsing.end_lapsed():
        pass

    task.refresh_from_db()
    assert task.end_reason == "not renewed"
