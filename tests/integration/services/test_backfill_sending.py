"""The runs of a backfill are sent in order, at their pace, and in turn where they must."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.domain.backfills import Pace
from tasks_api.domain.exceptions import (
    InvalidState,
)
from tasks_api.domain.specs import Overlap
from tasks_api.domain.states import RunState
from tasks_api.models import Run
from tasks_api.services import (
    cancellation,
    pausing,
    removal,
)
from tasks_api.services.run_selection import RunSelection
from tests.integration.support.backfills import (
    backfilled,
    end_run,
    hourly_task,
    let_be_due,
    live_backfills,
    settle,
)
from tests.integration.support.stored_tasks import (
    HOUR,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_pace_holds_across_calls(user: User) -> None:
    task = hourly_task(user)
    settle(task)
    wanted: dict[str, Any] = {
        "pace": Pace(20, "minute"),
        "since": timezone.now() - 5 * HOUR,
    }
    first = backfilled(user, task, **wanted)
    second = backfilled(user, task, pace=Pace(20, "minute"))

    times = [run.scheduled_for for run in live_backfills(task)]
    gaps = {round((b - a).total_seconds(), 2) for a, b in pairwise(times)}
    assert gaps == {3.0}
    assert len(times) == first.runs + second.runs
    slots = [run.slot for run in live_backfills(task)]
    assert slots == first.plan.slots + second.plan.slots
    # None is sent early.
    assert len(take_waiting()) == 1


def test_a_resumed_task_does_not_hurry_its_backfill(user: User) -> None:
    task = hourly_task(user)
    settle(task)
    backfilled(user, task, pace=Pace(1, "minute"))
    before = [run.wake_at for run in live_backfills(task)]

    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    pausing.resume_tasks(user, [str(task.pk)], now=timezone.now())

    assert [run.wake_at for run in live_backfills(task)] == before


def test_a_paused_task_is_backfilled(user: User) -> None:
    task = hourly_task(user)
    settle(task)
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())

    made = backfilled(user, task)
    let_be_due(task)

    assert made.runs == len(take_waiting()) == 9


def test_a_task_that_ended_by_itself_is_backfilled_and_a_removed_one_not(
    user: User,
) -> None:
    ended, removed = hourly_task(user, max_runs=1), hourly_task(user)
    settle(ended)
    backfilled(user, removed, pace=Pace(1, "minute"))
    removal.remove_task(user, str(removed.pk), now=timezone.now())

    assert backfilled(user, ended).runs == 9
    assert {run.state for run in live_backfills(removed)} == {"cancelled"}
    with pytest.raises(InvalidState, match="The task was removed"):
        backfilled(user, removed)


def test_backfills_count_for_no_limit(user: User) -> None:
    task = hourly_task(user, max_runs=5, stop_on_success=True)
    settle(task)
    backfilled(user, task)
    let_be_due(task)
    for run in take_waiting():
        end_run(run)

    task.refresh_from_db()
    assert (task.runs_left, task.ended_at) == (4, None)


def test_backfills_are_cancelled_by_their_id(user: User) -> None:
    task, other = hourly_task(user), hourly_task(user)
    for each in (task, other):
        settle(each)
    slow = Pace(1, "hour")
    made, _ = backfilled(user, task, pace=slow), backfilled(user, other, pace=slow)

    wanted = RunSelection([RunState.PENDING], backfill_id=made.backfill_id)
    cancelled = cancellation.cancel_runs(user, wanted, limit=1000)

    assert len(cancelled.runs) == 9
    assert {run.state for run in live_backfills(task)} == {"cancelled"}
    assert {run.state for run in live_backfills(other)} == {"pending"}


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.QUEUE_ONE])
def test_runs_of_a_task_that_may_not_overlap_take_turns(
    user: User, overlap: Overlap
) -> None:
    task = hourly_task(user, age=6 * HOUR, overlap=overlap)
    [running] = take_due() or take_waiting()
    made = backfilled(user, task)
    let_be_due(task)
    # The run of the schedule comes first.
    assert take_waiting() == []
    end_run(running)

    sent = []
    for _ in range(made.runs):
        Run.objects.filter(task=task, state=RunState.PENDING, exclusive=False).update(
            wake_at=clock.read()
        )
        taken = take_waiting() or take_waiting()
        [run] = taken
        assert take_waiting() == []
        sent.append(run.slot)
        end_run(run)

    assert sent == made.plan.slots
    assert take_waiting() == []


def test_the_end_of_a_backfill_gives_the_next_one_its_turn(user: User) -> None:
    task = hourly_task(user, age=4 * HOUR, overlap=Overlap.SKIP)
    for run in take_due():
        end_run(run)
    backfilled(user, task)
    let_be_due(task)
    assert take_waiting() == []
    [first] = take_waiting()

    end_run(first)

    assert len(take_waiting()) == 1


def test_overlap_allow_sends_them_side_by_side(user: User) -> None:
    task = hourly_task(user, age=6 * HOUR, overlap=Overlap.SKIP)
    take_due()
    backfilled(user, task, may_overlap=True)
    let_be_due(task)

    assert len(take_waiting()) == 5
