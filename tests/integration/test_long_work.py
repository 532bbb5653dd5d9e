"""Runs whose targets answer 202 and are at work: complete, fail, heartbeat and deadline."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api import tasks
from tasks_api.delivery import run_tokens
from tasks_api.delivery.request import HttpResult
from tasks_api.delivery.retry import KeepOpen
from tasks_api.domain.schedules import Interval, Once
from tasks_api.domain.specs import (
    Backoff,
    Overlap,
    RequestOptions,
    Surface,
    TaskSpec,
)
from tasks_api.metrics import registry
from tasks_api.models import Attempt, Run, Task
from tasks_api.scheduler import dispatch, rescue
from tasks_api.services import tasks as task_services
from tasks_api.worker import leases, long_work
from tasks_api.worker.engine import Engine
from tasks_api.worker.flower_events import encode_events
from tasks_api.worker.record import AttemptResult, record_results
from tests.acceptance.stand import eventually
from tests.conftest import ClientFor
from tests.integration.conftest import Recorded
from tests.integration.test_failing_targets import somebody_waits_for_a_lock
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
DEADLINE = 60
NO_RUN = UUID("01a1fc25-dfd8-77b7-8ffb-7e7198bf1a71")


def make(owner: User, *, is_one_time: bool = False, **rules: Any) -> Task:
    now = timezone.now()
    past = now - timedelta(seconds=1)
    spec = TaskSpec(
        Surface.TASKS,
        rules.pop("url", "http://127.0.0.1:9/"),
        Once(past) if is_one_time else Interval(past, HOUR),
        "{}",
        request=RequestOptions(deadline=DEADLINE),
        **rules,
    )
    return task_services.create_task(owner, spec, now=now)


def begin(task: Task) -> str:
    """Make a run of a task, let a worker send it, and the target take it; its token."""
    dispatch.dispatch_due()
    run = Run.objects.filter(task=task, state="pending").latest("scheduled_for")
    return take(run)


def take(run: Run) -> str:
    [claimed] = leases.claim([run.pk])
    record_results(
        [
            AttemptResult(
                claimed, HttpResult(202, "", 5), KeepOpen(DEADLINE), timezone.now()
            )
        ]
    )
    return run_tokens.make_token(long_work.run_token_keys()[0], run.pk, claimed.turn)


def run_of(task: Task) -> Run:
    return Run.objects.filter(task=task).latest("scheduled_for")


def say(run: Run, word: str, token: str, body: Any = None) -> Any:
    path = f"/runs/{run.pk}/{word}"
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
    return APIClient().post(
        path, body, format="json" if body is not None else None, **bearer
    )


def pass_deadline(run: Run) -> None:
    """Let the deadline be over, as if time had passed."""
    Run.objects.filter(pk=run.pk).update(wake_at=timezone.now() - timedelta(seconds=1))


def test_a_target_is_told_how_to_call_back_and_its_run_stays_open(
    user: User,
    engine: Engine,
    recorded: Recorded,
    receiver: Receiver,
    settings: LazySettings,
) -> None:
    settings.SCHEDULER_PUBLIC_URL = "https://scheduler.example/"
    receiver.answer("/work", status=202)
    task = make(user, url=f"{receiver.url}/work", is_one_time=True)

    engine.accept(dispatch.dispatch_due().run_ids)
    [request] = receiver.wait_for(1)
    recorded.wait_for(1)

    run = run_of(task)
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

    answer = say(run, "complete", request.headers["x-scheduler-run-token"], {"n": 1})

    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    run.refresh_from_db()
    assert (run.state, run.reason, run.wake_at) == ("succeeded", "", None)
    attempt = Attempt.objects.get(run=run)
    assert (attempt.status_code, attempt.answer) == (202, '{"n": 1}')
    task.refresh_from_db()
    assert task.end_reason == "completed"


@pytest.mark.parametrize("status", [200, 204, 500])
def test_another_answer_ends_the_run_at_once(
    user: User, engine: Engine, recorded: Recorded, receiver: Receiver, status: int
) -> None:
    receiver.answer("/work", status=status)
    task = make(user, url=f"{receiver.url}/work")

    engine.accept(dispatch.dispatch_due().run_ids)
    recorded.wait_for(1)

    assert run_of(task).state == ("failed" if status == 500 else "succeeded")


def test_to_complete_twice_is_to_complete_once(user: User) -> None:
    task = make(user)
    token = begin(task)
    run = run_of(task)

    answers = [say(run, "complete", token, {"n": n}) for n in (1, 2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert Attempt.objects.get(run=run).answer == '{"n": 1}'


def test_what_came_of_it_may_be_left_out(user: User) -> None:
    task = make(user)
    token = begin(task)

    assert say(run_of(task), "complete", token).status_code == 200


def test_after_its_deadline_nothing_can_be_completed(user: User) -> None:
    task = make(user)
    token = begin(task)
    run = run_of(task)
    pass_deadline(run)

    # Whether a beat has come by or not.
    before = say(run, "complete", token)
    expired = long_work.expire()
    after = say(run, "complete", token)

    assert (before.status_code, after.status_code) == (409, 409)
    assert expired.run_ids == [run.pk]
    run.refresh_from_db()
    assert (run.state, run.reason) == ("failed", long_work.EXPIRED)
    assert say(run, "heartbeat", token).status_code == 409
    # That it failed is no news.
    assert say(run, "fail", token).json()["state"] == "failed"
    assert long_work.expire().run_ids == []


def test_a_heartbeat_puts_the_deadline_off(user: User) -> None:
    task = make(user)
    token = begin(task)
    run = run_of(task)
    soon = timezone.now() + timedelta(seconds=5)
    Run.objects.filter(pk=run.pk).update(wake_at=soon)

    answer = say(run, "heartbeat", token)

    assert answer.status_code == 200
    run.refresh_from_db()
    assert run.state == "open"
    assert run.wake_at is not None
    assert run.wake_at > soon + timedelta(seconds=30)
    assert answer.json()["deadline"] == run.wake_at.isoformat().replace("+00:00", "Z")


def test_what_failed_says_why(user: User) -> None:
    task = make(user)
    token = begin(task)
    run = run_of(task)

    answers = [say(run, "fail", token, {"reason": "disk full"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    run.refresh_from_db()
    assert (run.state, run.reason) == ("failed", f"{long_work.FAILED}: disk full")
    assert Attempt.objects.get(run=run).error == f"{long_work.FAILED}: disk full"
    assert say(run, "complete", token).status_code == 409


def test_what_failed_is_tried_again_as_its_task_says(user: User) -> None:
    task = make(user, retry=Backoff(max_attempts=2))
    first = begin(task)
    run = run_of(task)

    assert say(run, "fail", first).json()["state"] == "retrying"
    assert say(run, "fail", first).json()["state"] == "retrying"
    assert say(run, "complete", first).status_code == 409
    Run.objects.filter(pk=run.pk).update(wake_at=timezone.now())
    assert rescue.wake_due().run_ids == [run.pk]
    second = take(run)

    # Who was at work on the first attempt has nothing to say about the second.
    assert say(run, "complete", first).status_code == 409
    assert say(run, "fail", first).status_code == 409
    pass_deadline(run)
    long_work.expire()
    run.refresh_from_db()
    assert run.state == "failed"
    assert run.reason == f"{long_work.EXPIRED}; that was attempt 2, the last one"
    assert say(run, "fail", second).json()["state"] == "failed"


def test_a_target_may_ask_for_no_retry(user: User) -> None:
    task = make(user, retry=Backoff())
    token = begin(task)

    answer = say(run_of(task), "fail", token, {"retry": False})

    assert answer.json()["state"] == "failed"


def test_a_task_that_was_removed_is_not_tried_again(user: User) -> None:
    task = make(user, retry=Backoff())
    token = begin(task)
    task_services.remove_task(user, str(task.pk), now=timezone.now())
    run = run_of(task)
    assert run.state == "open"

    assert say(run, "fail", token).json()["state"] == "cancelled"


def test_a_task_that_was_removed_lets_its_work_be_done(user: User) -> None:
    task = make(user)
    token = begin(task)
    task_services.remove_task(user, str(task.pk), now=timezone.now())

    assert say(run_of(task), "complete", token).json()["state"] == "succeeded"


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.QUEUE_ONE])
def test_fire_times_wait_for_the_real_end_of_the_work(
    user: User, overlap: Overlap
) -> None:
    task = make(user, overlap=overlap)
    dispatch.dispatch_due()
    run = run_of(task)
    token = take(run)

    Task.objects.filter(pk=task.pk).update(next_fire_at=timezone.now())
    assert dispatch.dispatch_due().run_ids == []
    settled = long_work.complete(token, run.pk)

    assert [str(each) for each in settled.to_ring] == [
        str(each)
        for each in Run.objects.filter(task=task, state="pending").values_list(
            "pk", flat=True
        )
    ]
    assert len(settled.to_ring) == (overlap == Overlap.QUEUE_ONE)


def test_a_target_may_be_quicker_than_whoever_writes_down_its_answer(
    user: User,
) -> None:
    task = make(user)
    dispatch.dispatch_due()
    run = run_of(task)
    [claimed] = leases.claim([run.pk])
    token = run_tokens.make_token(long_work.run_token_keys()[0], run.pk, claimed.turn)

    assert say(run, "heartbeat", token).json()["deadline"] is None
    assert say(run, "complete", token, [1]).json()["state"] == "succeeded"
    late = AttemptResult(
        claimed, HttpResult(202, "", 5), KeepOpen(DEADLINE), timezone.now()
    )

    assert record_results([late]) == set()
    run.refresh_from_db()
    assert (run.state, run.lease) == ("succeeded", None)
    assert Attempt.objects.get(run=run).answer == "[1]"


def test_work_goes_on_though_the_worker_died_before_it_wrote_down_the_answer(
    user: User,
) -> None:
    task = make(user)
    dispatch.dispatch_due()
    run = run_of(task)
    [claimed] = leases.claim([run.pk])
    token = run_tokens.make_token(long_work.run_token_keys()[0], run.pk, claimed.turn)
    pass_deadline(run)
    assert rescue.wake_due().run_ids == [run.pk]

    # It is sent again with the same token, so that the target's word counts either way.
    [again] = leases.claim([run.pk])

    assert (
        run_tokens.make_token(long_work.run_token_keys()[0], run.pk, again.turn)
        == token
    )
    assert say(run, "complete", token).json()["state"] == "succeeded"


@pytest.mark.parametrize(
    "token",
    ["srt_1_AAAA", "srt_1", "srt__", "srt_²_x", "srt_" + "9" * 5000 + "_x", "srt_1_é"],
)
def test_a_wrong_token_is_refused(user: User, token: str) -> None:
    task = make(user)
    begin(task)
    run = run_of(task)

    answers = [say(run, word, token) for word in ("complete", "fail", "heartbeat")]

    assert {answer.status_code for answer in answers} == {403}
    run.refresh_from_db()
    assert run.state == "open"


def test_an_empty_token_counts_as_a_wrong_one_beside_any_other(
    user: User, client_for: ClientFor
) -> None:
    begin(make(user))

    answer = client_for(user).post(
        f"/runs/{Run.objects.get().pk}/complete", headers={"X-Scheduler-Run-Token": ""}
    )

    assert answer.status_code == 403
    assert Run.objects.get().state == "open"


def test_the_token_of_another_run_is_refused(user: User) -> None:
    token = begin(make(user))
    other = make(user)
    begin(other)

    assert say(run_of(other), "complete", token).status_code == 403


def test_a_token_is_good_under_a_former_secret_key(
    user: User, settings: LazySettings
) -> None:
    task = make(user)
    token = begin(task)
    former = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 50, [former]

    # The caller has no token that the database knows, so the key of those is not needed.
    assert say(run_of(task), "complete", token).status_code == 200


@pytest.mark.parametrize("run_id", ["x", str(NO_RUN)])
def test_a_run_that_is_not_there_is_not_found(user: User, run_id: str) -> None:
    token = run_tokens.make_token(long_work.run_token_keys()[0], NO_RUN, 1)

    answer = APIClient().post(
        f"/runs/{run_id}/complete", HTTP_X_SCHEDULER_RUN_TOKEN=token
    )

    assert answer.status_code == 404


@pytest.mark.parametrize("word", ["complete", "fail", "heartbeat"])
def test_who_shows_just_anything_is_refused_before_the_body_is_read(
    user: User, word: str
) -> None:
    # So large that whoever looked at it would refuse it for that.
    body = b'"' + b"x" * 17_000 + b'"'
    task = make(user)
    begin(task)

    for run_id in (NO_RUN, run_of(task).pk):
        answer = APIClient().post(
            f"/runs/{run_id}/{word}",
            body,
            content_type="application/json",
            HTTP_X_SCHEDULER_RUN_TOKEN="srt_1_x",
        )
        assert answer.status_code == 403


def test_whoever_reaches_the_task_may_speak_for_its_target(
    user: User, stranger: User, colleague: User, client_for: ClientFor
) -> None:
    task = make(user)
    begin(task)
    path = f"/runs/{run_of(task).pk}/complete"

    for other in (stranger, colleague):
        assert client_for(other).post(path).status_code == 404

    assert client_for(user).post(path).json()["state"] == "succeeded"


def test_a_user_cannot_end_a_run_that_is_only_being_sent(
    user: User, client_for: ClientFor
) -> None:
    task = make(user)
    Task.objects.update(request="")
    dispatch.dispatch_due()
    leases.claim([run_of(task).pk])

    answer = client_for(user).post(f"/runs/{run_of(task).pk}/complete")

    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("word", "body", "status"),
    [
        ("complete", b"{", 400),
        ("complete", b'"' + b"x" * 17_000 + b'"', 413),
        ("fail", b"[]", 400),
        ("fail", b'{"reason": 1}', 400),
        ("fail", b'{"reason": "' + b"x" * 1001 + b'"}', 400),
        ("fail", b'{"retry": "no"}', 400),
    ],
)
def test_a_bad_body_changes_nothing(
    user: User, word: str, body: bytes, status: int
) -> None:
    task = make(user)
    token = begin(task)
    run = run_of(task)

    answer = APIClient().post(
        f"/runs/{run.pk}/{word}",
        body,
        content_type="application/json",
        HTTP_X_SCHEDULER_RUN_TOKEN=token,
    )

    assert answer.status_code == status
    run.refresh_from_db()
    assert run.state == "open"


def test_flower_is_told_the_real_end(user: User) -> None:
    task = make(user)
    token = begin(task)
    run = run_of(task)
    say(run, "fail", token, {"reason": "disk full"})

    [told] = long_work.fetch_ended([run.pk])

    assert '"type":"task-failed"' in encode_events([told], "worker@here")
    assert "disk full" in encode_events([told], "worker@here")


def test_a_worker_counts_the_real_end(user: User) -> None:
    task = make(user)
    token = begin(task)
    run = run_of(task)
    say(run, "complete", token)
    before = succeeded()

    tasks.report_ends([run.pk.hex])

    assert succeeded() == before + 1


def succeeded() -> float:
    labels = {"state": "succeeded"}
    return registry.REGISTRY.get_sample_value("scheduler_runs_total", labels) or 0.0


def test_many_expire_in_a_constant_number_of_statements(
    user: User, django_assert_max_num_queries: Any
) -> None:
    made = [make(user, pause_after_failures=2) for _ in range(20)]
    dispatch.dispatch_due()
    for run in Run.objects.all():
        take(run)
        pass_deadline(run)

    with django_assert_max_num_queries(9):
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
def test_whoever_ends_a_run_holds_it_not_while_it_waits_for_the_task(
    user: User, *, is_late: bool
) -> None:
    """Whoever removes a task holds it and waits for its runs."""
    task = make(user, pause_after_failures=3)
    begin(task)
    run = run_of(task)
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
        eventually(somebody_waits_for_a_lock)
        assert Run.objects.select_for_update(nowait=True).get(pk=run.pk)
    ending.join()

    task.refresh_from_db()
    assert task.failure_streak == 1
