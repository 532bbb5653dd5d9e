"""What is due when a calendar gets a new version fires as if a worker had taken it before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.calendars import CalendarChoice
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.day_sets import WEEKDAYS
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import Misfire
from tasks_api.domain.states import EndReason, RunState
from tasks_api.models import Run, Task
from tasks_api.services import catch_ups, pausing
from tests.integration.support.calendars import (
    change_calendar,
    make_calendar,
    task_on,
)
from tests.integration.support.passed_fire_times import assert_balanced, states
from tests.integration.support.reconciliation_model import let_pass, settle_all
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)
CLOSED = CalendarChoice(exclude=("closed",))


def overdue(
    user: User, choice: CalendarChoice = CLOSED, *, count: int = 5, **more: Any
) -> Task:
    """A task with so many due fire times, the newest 30 seconds ago."""
    make_calendar(user, "closed")
    every = more.pop("every", MINUTE)
    task = task_on(user, Interval(timezone.now() + 30 * SECOND, every), choice, **more)
    let_pass(task, count * every)
    return task


def close(user: User) -> None:
    """Let the calendar cover all days."""
    change_calendar(user, "closed", weekdays=list(WEEKDAYS))


def test_the_newest_due_fire_time_fires_though_the_new_version_excludes_it(
    user: User,
) -> None:
    task = overdue(user)

    close(user)
    assert_balanced(task, planned=5)
    settle_all()

    assert states(task) == {RunState.PENDING: 1, RunState.MISSED: 4}
    [run] = take_waiting()
    missed = Run.objects.filter(task=task, state=RunState.MISSED)
    assert run.scheduled_for == missed.latest("scheduled_for").scheduled_for + MINUTE
    reasons = {each.reason for each in missed}
    assert reasons == {
        "Passed while nobody could fire it; only the newest one is made up for."
    }
    assert_balanced(task, planned=5)


def test_with_misfire_all_each_due_fire_time_fires(user: User) -> None:
    task = overdue(user, misfire=Misfire.ALL)

    close(user)
    settle_all()

    assert states(task) == {RunState.PENDING: 5}
    assert len(take_waiting()) == 5
    assert_balanced(task, planned=5)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"misfire": Misfire.SKIP}, RunState.MISSED),
        ({"catchup_window": 120}, RunState.MISSED),
        ({"catchup_window": 3600}, RunState.PENDING),
    ],
)
def test_what_is_too_late_is_missed(
    user: User, policy: dict[str, Any], expected: RunState
) -> None:
    task = overdue(user, count=0, every=HOUR, **policy)
    let_pass(task, 10 * MINUTE)

    close(user)
    settle_all()

    assert states(task) == {expected: 1}
    assert_balanced(task, planned=1)


def test_within_the_grace_a_task_that_skips_fires(user: User) -> None:
    task = overdue(user, count=0, misfire=Misfire.SKIP)
    let_pass(task, 32 * SECOND)

    close(user)
    settle_all()

    assert states(task) == {RunState.PENDING: 1}


def test_a_pause_before_anybody_fired_it_cancels_it(user: User) -> None:
    task = overdue(user)
    close(user)

    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    settle_all()

    assert states(task) == {RunState.CANCELLED: 1, RunState.MISSED: 4}
    run = Run.objects.get(state=RunState.CANCELLED)
    assert run.reason == catch_ups.CUT_OFF_REASON
    assert_balanced(task, planned=5)


def test_a_version_that_comes_after_it_changes_nothing(user: User) -> None:
    task = overdue(user)
    close(user)
    change_calendar(user, "closed")

    settle_all()
    take_due()

    assert states(task)[RunState.CANCELLED] == 0
    assert_balanced(task, planned=5)


def test_the_last_run_ends_the_task(user: User) -> None:
    task = overdue(user, max_runs=1)

    close(user)
    settle_all()

    task.refresh_from_db()
    assert (task.runs_made, task.end_reason) == (1, EndReason.MAX_RUNS)
    assert states(task) == {RunState.PENDING: 1, RunState.MISSED: 4}


def test_a_version_that_holds_at_this_moment_holds_it(user: User) -> None:
    task = overdue(user, CalendarChoice(hold=("closed",)))

    change_calendar(user, "closed", ranges=[_until_in_an_hour()])
    settle_all()

    run = Run.objects.get(task=task, state=RunState.PENDING)
    assert run.reason == "Held by calendar closed."
    assert run.wake_at is not None
    assert run.wake_at > timezone.now() + 50 * MINUTE


def test_the_held_run_of_a_task_that_has_ended_follows_a_new_version(
    user: User,
) -> None:
    first = timezone.now() + MINUTE
    task = overdue(user, CalendarChoice(hold=("closed",)), count=0, max_runs=1)
    change_calendar(user, "closed", ranges=[_until_in_an_hour()])
    let_pass(task, first - timezone.now())
    take_due()
    task.refresh_from_db()
    assert task.ended_at is not None

    change_calendar(user, "closed", ranges=[_until_in_an_hour(), _from_an_hour_on()])

    run = Run.objects.get(task=task, state=RunState.PENDING)
    assert run.wake_at is not None
    assert run.wake_at > timezone.now() + 110 * MINUTE


def test_what_a_resume_makes_up_for_is_held_too(user: User) -> None:
    task = overdue(user, CalendarChoice(hold=("closed",)), count=0)
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    let_pass(task, 3 * MINUTE)
    change_calendar(user, "closed", ranges=[_until_in_an_hour()])

    pausing.resume_tasks(user, [str(task.pk)], now=timezone.now(), catch_up=CatchUp.ALL)
    settle_all()

    runs = Run.objects.filter(task=task, state=RunState.PENDING)
    assert {run.reason for run in runs} == {"Held by calendar closed."}
    assert not take_waiting()


def _from_an_hour_on() -> dict[str, str]:
    later = timezone.now() + HOUR - MINUTE
    return {"from": later.isoformat(), "to": (later + HOUR).isoformat()}


def _until_in_an_hour() -> dict[str, str]:
    now = timezone.now()
    return {"from": (now - HOUR).isoformat(), "to": (now + HOUR).isoformat()}
