"""Runs whose targets answer 202 and are at work: complete, fail, heartbeat and deadline."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api import tasks
from tasks_api.delivery.request import HttpResult
from tasks_api.delivery.retry import KeepOpen
from tasks_api.domain.specs import Backoff, Overlap
from tasks_api.metrics import registry
from tasks_api.models import Attempt, Run, Task
from tasks_api.scheduler import rescue
from tasks_api.services import removal
from tasks_api.worker import long_work
from tasks_api.worker.engine import Engine
from tasks_api.worker.flower_events import encode_events
from tasks_api.worker.record import AttemptResult, record_results
from tests.acceptance.harness import eventually
from tests.integration.conftest import ResultLog
from tests.integration.support.long_work import (
    DEADLINE,
    HOUR,
    accept_run,
    begin_run,
    call_back,
    latest_run_of,
    make_long_work,
    pass_deadline,
    token_of,
)
from tests.integration.support.stored_tasks import take_due, take_waiting
from tests.integration.support.threads import is_a_lock_awaited
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_target_learns_how_to_call_back_and_its_run_stays_open(
    user: User,
    engine: Engine,
    recorded: ResultLog,
    receiver: Receiver,
    settings: LazySettings,
) -> None:
    settings.SCHEDULER_PUBLIC_URL = "https://scheduler.example/"
    receiver.answer("/work", status=202)
    task = make_long_work(user, url=f"{receiver.url}/work", is_one_time=True)

    engine.ring()
    [request] = receiver.wait_for(1)
    recorded.wait_for(1)

    run = latest_run_of(task)
    assert (run.state, run.lease, run.finished_at) == ("open", None, None)
    assert run.reason == "The target answered 202 and is at work on it."
    assert run.wake_at is not None
    left = run.wake_at - timezone.now()
    assert timedelta(seconds=DEADLINE - 10) < left < timedelta(seconds=DEADLINE)
    assert engine.vitals().held == 0
    assert request.headers["x-scheduler-run-url"] == (
        f"https://scheduler.example/runs/{run.pk}"
    )
    # The task is there until its work is done.
    task.refresh_from_db()
    assert task.ended_at is None

    answer = call_back(
        run, "complete", request.headers["x-scheduler-run-token"], {"n": 1}
    )

    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    run = latest_run_of(task)
    assert (run.state, run.reason, run.wake_at) == ("succeeded", "", None)
    attempt = Attempt.objects.get(run=run)
    assert (attempt.status_code, attempt.answer) == (202, '{"n": 1}')
    task.refresh_from_db()
    assert task.end_reason == "completed"


@pytest.mark.parametrize("status", [200, 204, 500])
def test_another_answer_ends_the_run_at_once(
    user: User, engine: Engine, recorded: ResultLog, receiver: Receiver, status: int
) -> None:
    receiver.answer("/work", status=status)
    task = make_long_work(user, url=f"{receiver.url}/work")

    engine.ring()
    recorded.wait_for(1)

    assert latest_run_of(task).state == ("failed" if status == 500 else "succeeded")


def test_to_complete_twice_is_to_complete_once(user: User) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    run = latest_run_of(task)

    answers = [call_back(run, "complete", token, {"n": n}) for n in (1, 2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert Attempt.objects.get(run=run).answer == '{"n": 1}'


def test_the_result_may_be_left_out(user: User) -> None:
    task = make_long_work(user)
    token = begin_run(task)

    assert call_back(latest_run_of(task), "complete", token).status_code == 200


def test_after_its_deadline_nothing_can_be_completed(user: User) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    run = latest_run_of(task)
    pass_deadline(run)

    # Whether a beat has come by or not.
    before = call_back(run, "complete", token)
    expired = long_work.expire()
    after = call_back(run, "complete", token)

    assert (before.status_code, after.status_code) == (409, 409)
    assert expired.run_ids == [run.pk]
    run.refresh_from_db()
    assert (run.state, run.reason) == ("failed", long_work.EXPIRED)
    assert call_back(run, "heartbeat", token).status_code == 409
    # That it failed is no news.
    assert call_back(run, "fail", token).json()["state"] == "failed"
    assert long_work.expire().run_ids == []


def test_a_heartbeat_puts_the_deadline_off(user: User) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    run = latest_run_of(task)
    soon = timezone.now() + timedelta(seconds=5)
    Run.objects.filter(pk=run.pk).update(wake_at=soon)

    answer = call_back(run, "heartbeat", token)

    assert answer.status_code == 200
    run.refresh_from_db()
    assert run.state == "open"
    assert run.wake_at is not None
    assert run.wake_at > soon + timedelta(seconds=30)
    assert answer.json()["deadline"] == run.wake_at.isoformat().replace("+00:00", "Z")


def test_a_failed_run_has_the_reason_of_its_target(user: User) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    run = latest_run_of(task)

    answers = [call_back(run, "fail", token, {"reason": "disk full"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    run.refresh_from_db()
    assert (run.state, run.reason) == ("failed", f"{long_work.FAILED}: disk full")
    assert Attempt.objects.get(run=run).error == f"{long_work.FAILED}: disk full"
    assert call_back(run, "complete", token).status_code == 409


def test_failed_work_is_tried_again_as_its_task_says(user: User) -> None:
    task = make_long_work(user, retry=Backoff(max_attempts=2))
    first = begin_run(task)
    run = latest_run_of(task)

    assert call_back(run, "fail", first).json()["state"] == "retrying"
    assert call_back(run, "fail", first).json()["state"] == "retrying"
    assert call_back(run, "complete", first).status_code == 409
    Run.objects.filter(pk=run.pk).update(wake_at=timezone.now())
    [again] = take_waiting()
    assert again.run_id == run.pk
    second = accept_run(again)

    # Who was at work on the first attempt has nothing to say about the second.
    assert call_back(run, "complete", first).status_code == 409
    assert call_back(run, "fail", first).status_code == 409
    pass_deadline(run)
    long_work.expire()
    run.refresh_from_db()
    assert run.state == "failed"
    assert run.reason == f"{long_work.EXPIRED}; that was attempt 2, the last one"
    assert call_back(run, "fail", second).json()["state"] == "failed"


def test_a_target_may_ask_for_no_retry(user: User) -> None:
    task = make_long_work(user, retry=Backoff())
    token = begin_run(task)

    answer = call_back(latest_run_of(task), "fail", token, {"retry": False})

    assert answer.json()["state"] == "failed"


def test_a_task_that_was_removed_is_not_tried_again(user: User) -> None:
    task = make_long_work(user, retry=Backoff())
    token = begin_run(task)
    removal.remove_task(user, str(task.pk), now=timezone.now())
    run = latest_run_of(task)
    assert run.state == "open"

    assert call_back(run, "fail", token).json()["state"] == "cancelled"


def test_a_task_that_was_removed_lets_its_work_be_done(user: User) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    removal.remove_task(user, str(task.pk), now=timezone.now())

    assert (
        call_back(latest_run_of(task), "complete", token).json()["state"] == "succeeded"
    )


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.QUEUE_ONE])
def test_fire_times_wait_for_the_real_end_of_the_work(
    user: User, overlap: Overlap
) -> None:
    task = make_long_work(user, overlap=overlap)
    token = begin_run(task)
    run = latest_run_of(task)

    Task.objects.filter(pk=task.pk).update(next_fire_at=timezone.now())
    assert take_due() == []
    assert take_waiting() == []
    settled = long_work.complete(token, run.pk)

    assert settled.has_next == (overlap == Overlap.QUEUE_ONE)
    waiting = Run.objects.filter(task=task, state="pending")
    assert waiting.count() == settled.has_next
    assert {run.pk for run in waiting} == {run.run_id for run in take_waiting()}


def test_a_target_may_complete_before_its_answer_is_recorded(
    user: User,
) -> None:
    task = make_long_work(user)
    [taken] = take_due()
    token = token_of(taken)
    run = latest_run_of(task)

    assert call_back(run, "heartbeat", token).json()["deadline"] is None
    assert call_back(run, "complete", token, [1]).json()["state"] == "succeeded"
    late = AttemptResult(
        taken, HttpResult(202, "", 5), KeepOpen(DEADLINE), timezone.now()
    )

    assert record_results([late]) == set()
    run.refresh_from_db()
    assert (run.state, run.lease) == ("succeeded", None)
    assert Attempt.objects.get(run=run).answer == "[1]"


def test_work_goes_on_though_the_worker_died_before_it_wrote_down_the_answer(
    user: User,
) -> None:
    task = make_long_work(user)
    [taken] = take_due()
    token = token_of(taken)
    run = latest_run_of(task)
    pass_deadline(run)
    assert rescue.rescue_runs().ready == 1

    # It is sent again with the same token, so that the target's word counts either way.
    [again] = take_waiting()

    assert again.run_id == run.pk
    assert token_of(again) == token
    assert call_back(run, "complete", token).json()["state"] == "succeeded"


def test_flower_shows_the_real_end_of_long_work(user: User) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    run = latest_run_of(task)
    call_back(run, "fail", token, {"reason": "disk full"})

    [told] = long_work.fetch_ended([run.pk])

    assert '"type":"task-failed"' in encode_events([told], "worker@here")
    assert "disk full" in encode_events([told], "worker@here")


def test_a_worker_counts_the_real_end_of_long_work(user: User) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    run = latest_run_of(task)
    call_back(run, "complete", token)
    before = succeeded()

    tasks.report_ends([run.pk.hex])

    assert succeeded() == before + 1


def succeeded() -> float:
    labels = {"state": "succeeded"}
    return registry.REGISTRY.get_sample_value("scheduler_runs_total", labels) or 0.0


def test_many_expire_in_a_constant_number_of_statements(
    user: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    made = [make_long_work(user, pause_after_failures=2) for _ in range(20)]
    for taken in take_due():
        accept_run(taken)
        pass_deadline(Run.objects.get(pk=taken.run_id))

    with django_assert_max_num_queries(10):
        expired = long_work.expire()

    assert len(expired.run_ids) == len(made)
    assert set(Run.objects.values_list("state", flat=True)) == {"failed"}
    assert set(Task.objects.values_list("failure_streak", flat=True)) == {1}


@pytest.mark.parametrize(
    ("long", "field"),
    [
        ({}, "long_work"),
        (5, "long_work"),
        ({"deadline": 0}, "long_work.deadline"),
        ({"deadline": True}, "long_work.deadline"),
        ({"deadline": 1.5}, "long_work.deadline"),
        ({"deadline": 604_801}, "long_work.deadline"),
    ],
)
def test_a_deadline_is_a_number_of_seconds(
    api: APIClient, long: Any, field: str
) -> None:
    run_at = (timezone.now() + HOUR).isoformat()
    task = {"task_type": "one_time", "run_datetime": run_at, "long_work": long}

    answer = api.post("/tasks/", {**task, "url": "https://e.org/"}, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


def test_long_work_goes_with_a_url(api: APIClient) -> None:
    run_at = (timezone.now() + HOUR).isoformat()
    task = {"task_type": "one_time", "run_datetime": run_at, "queue": "q"}

    answer = api.post("/tasks/", {**task, "long_work": {"deadline": 5}}, format="json")

    assert answer.status_code == 400
    assert "long_work" in answer.json()["error"]["message"]


def test_long_work_is_shown_changed_and_taken_away(api: APIClient) -> None:
    run_at = (timezone.now() + HOUR).isoformat()
    task = {"task_type": "one_time", "run_datetime": run_at, "url": "https://e.org/"}
    posted = api.post("/tasks/", {**task, "long_work": {"deadline": 5}}, format="json")
    path = f"/tasks/{posted.json()['id']}"

    assert api.get(path).json()["long_work"] == {"deadline": 5}
    longer = api.patch(path, {"long_work": {"deadline": 9}}, format="json")
    assert longer.json()["long_work"] == {"deadline": 9}
    without = api.patch(path, {"long_work": None}, format="json")
    assert "long_work" not in without.json()


@pytest.mark.parametrize("is_late", [False, True])
def test_ending_a_run_does_not_lock_it_while_it_waits_for_the_task(
    user: User, *, is_late: bool
) -> None:
    """Whoever removes a task holds it and waits for its runs."""
    task = make_long_work(user, pause_after_failures=3)
    begin_run(task)
    run = latest_run_of(task)
    if is_late:
        pass_deadline(run)

    def end() -> None:
        try:
            long_work.expire() if is_late else long_work.fail(user, run.pk)
        finally:
            connection.close()

    ending = threading.Thread(target=end)
    with transaction.atomic():
        Task.objects.select_for_update(no_key=True).get(pk=task.pk)
        ending.start()
        eventually(is_a_lock_awaited)
        assert Run.objects.select_for_update(nowait=True).get(pk=run.pk)
    ending.join()

    task.refresh_from_db()
    assert task.failure_streak == 1
