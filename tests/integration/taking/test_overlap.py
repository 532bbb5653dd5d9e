"""Runs of a task that take turns: one is under way, one may wait, and never two run."""

from __future__ import annotations

import os
import random
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from accounts.models import User
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import GiveUp, RetryAfter, Succeed, Verdict
from tasks_api.domain.specs import Backoff, Misfire, Overlap
from tasks_api.models import Run, Task
from tasks_api.scheduler import rescue
from tasks_api.services import manual_runs, pausing
from tasks_api.storage import run_rows
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import AttemptResult, record_results
from tests.integration.conftest import ResultLog
from tests.integration.support.policy_tasks import due_every, make_due, make_task_with
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    ids_of,
    run_states,
    take_and_count,
    take_due,
    take_waiting,
)
from tests.integration.support.threads import run_in_threads
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

# How long the race is: rounds of each of its threads.
ROUNDS = int(os.environ.get("OVERLAP_ROUNDS", "30"))
THREADS = 50
WAITS = "Waits: the run before it is not over."


def take_at_once(task: Task) -> list[ClaimedRun]:
    make_due(task)
    return take_due()


def count_taken(task: Task) -> int:
    """Take a due task; how many runs the admin counts in all."""
    take_and_count()
    row = PeriodicTask.objects.get(pk=task.periodic_task_id)
    return int(row.total_run_count)


def finish_run(run: ClaimedRun, verdict: Verdict) -> list[UUID]:
    record_results(
        [AttemptResult(run, HttpResult(200, "", 1), verdict, timezone.now())]
    )
    return run_rows.start_waiting_runs([run.task_id])


def queue_one(user: User, **rules: object) -> Task:
    since = due_every(HOUR, since=SECOND)
    return make_task_with(user, since, overlap=Overlap.QUEUE_ONE, **rules)


def test_one_run_waits_behind_another_and_no_more(user: User) -> None:
    task = queue_one(user)

    counted = []
    for _ in range(3):
        make_due(task)
        counted.append(count_taken(task))

    assert counted == [1, 2, 2]
    running, waiting, skipped = Run.objects.filter(task=task).order_by("scheduled_for")
    assert (running.state, running.reason) == ("running", "")
    assert (waiting.state, waiting.reason) == ("pending", WAITS)
    assert skipped.state == "skipped"
    assert (
        skipped.reason
        == "The run before it was not over, and another one waited for that already."
    )


def test_the_one_that_waits_begins_when_the_first_is_over(user: User) -> None:
    task = queue_one(user)
    [run] = take_at_once(task)
    assert take_at_once(task) == []
    waiting = Run.objects.get(is_next=True)

    Run.objects.filter(pk=waiting.pk).update(wake_at=timezone.now())
    assert take_waiting() == []
    # A retry is not the end of it.
    assert finish_run(run, RetryAfter("HTTP 503", 0)) == []
    Run.objects.filter(pk=run.run_id).update(wake_at=timezone.now())
    [again] = take_waiting()
    assert again.run_id == run.run_id
    assert finish_run(again, GiveUp("HTTP 503")) == [waiting.pk]

    assert ids_of(take_waiting()) == [waiting.pk]
    # Its place is free for the next one.
    assert take_at_once(task) == []
    assert Run.objects.get(is_next=True).pk != waiting.pk


def test_the_engine_sends_the_next_one_by_itself(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/job", delay=0.3)
    task = queue_one(user, url=f"{receiver.url}/job")
    engine.ring()
    receiver.wait_for(1)
    make_due(task)
    engine.ring()

    recorded.wait_for(2)

    assert run_states(task) == ["succeeded", "succeeded"]
    first, second = receiver.requests
    assert second.at - first.at >= 0.3


def test_a_beat_lets_the_next_one_begin_where_no_worker_did(user: User) -> None:
    task = queue_one(user)
    [run] = take_at_once(task)
    take_at_once(task)
    waiting = Run.objects.get(is_next=True)
    Run.objects.filter(pk=run.run_id).update(
        state="failed", lease=None, wake_at=None, finished_at=timezone.now()
    )

    Run.objects.filter(pk=waiting.pk).update(wake_at=timezone.now())

    assert rescue.rescue_runs().ready == 1
    waiting.refresh_from_db()
    assert (waiting.exclusive, waiting.is_next, waiting.reason) == (True, False, "")
    assert ids_of(take_waiting()) == [waiting.pk]


def test_while_the_first_is_under_way_a_beat_leaves_the_next_one_alone(
    user: User,
) -> None:
    task = queue_one(user)
    take_at_once(task)
    take_at_once(task)
    Run.objects.filter(is_next=True).update(wake_at=timezone.now())

    assert rescue.rescue_runs().ready == 0

    waiting = Run.objects.get(is_next=True)
    assert waiting.reason == WAITS
    assert waiting.wake_at is not None
    assert waiting.wake_at - timezone.now() <= 30 * SECOND


def test_a_fire_time_does_not_overtake_the_one_that_waits(user: User) -> None:
    task = queue_one(user)
    [run] = take_at_once(task)
    take_at_once(task)
    waiting = Run.objects.get(is_next=True)
    # The first is over, and nobody has looked yet.
    Run.objects.filter(pk=run.run_id).update(
        state="failed", lease=None, wake_at=None, finished_at=timezone.now()
    )

    assert ids_of(take_at_once(task)) == [waiting.pk]

    assert Run.objects.get(is_next=True).scheduled_for > waiting.scheduled_for


def test_a_run_by_hand_waits_as_others_do(user: User) -> None:
    task = queue_one(user)
    take_at_once(task)

    waiting = manual_runs.fire_task(task.pk, now=timezone.now())

    assert Run.objects.get(is_next=True).pk == waiting
    assert manual_runs.fire_task(task.pk, now=timezone.now()) is None


def test_a_run_by_hand_begins_where_none_is_before_it(user: User) -> None:
    task = queue_one(user)

    run_id = manual_runs.fire_task(task.pk, now=timezone.now())

    assert run_id is not None
    assert ids_of(take_waiting()) == [run_id]


def test_a_pause_cancels_what_waits(user: User) -> None:
    task = queue_one(user)
    take_at_once(task)
    take_at_once(task)

    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())

    assert run_states(task) == ["running", "cancelled"]


