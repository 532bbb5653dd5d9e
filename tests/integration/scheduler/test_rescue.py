"""Runs whose worker was lost are taken again, under their own ids."""

from __future__ import annotations

import pytest
from django.db.models import F
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.delivery import retry
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import Release
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.states import RunState
from tasks_api.models import Attempt, Run
from tasks_api.scheduler import rescue
from tasks_api.taking import leases
from tasks_api.worker.record import AttemptResult, record_results
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    give_back,
    ids_of,
    run_states,
    store_task,
    take_due,
    take_waiting,
)
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)


def take_new_run(owner: User) -> ClaimedRun:
    store_task(owner, Once(timezone.now() - SECOND))
    [taken] = take_due()
    return taken


def end_lease(run: ClaimedRun) -> None:
    Run.objects.filter(pk=run.run_id).update(wake_at=timezone.now() - SECOND)


def test_a_run_under_a_lease_is_left_alone(user: User) -> None:
    take_new_run(user)

    assert rescue.rescue_runs() == rescue.Rescue()

    assert take_waiting() == []
    assert Run.objects.get().state == RunState.RUNNING


def test_a_run_whose_worker_died_is_sent_again_under_its_own_id(user: User) -> None:
    run = take_new_run(user)
    end_lease(run)

    assert rescue.rescue_runs().ready == 1

    [again] = take_waiting()
    assert again.run_id == run.run_id
    assert again.number == 2
    lost = Attempt.objects.get(run=run.run_id)
    assert (lost.number, lost.error) == (1, "The worker was lost.")


def test_a_worker_that_was_lost_and_is_back_judges_no_run_of_another(
    user: User,
) -> None:
    run = take_new_run(user)
    end_lease(run)
    rescue.rescue_runs()
    now, answer = timezone.now(), HttpResult(200, "", 1)

    assert record_results([AttemptResult(run, answer, retry.Succeed(), now)]) == set()
    [again] = take_waiting()
    assert record_results([AttemptResult(run, answer, retry.Succeed(), now)]) == set()
    assert leases.renew([(run.run_id, run.lease)]) == {}
    assert leases.renew([(again.run_id, again.lease)]).keys() == {run.run_id}


def test_a_run_that_was_not_sent_waits_and_has_no_attempt(user: User) -> None:
    taken = take_new_run(user)
    now = timezone.now()
    silent = HttpResult(None, "silent", 0, was_sent=False)

    record_results([AttemptResult(taken, silent, Release(10.0, "Waits: silent."), now)])

    run = Run.objects.get(pk=taken.run_id)
    assert (run.state, run.reason) == (RunState.PENDING, "Waits: silent.")
    assert (run.attempt_count, run.attempts.count()) == (0, 0)
    assert take_waiting() == []
    Run.objects.update(wake_at=F("wake_at") - 11 * SECOND)
    assert ids_of(take_waiting()) == [run.pk]


def test_a_run_that_keeps_losing_its_worker_fails_in_the_end(user: User) -> None:
    taken = [take_new_run(user)]
    for _ in range(retry.MAX_LOST_ATTEMPTS):
        [run] = taken
        end_lease(run)
        rescue.rescue_runs()
        taken = take_waiting()

    found = Run.objects.get(pk=run.run_id)
    assert taken == []
    assert found.state == RunState.FAILED
    assert found.attempts.count() == retry.MAX_LOST_ATTEMPTS


@pytest.mark.parametrize("state", ["lost", "waiting"])
def test_a_run_that_an_earlier_end_overtook_is_settled(user: User, state: str) -> None:
    start = timezone.now() - SECOND
    task = store_task(user, Interval(start, HOUR, start + 9 * HOUR))
    taken = take_due()
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(expires=start - HOUR)

    if state == "waiting":
        give_back(taken)
        assert take_waiting() == []
    else:
        end_lease(taken[0])
        assert rescue.rescue_runs().ready == 0

    assert run_states(task) == ["cancelled"]


def test_many_beats_rescue_a_run_once(user: User) -> None:
    runs = [take_new_run(user) for _ in range(20)]
    Run.objects.update(wake_at=timezone.now() - SECOND)

    found = run_in_threads(8, lambda: rescue.rescue_runs().ready)

    assert sum(found) == 20
    assert set(Run.objects.values_list("lost_count", flat=True)) == {1}
    assert sorted(ids_of(take_waiting())) == sorted(run.run_id for run in runs)


def test_leases_are_judged_by_the_clock_as_it_was_read(user: User) -> None:
    take_new_run(user)
    Run.objects.update(wake_at=timezone.now() - SECOND)

    before = rescue.rescue_runs(leases_until=timezone.now() - 2 * SECOND)
    after = rescue.rescue_runs(leases_until=timezone.now())

    assert (before.ready, after.ready) == (0, 1)


def test_no_more_is_rescued_at_once_than_the_limit(user: User) -> None:
    for _ in range(3):
        take_new_run(user)
    Run.objects.update(wake_at=timezone.now() - SECOND)

    turns = [rescue.rescue_runs(limit=2) for _ in range(2)]

    assert [(turn.ready, turn.is_full) for turn in turns] == [(2, True), (1, False)]


def test_the_leases_of_a_worker_that_is_gone_end(user: User) -> None:
    for _ in range(2):
        store_task(user, Once(timezone.now()))
    run, other = take_due()
    Run.objects.filter(pk=run.run_id).update(lease=leases.new_lease(7))
    Run.objects.filter(pk=other.run_id).update(lease=leases.new_lease(8))

    assert leases.release([7, 9]) == 1
    assert rescue.rescue_runs(leases_until=clock.read()).ready == 1

    assert ids_of(take_waiting()) == [run.run_id]
