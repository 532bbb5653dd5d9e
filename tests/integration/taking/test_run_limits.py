"""Tasks that may make so many runs make exactly so many, and end."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as configured
from hypothesis import strategies as st

from accounts.models import AuditEntry, User
from tasks_api.domain.exceptions import InvalidTask, TaskNotFound
from tasks_api.domain.schedules import Schedule
from tasks_api.domain.specs import Misfire, Overlap, TaskSpec
from tasks_api.domain.states import EndReason, RunState
from tasks_api.models import Run, Task
from tasks_api.services import cancellation, manual_runs, pausing, reconciliation, tasks
from tasks_api.storage.task_rows import load_spec
from tests.integration.support.policy_tasks import due_every, make_due, make_task_with
from tests.integration.support.reconciliation_model import TaskModel
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    give_back,
    run_states,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 4
DAY = timedelta(days=1)


def limited_task(user: User, max_runs: int, **rules: Any) -> Task:
    rules = {"overlap": Overlap.ALLOW, "max_runs": max_runs, **rules}
    return make_task_with(user, due_every(HOUR, since=SECOND), **rules)


def with_passed(user: User, fire_times: int, max_runs: int, **rules: Any) -> Task:
    """A task of which so many fire times have passed, and that makes up for them."""
    since = due_every(10 * SECOND, since=(10 * (fire_times - 1) + 1) * SECOND)
    rules = {"misfire": Misfire.ALL, "overlap": Overlap.ALLOW, **rules}
    return make_task_with(user, since, max_runs=max_runs, **rules)


def scheduled_runs(task: Task) -> list[Run]:
    """Those that its schedule made to be sent."""
    runs = Run.objects.filter(task=task, by_hand=False)
    never = [RunState.SKIPPED, RunState.MISSED]
    return list(runs.exclude(state__in=never).order_by("scheduled_for"))


def test_a_task_ends_with_its_last_run_and_that_is_sent(user: User) -> None:
    task = limited_task(user, 2)
    first = take_due()
    task.refresh_from_db()
    assert (task.runs_left, task.ended_at) == (1, None)

    make_due(task)
    last = take_due()

    task.refresh_from_db()
    assert [len(first), len(last)] == [1, 1]
    assert (task.runs_left, task.next_fire_at) == (0, None)
    assert (task.end_reason, task.ended_at) == (
        EndReason.MAX_RUNS,
        last[0].scheduled_for,
    )
    # A run that its worker gave back, and one that is tried again, are sent all the same.
    assert len(give_back(last)) == 1
    assert [run.run_id for run in take_waiting()] == [last[0].run_id]
    entry = AuditEntry.objects.get(action="task.end")
    assert (entry.actor, entry.object_id) == ("the service", str(task.pk))


@pytest.mark.parametrize("misfire", list(Misfire))
def test_what_is_made_up_for_is_never_more_than_the_rest(
    user: User, misfire: Misfire
) -> None:
    task = with_passed(user, 8, 3, misfire=misfire)
    while take_due():
        pass

    found = reconciliation.reconcile(
        user, task.pk, since=timezone.now() - DAY, until=None
    )
    assert (found.balance, found.differences) == (0, [])
    made = scheduled_runs(task)
    task.refresh_from_db()
    match misfire:
        case Misfire.ALL:
            # The oldest: the task would have ended after them.
            assert task.starts_at is not None
            oldest = [task.starts_at + number * 10 * SECOND for number in range(3)]
            assert [run.scheduled_for for run in made] == oldest
            assert (task.end_reason, found.planned) == (EndReason.MAX_RUNS, 3)
        case Misfire.LATEST:
            assert (len(made), task.runs_left, found.planned) == (1, 2, 8)
        case Misfire.SKIP:
            assert (len(made), task.runs_left, found.planned) == (1, 2, 8)


def test_skipped_missed_and_manual_runs_do_not_count(user: User) -> None:
    task = limited_task(user, 2, overlap=Overlap.SKIP)
    [running] = take_due()
    make_due(task)
    assert take_due() == []
    Run.objects.filter(pk=running.run_id).update(
        state=RunState.CANCELLED, finished_at=timezone.now(), wake_at=None, lease=None
    )
    assert manual_runs.fire_task(task.pk, now=timezone.now()) is not None

    task.refresh_from_db()
    assert run_states(task)[:2] == ["cancelled", "skipped"]
    assert (task.runs_left, task.ended_at) == (1, None)


def test_a_run_that_never_started_gives_its_place_back(user: User) -> None:
    task = limited_task(user, 2)
    give_back(take_due())
    task.refresh_from_db()
    assert task.runs_left == 1
    [run] = Run.objects.filter(task=task)

    cancellation.cancel_run(user, run.pk)

    task.refresh_from_db()
    assert task.runs_left == 2
    make_due(task)
    give_back(take_due())
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
    task.refresh_from_db()
    assert task.runs_left == 2


def test_the_limit_may_change_and_counts_on(user: User) -> None:
    task = limited_task(user, 5)
    take_due()

    change(user, task, max_runs=2)
    task.refresh_from_db()
    assert task.runs_left == 1
    with pytest.raises(InvalidTask, match="greater than 1, the number of runs"):
        change(user, task, max_runs=1)
    change(user, task, max_runs=None)
    change(user, task, max_runs=1)

    # Without a limit, nobody counted.
    task.refresh_from_db()
    assert task.runs_left == 1


def change(user: User, task: Task, **rules: Any) -> None:
    now = timezone.now()
    stored = Task.objects.with_schedule().select_related("owner").get(pk=task.pk)
    spec = replace(load_spec(stored), overlap=Overlap(stored.overlap), **rules)
    tasks.change_task(user, stored, spec, now=now)


@pytest.mark.parametrize("seed", range(3))
def test_workers_that_die_make_no_run_more_and_none_less(user: User, seed: int) -> None:
    """Workers take at once, and PostgreSQL ends the connections of some in between."""
    chance = random.Random(seed)
    limits = [chance.randint(1, 30) for _ in range(12)]
    made = [
        with_passed(user, 40, most, name=f"job {n}") for n, most in enumerate(limits)
    ]
    are_done = threading.Event()
    workers = [
        threading.Thread(target=take_until, args=(are_done,)) for _ in range(THREADS)
    ]
    for worker in workers:
        worker.start()
    for _ in range(30):
        end_a_connection(chance)
        are_done.wait(chance.random() / 50)
    while Task.objects.filter(next_fire_at__lte=timezone.now()).exists():
        are_done.wait(0.01)
    are_done.set()
    for worker in workers:
        worker.join()

    for task, most in zip(made, limits, strict=True):
        task.refresh_from_db()
        assert (len(scheduled_runs(task)), task.runs_made) == (most, most)
        assert task.end_reason == EndReason.MAX_RUNS
        found = reconciliation.reconcile(
            user, task.pk, since=timezone.now() - DAY, until=None
        )
        assert (found.planned, found.differences) == (most, [])


def take_until(are_done: threading.Event) -> None:
    while not are_done.is_set():
        try:
            take_due()
        except DatabaseError:
            connection.close()
    connection.close()


def end_a_connection(chance: random.Random) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        if pids := [pid for (pid,) in cursor.fetchall()]:
            cursor.execute("SELECT pg_terminate_backend(%s)", [chance.choice(pids)])


class LimitedModel(TaskModel):
    """A task that may make so many runs, to which anything may happen."""

    def __init__(self, user: User, chance: random.Random) -> None:
        self.most = chance.choice([1, 2, 3, 5, 8])
        super().__init__(user, chance)

    def _spec(self, schedule: Schedule) -> TaskSpec:
        return replace(super()._spec(schedule), max_runs=self.most)

    def check_limit(self) -> None:
        self.task.refresh_from_db()
        made = scheduled_runs(self.task)
        # A run that its worker gave back unsent has a start, and no attempt.
        started = [run for run in made if run.attempt_count]
        waiting = [run for run in made if not run.attempt_count and run.wake_at]
        assert len(started) <= self.most
        assert len(started) + len(waiting) <= self.task.runs_made <= self.most
        is_last = self.task.runs_made == self.most
        assert (self.task.end_reason == EndReason.MAX_RUNS) >= is_last


@given(st.integers(min_value=0, max_value=2**32))
@configured(
    max_examples=12,
    deadline=None,
    # What happens depends on the moment too, so a smaller number is no simpler case.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_happens_the_limit_holds_and_the_account_balances(
    user: User, seed: int
) -> None:
    chance = random.Random(seed)
    world = LimitedModel(user, chance)
    # A replaced job begins anew.
    world.is_cron = False
    story: list[str] = []

    for _ in range(chance.randint(6, 25)):
        try:
            story.append(world.step())
        except TaskNotFound:
            story.append("it has ended")
        found = world.account()
        assert (found.balance, found.differences) == (0, []), story
        world.check_limit()