def test_what_is_made_up_for_takes_turns_too(user: User) -> None:
    task = make_task_with(
        user,
        due_every(HOUR, since=4 * HOUR + SECOND),
        overlap=Overlap.QUEUE_ONE,
        misfire=Misfire.ALL,
    )

    # The second waits, and has a run as well.
    assert count_taken(task) == 2

    assert run_states(task) == ["running", "pending", "skipped", "skipped", "skipped"]
    assert (
        Run.objects.get(exclusive=True).scheduled_for
        < Run.objects.get(is_next=True, finished_at=None).scheduled_for
    )


def test_all_that_passed_is_made_up_for(user: User) -> None:
    since = due_every(HOUR, since=4 * HOUR + SECOND)
    task = make_task_with(
        user, since, overlap=Overlap.ALLOW, misfire=Misfire.ALL, catchup_window=9000
    )

    assert count_taken(task) == 3

    assert run_states(task) == ["missed", "missed", "running", "running", "running"]
    missed = Run.objects.filter(state="missed").first()
    assert missed is not None
    assert missed.reason == "Nobody could fire it within 9000 seconds."


def test_a_window_bounds_what_is_made_up_for(user: User) -> None:
    late = due_every(HOUR, since=timedelta(minutes=30))
    missed = make_task_with(user, late, overlap=Overlap.ALLOW, catchup_window=1700)
    made_up = make_task_with(
        user, late, overlap=Overlap.ALLOW, catchup_window=1900, name="b"
    )

    take_due()

    assert (run_states(missed), run_states(made_up)) == (["missed"], ["running"])


class Race:
    """Many hands that fire, take and finish runs of one task, at random."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.taken: list[ClaimedRun] = []
        self.began = 0
        self.most = 0

    def run(self) -> None:
        for _ in range(ROUNDS):
            random.choice(
                (
                    self.fire,
                    self.fire_by_hand,
                    self.take_waiting,
                    self.take_waiting,
                    self.finish,
                    self.finish,
                    self.rescue,
                )
            )()
            self.look()

    def fire(self) -> None:
        self.note(take_at_once(self.task))

    def fire_by_hand(self) -> None:
        manual_runs.fire_task(self.task.pk, now=timezone.now())

    def take_waiting(self) -> None:
        self.note(take_waiting())

    def note(self, taken: list[ClaimedRun]) -> None:
        self.taken += taken
        self.began += len(taken)

    def finish(self) -> None:
        verdicts: list[Verdict] = [
            Succeed(),
            GiveUp("HTTP 500"),
            RetryAfter("HTTP 503", 0),
        ]
        try:
            run = self.taken.pop()
        except IndexError:
            return
        finish_run(run, random.choice(verdicts))

    def rescue(self) -> None:
        waiting = Run.objects.filter(task=self.task, state__in=["pending", "retrying"])
        waiting.update(wake_at=timezone.now())
        rescue.rescue_runs()

    def look(self) -> None:
        """How many are under way and how many wait, at one moment."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT count(*) FILTER (WHERE NOT is_next),
                    count(*) FILTER (WHERE is_next)
                FROM tasks_api_run WHERE task_id = %s AND finished_at IS NULL
                """,
                [self.task.pk],
            )
            self.most = max(self.most, *cursor.fetchone())


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.QUEUE_ONE])
def test_however_many_race_never_two_are_under_way(
    user: User, overlap: Overlap
) -> None:
    policy = Backoff(max_attempts=185)
    task = make_task_with(
        user, due_every(HOUR, since=SECOND), overlap=overlap, retry=policy
    )
    race = Race(task)

    run_in_threads(THREADS, race.run)

    assert race.most == 1
    assert race.began > ROUNDS
    assert not Run.objects.filter(state="skipped", attempt_count__gt=0).exists()
