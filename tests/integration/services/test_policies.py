"""Runs that may not overlap, fire times that are not made up for, and retries."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import (
    Misfire,
    RetryPolicy,
    Surface,
    TaskSpec,
)
from tasks_api.models import Attempt, Run, Task
from tasks_api.scheduler import rescue
from tasks_api.services import manual_runs, named_tasks, removal
from tasks_api.taking import due_tasks, leases
from tasks_api.taking.room import Room
from tasks_api.worker.engine import Engine
from tests.integration.conftest import ResultLog
from tests.integration.support.policy_tasks import due_every, make_due, make_task_with
from tests.integration.support.stored_tasks import HOUR, SECOND, run_states, take_due
from tests.integration.support.threads import run_in_threads
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


POLICY = RetryPolicy((429, 502, 503, 504), min_delay=1, max_delay=60)


def store_waiting_run(task: Task, at: datetime, **more: Any) -> None:
    ids = {"id": id_for(at, task.tenant_id), "task": task, "tenant": task.tenant}
    Run.objects.create(**ids, scheduled_for=at, wake_at=at, **more)


def test_a_fire_time_is_skipped_while_the_run_before_it_is_not_over(user: User) -> None:
    task = make_task_with(user, due_every(HOUR, since=SECOND))
    lease = leases.new_lease(leases.NO_PRESENCE)
    first = due_tasks.take_due(Room(), lease)

    make_due(task)
    second = due_tasks.take_due(Room(), lease)

    assert run_states(task) == ["running", "skipped"]
    skipped = Run.objects.get(state="skipped")
    assert skipped.reason == "The run before it was not over."
    assert skipped.finished_at is not None
    assert (len(first.runs), second.runs) == (1, [])
    # What was skipped did not run, and does not count in the admin.
    assert (first.recurring, second.recurring) == ([task.pk], [])


def test_on_the_grid_one_statement_skips_as_well(user: User) -> None:
    task = make_task_with(user, due_every(HOUR, since=SECOND))
    on_the_grid = Task.objects.get(pk=task.pk).next_fire_at
    assert on_the_grid is not None
    store_waiting_run(task, on_the_grid - HOUR, exclusive=True)

    with CaptureQueriesContext(connection) as said:
        taken = due_tasks.take_due(Room(), leases.new_lease(leases.NO_PRESENCE))

    assert (taken.runs, taken.recurring) == ([], [])
    assert len([query for query in said if "tasks_api" in query["sql"]]) == 1
    assert run_states(task) == ["pending", "skipped"]
    skipped = Run.objects.get(state="skipped")
    assert skipped.reason == "The run before it was not over."
    assert (skipped.finished_at is None, skipped.wake_at) == (False, None)
    task.refresh_from_db()
    assert (task.last_fire_at, task.next_fire_at) == (on_the_grid, on_the_grid + HOUR)


@pytest.mark.parametrize("state", ["running", "pending", "retrying"])
def test_a_run_that_is_not_over_bars_the_next_whatever_its_state(
    user: User, state: str
) -> None:
    task = make_task_with(user, due_every(HOUR, since=SECOND))
    take_due()
    lease = task.pk if state == "running" else None
    Run.objects.update(state=state, lease=lease)

    make_due(task)

    assert take_due() == []


def test_a_run_that_is_over_bars_no_other(user: User) -> None:
    task = make_task_with(user, due_every(HOUR, since=SECOND))
    take_due()
    Run.objects.update(
        state="failed", lease=None, wake_at=None, finished_at=timezone.now()
    )

    make_due(task)

    assert len(take_due()) == 1


def test_runs_of_other_tasks_bar_nothing(user: User) -> None:
    make_task_with(user, due_every(HOUR, since=SECOND))
    make_task_with(user, due_every(HOUR, since=SECOND), name="other")

    assert len(take_due()) == 2


def test_a_run_by_hand_does_not_overlap_either(user: User) -> None:
    task = make_task_with(user, due_every(HOUR, since=SECOND))
    take_due()

    assert manual_runs.fire_task(task.pk, now=timezone.now()) is None


def test_many_workers_and_manual_runs_make_one_run_at_a_time(user: User) -> None:
    task = make_task_with(user, due_every(HOUR, since=SECOND))

    def fire_often() -> None:
        for _ in range(10):
            take_due()
            manual_runs.fire_task(task.pk, now=timezone.now())
            make_due(task)

    run_in_threads(8, fire_often)

    assert Run.objects.filter(finished_at=None).count() == 1


def test_missed_fire_times_are_skipped(user: User) -> None:
    task = make_task_with(
        user, due_every(HOUR, since=3 * HOUR - 60 * SECOND), misfire=Misfire.SKIP
    )

    assert take_due() == []

    task.refresh_from_db()
    assert run_states(task) == ["missed", "missed", "missed"]
    assert task.next_fire_at is not None
    assert task.next_fire_at > timezone.now()


def test_a_fire_time_that_is_only_late_is_not_missed(user: User) -> None:
    task = make_task_with(
        user, due_every(HOUR, since=HOUR + SECOND), misfire=Misfire.SKIP
    )

    assert len(take_due()) == 1

    assert run_states(task) == ["missed", "running"]


def test_one_missed_fire_time_is_made_up_for(user: User) -> None:
    task = make_task_with(
        user, due_every(HOUR, since=3 * HOUR - 60 * SECOND), misfire=Misfire.LATEST
    )

    assert len(take_due()) == 1

    assert run_states(task) == ["missed", "missed", "running"]


def assert_waits(run: Run, seconds: float, *, since: datetime) -> None:
    """Check that a run waits for so long, counted from a moment between then and now."""
    assert run.wake_at is not None
    wait = seconds * SECOND
    assert since + wait <= run.wake_at <= timezone.now() + wait


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_target_that_says_later_is_asked_again(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog, status: int
) -> None:
    receiver.answer("/job", status=status)
    task = make_task_with(
        user,
        due_every(HOUR, since=SECOND),
        url=f"{receiver.url}/job",
        retry=replace(POLICY, min_delay=30),
    )
    began = timezone.now()

    engine.ring()
    recorded.wait_for(1)
    first = Run.objects.get()
    assert_waits(first, 30, since=began)
    receiver.answer("/job", status=200)
    Run.objects.update(wake_at=timezone.now())
    engine.ring()
    recorded.wait_for(2)

    assert (first.state, first.reason) == ("retrying", f"HTTP {status}")
    assert run_states(task) == ["succeeded"]
    assert Attempt.objects.count() == 2
    sent = receiver.wait_for(2)
    assert sent[0].headers["webhook-id"] == sent[1].headers["webhook-id"]


def test_the_wait_doubles(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/job", status=503)
    task = make_task_with(
        user,
        Interval(timezone.now() + HOUR, HOUR),
        url=f"{receiver.url}/job",
        retry=POLICY,
    )
    store_waiting_run(task, timezone.now() - SECOND, attempt_count=5)
    began = timezone.now()

    engine.ring()
    recorded.wait_for(1)

    assert_waits(Run.objects.get(), 32, since=began)


def test_a_job_that_runs_already_waits_for_its_own_time(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/job", status=409)
    policy = RetryPolicy((503,), min_delay=1, max_delay=60, conflict_delay=7)
    make_task_with(
        user, due_every(HOUR, since=SECOND), url=f"{receiver.url}/job", retry=policy
    )
    began = timezone.now()

    engine.ring()
    recorded.wait_for(1)

    assert_waits(Run.objects.get(), 7, since=began)


def test_or_for_the_next_fire_time(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/job", status=409)
    task = make_task_with(
        user, due_every(HOUR, since=SECOND), url=f"{receiver.url}/job", retry=POLICY
    )

    engine.ring()
    recorded.wait_for(1)

    assert run_states(task) == ["failed"]


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_an_answer_that_comes_after_the_end_is_not_tried_again(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog, how: str
) -> None:
    receiver.answer("/job", status=503, delay=0.5)
    schedule = due_every(HOUR, since=SECOND)
    task = make_task_with(user, schedule, url=f"{receiver.url}/job", retry=POLICY)
    engine.ring()
    receiver.wait_for(1)

    if how == "removed":
        removal.remove_task(user, str(task.pk), now=timezone.now())
    else:
        spec = TaskSpec(
            Surface.CRON_JOBS, f"{receiver.url}/job", schedule, "{}", name="job"
        )
        named_tasks.upsert_task(user, spec, now=timezone.now())
    recorded.wait_for(1)

    run = Run.objects.get()
    assert run.state == "cancelled"
    assert run.reason == f"HTTP 503; not tried again, the task was {how}."


def test_a_run_whose_worker_died_is_not_made_again_after_a_replacement(
    user: User,
) -> None:
    make_task_with(user, due_every(HOUR, since=SECOND))
    take_due()
    now = timezone.now()
    Run.objects.update(
        started_at=now - SECOND,
        wake_at=now - SECOND / 2,
    )
    Task.objects.update(replaced_at=now - SECOND / 2)

    assert rescue.rescue_runs().ready == 0

    run = Run.objects.get()
    assert (run.state, run.reason) == ("cancelled", "The task was replaced.")
    assert Attempt.objects.get().error == "The worker was lost."
