"""Cancellations over the API: runs that wait, are retried, are open or under way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import GiveUp, KeepOpen, RetryAfter, Succeed, Verdict
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import Overlap, Surface, TaskSpec
from tasks_api.domain.states import FINAL_STATES, RunState
from tasks_api.models import Run, Task
from tasks_api.scheduler import rescue
from tasks_api.services import manual_runs, reconciliation, tasks
from tasks_api.services.account import FireTimeOutcome
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import AttemptResult, record_results
from tests.conftest import ClientFor
from tests.integration.conftest import ResultLog
from tests.integration.support.long_work import (
    begin_run,
    call_back,
    latest_run_of,
    make_long_work,
)
from tests.integration.support.stored_runs import hourly_task, run_ids_of, store_run
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    store_task,
    take_due,
    take_waiting,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def make_due(user: User, *, overlap: Overlap = Overlap.ALLOW) -> Task:
    schedule = Interval(timezone.now() - SECOND, HOUR, None)
    spec = TaskSpec(
        Surface.TASKS, "http://127.0.0.1:9/", schedule, "{}", overlap=overlap
    )
    return tasks.create_task(user, spec, now=timezone.now())


def judge(run: ClaimedRun, verdict: Verdict) -> None:
    result = HttpResult(500, "", 5)
    record_results([AttemptResult(run, result, verdict, timezone.now())])


def cancel(api: APIClient, run_id: object) -> Any:
    return api.post(f"/runs/{run_id}/cancel/")


def test_a_waiting_run_ends_at_once(api: APIClient, user: User) -> None:
    task = hourly_task(user)
    run_id = manual_runs.run_now(
        user, str(task.pk), surface=Surface.TASKS, now=timezone.now()
    )

    answer = cancel(api, run_id)

    run = Run.objects.get(pk=run_id)
    assert answer.status_code == 202
    assert answer.json() == {"run_id": str(run_id), "state": "cancelled"}
    assert (run.state, run.reason) == ("cancelled", f"Cancelled by {user.username}.")
    assert take_waiting() == []
    assert AuditEntry.objects.get(action="run.cancel").object_id == str(run_id)


def test_a_retry_is_not_made(api: APIClient, user: User) -> None:
    make_due(user)
    [taken] = take_due()
    judge(taken, RetryAfter("HTTP 500", 0))

    cancel(api, taken.run_id)

    run = Run.objects.get(pk=taken.run_id)
    assert run.state == RunState.CANCELLED
    assert run.attempts.get().status_code == 500
    assert take_waiting() == []


def test_the_target_of_long_work_is_told_when_it_asks(
    api: APIClient, user: User
) -> None:
    task = make_long_work(user)
    token = begin_run(task)
    run = latest_run_of(task)

    cancel(api, run.pk)

    answer = call_back(run, "heartbeat", token)
    assert answer.status_code == 409
    assert "cancelled" in answer.content.decode()
    assert latest_run_of(task).state == RunState.CANCELLED


def test_a_request_under_way_is_given_up(
    api: APIClient,
    user: User,
    engine: Engine,
    recorded: ResultLog,
    receiver: Receiver,
    settings: LazySettings,
) -> None:
    settings.SCHEDULER_LEASE = 2.0
    receiver.answer("/slow", delay=20)
    task = store_task(user, Once(timezone.now()), f"{receiver.url}/slow")
    engine.ring()
    receiver.wait_for(1)
    run = latest_run_of(task)

    answer = cancel(api, run.pk)

    assert answer.json() == {"run_id": str(run.pk), "state": "running"}
    [item] = recorded.wait_for(1)
    run = Run.objects.get(pk=run.pk)
    attempt = run.attempts.get()
    assert (run.state, run.reason) == ("cancelled", f"Cancelled by {user.username}.")
    assert attempt.status_code is None
    assert attempt.error == run.reason
    assert item.result.duration_ms < 15_000
    assert engine.vitals().held == 0
    task.refresh_from_db()
    assert task.ended_at is not None


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        (Succeed(), RunState.SUCCEEDED),
        (GiveUp("HTTP 500"), RunState.FAILED),
        (RetryAfter("HTTP 500", 60), RunState.CANCELLED),
        (KeepOpen(60), RunState.CANCELLED),
    ],
)
def test_an_answer_that_comes_first_counts_and_no_attempt_follows(
    api: APIClient, user: User, verdict: Verdict, state: RunState
) -> None:
    make_due(user)
    [taken] = take_due()
    cancel(api, taken.run_id)

    judge(taken, verdict)

    run = Run.objects.get(pk=taken.run_id)
    assert run.state == state
    assert run.attempts.count() == 1


def test_a_run_whose_worker_is_lost_is_not_sent_again(
    api: APIClient, user: User
) -> None:
    make_due(user)
    [taken] = take_due()
    cancel(api, taken.run_id)
    Run.objects.filter(pk=taken.run_id).update(wake_at=timezone.now())

    rescue.rescue_runs()

    run = Run.objects.get(pk=taken.run_id)
    assert (run.state, run.reason) == ("cancelled", f"Cancelled by {user.username}.")
    assert take_waiting() == []


def test_a_running_run_keeps_its_place_and_a_cancelled_one_frees_it(
    api: APIClient, user: User
) -> None:
    task = make_due(user, overlap=Overlap.QUEUE_ONE)
    [taken] = take_due()
    next_id = manual_runs.run_now(
        user, str(task.pk), surface=Surface.TASKS, now=timezone.now()
    )

    cancel(api, taken.run_id)
    assert take_waiting() == []
    judge(taken, RetryAfter("HTTP 500", 60))
    cancel(api, taken.run_id)

    rescue.rescue_runs()
    assert Run.objects.get(pk=taken.run_id).state == RunState.CANCELLED
    assert Run.objects.get(pk=next_id).is_next is False


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_a_run_that_is_over_stays_so(
    api: APIClient, user: User, state: RunState
) -> None:
    run = store_run(hourly_task(user), state=state)

    answer = cancel(api, run.pk)

    assert answer.status_code == 409
    assert "is over" in answer.content.decode()
    run.refresh_from_db()
    assert (run.state, run.reason) == (state, "")


def test_runs_of_others_are_not_found(
    api: APIClient, stranger: User, client_for: ClientFor, user: User
) -> None:
    make_due(user)
    [taken] = take_due()

    answer = cancel(client_for(stranger), taken.run_id)

    assert answer.status_code == 404
    assert Run.objects.get(pk=taken.run_id).cancelled_by == ""


def test_many_are_cancelled_by_a_filter_once(api: APIClient, user: User) -> None:
    task, other = hourly_task(user), hourly_task(user)
    ids = {
        each.pk: [
            str(
                manual_runs.run_now(
                    user, str(each.pk), surface=Surface.TASKS, now=timezone.now()
                )
            )
            for _ in range(3)
        ]
        for each in (task, other)
    }
    body = {"state": ["pending"], "task_id": str(task.pk), "limit": 2}

    first = api.post("/runs/cancel/", body, format="json").json()
    second = api.post("/runs/cancel/", body, format="json").json()

    assert (first["count"], first["more"]) == (2, True)
    assert (second["count"], second["more"]) == (1, False)
    assert {*first["run_ids"], *second["run_ids"]} == set(ids[task.pk])
    listed = run_ids_of(api.get("/runs/", {"state": "pending"}))
    assert set(listed) == set(ids[other.pk])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Missing key: state"),
        ({"state": []}, "Invalid value of state"),
        ({"state": ["failed"]}, "A state should be one of open, pending"),
        ({"state": ["open"], "limit": 1001}, "at most 1000"),
        ({"state": ["open"], "from": "never"}, "from"),
        ({"state": ["open"], "task": "x"}, "task"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_cancelled(
    api: APIClient, user: User, body: dict[str, Any], message: str
) -> None:
    make_due(user)
    [taken] = take_due()
    judge(taken, KeepOpen(60))

    answer = api.post("/runs/cancel/", body, format="json")

    assert answer.status_code == 400
    assert message in answer.content.decode()
    assert Run.objects.get(pk=taken.run_id).state == RunState.OPEN


def test_the_account_explains_cancelled_runs(api: APIClient, user: User) -> None:
    task = make_due(user)
    [taken] = take_due()
    judge(taken, RetryAfter("HTTP 500", 60))

    cancel(api, taken.run_id)

    account = reconciliation.reconcile(
        user,
        task.pk,
        since=timezone.now() - timedelta(minutes=5),
        until=timezone.now(),
    )
    assert account.balance == 0
    assert account.outcomes[FireTimeOutcome.CANCELLED] == 1
