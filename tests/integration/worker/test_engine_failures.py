"""What goes wrong with one run is its own failure: the others of its batch go on."""

from __future__ import annotations

import errno
import json
import logging
import threading
import time
from collections.abc import Sequence
from typing import Never

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from tasks_api.delivery import retry
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.models import Message, Run, Task
from tasks_api.services import tasks
from tasks_api.taking import leases
from tasks_api.worker import failure_log, flower_events, queue_delivery
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import AttemptResult
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import (
    SECOND,
    store_task,
    take_due,
    take_waiting,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

FROM_THE_FUTURE = json.dumps({"form": None, "header_names": [], "http_version": 3})
UNREADABLE = {
    "a field that a newer release has": {"request": FROM_THE_FUTURE},
    "no JSON": {"request": "{"},
    "another shape": {"request": "[1]"},
    "a retry that a newer release has": {"retry": '{"max_attempts": 3, "budget": 1}'},
    "statuses that are none": {"expected_status": "2xx"},
}


def store_due_task(owner: User, url: str) -> Task:
    return store_task(owner, Once(timezone.now() - SECOND), url)


def only_run_of(task: Task) -> Run:
    return Run.objects.get(task=task)


@pytest.mark.parametrize("columns", UNREADABLE.values(), ids=list(UNREADABLE))
def test_a_row_that_a_worker_does_not_understand_waits_for_another_worker(
    user: User,
    stranger: User,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    columns: dict[str, str],
) -> None:
    with transaction.atomic():
        strange = store_due_task(user, receiver.url + "/strange")
        Task.objects.filter(pk=strange.pk).update(**columns)
        store_due_task(user, receiver.url + "/own")
        store_due_task(stranger, receiver.url + "/other")

    engine.ring()
    recorded.wait_for(3)

    assert {r.path for r in receiver.requests} == {"/own", "/other"}
    run = only_run_of(strange)
    assert (run.state, run.lost_count, run.lease) == (RunState.PENDING, 1, None)
    assert run.reason.startswith("not understood by its worker")
    assert run.wake_at is not None
    assert run.wake_at > timezone.now()
    assert run.attempts.get().error == run.reason


def test_a_row_that_no_worker_understands_fails_at_last(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    with transaction.atomic():
        strange = store_due_task(user, receiver.url + "/strange")
        Task.objects.filter(pk=strange.pk).update(request=FROM_THE_FUTURE)
        [taken] = take_due()
        leases.undo_take(taken.lease)
        Run.objects.filter(pk=taken.run_id).update(
            lost_count=retry.MAX_LOST_ATTEMPTS - 1,
            attempt_count=retry.MAX_LOST_ATTEMPTS - 1,
        )

    engine.ring()
    recorded.wait_for(1)

    run = only_run_of(strange)
    assert run.state == RunState.FAILED
    assert run.reason == "not understood by its worker (TypeError)"
    assert receiver.requests == []


def test_a_run_that_cannot_be_recorded_keeps_no_other_from_being_recorded(
    user: User, stranger: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/late", status=503)
    endless = {"min_delay": 1e300, "max_delay": 1e300, "statuses": [503]}
    policy = json.dumps(endless | {"conflict_delay": None})
    with transaction.atomic():
        doomed = store_due_task(user, receiver.url + "/late")
        Task.objects.filter(pk=doomed.pk).update(retry=policy)
        tasks = [store_due_task(stranger, receiver.url + "/fine") for _ in range(5)]

    engine.ring()
    recorded.wait_for(6)

    assert [only_run_of(task).state for task in tasks] == [RunState.SUCCEEDED] * 5
    run = only_run_of(doomed)
    assert run.state == RunState.FAILED
    assert run.reason.startswith("what became of it could not be recorded")


def store_queue_task(owner: User, payload: str = "{}") -> Task:
    spec = TaskSpec(Surface.TASKS, "", Once(timezone.now()), payload, queue="q")
    return tasks.create_task(owner, spec, now=timezone.now())


def test_a_message_that_cannot_be_put_keeps_no_other_from_its_queue(
    user: User, engine: Engine, recorded: ResultLog
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE tasks_api_message ADD CONSTRAINT no_two CHECK (payload <> '2')"
        )
    try:
        with transaction.atomic():
            tasks = [store_queue_task(user, json.dumps(number)) for number in range(4)]
        engine.ring()
        recorded.wait_for(4)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE tasks_api_message DROP CONSTRAINT no_two")

    states = [only_run_of(task).state for task in tasks]
    assert states == ["succeeded", "succeeded", "failed", "succeeded"]
    assert only_run_of(tasks[2]).reason.startswith("could not be put into its queue")
    assert Message.objects.count() == 3


def test_a_machine_that_lacks_files_fails_no_run_with_a_queue(
    user: User,
    engine: Engine,
    recorded: ResultLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(queue_delivery, "enqueue", _lack_files)
        with transaction.atomic():
            tasks = [store_queue_task(user) for _ in range(2)]
        engine.ring()
        recorded.wait_for(2)

        runs = [only_run_of(task) for task in tasks]
        assert {(run.state, run.attempt_count) for run in runs} == {("pending", 0)}

    Run.objects.update(wake_at=timezone.now())
    engine.ring()
    recorded.wait_for(4)
    assert {only_run_of(task).state for task in tasks} == {RunState.SUCCEEDED}


def _lack_files(*_args: object) -> Never:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize("stored", ["no key ever made this", "gAAAAA", "gAAAAAé"])
def test_unreadable_secrets_of_a_tenant_stop_no_other_tenant(
    user: User,
    stranger: User,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    stored: str,
) -> None:
    with connection.cursor() as cursor:
        for column in (
            "accounts_signingsecret SET secret = %s WHERE tenant_id",
            "accounts_tenant SET shared_secret = %s WHERE id",
        ):
            cursor.execute(f"UPDATE {column} = %s", [stored, user.tenant_id])
    with transaction.atomic():
        store_due_task(user, receiver.url + "/broken")
        sound = store_due_task(stranger, receiver.url + "/sound")

    engine.ring()
    recorded.wait_for(2)

    assert only_run_of(sound).state == RunState.SUCCEEDED
    assert not Run.objects.filter(state=RunState.RUNNING).exists()


def test_a_url_that_others_refuse_breaks_no_page_no_event_and_no_line(
    user: User,
    stranger: User,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    admin_client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    port = receiver.url.rpartition(":")[2]
    with transaction.atomic():
        sound = store_due_task(stranger, receiver.url + "/sound")
        for userinfo in ("us\uff03er:hunter2", "[::1]:hunter2"):
            strange = store_due_task(user, receiver.url + "/x")
            # As it was stored when it was not refused yet.
            Task.objects.filter(pk=strange.pk).update(
                url=f"http://{userinfo}@127.0.0.1:{port}/x"
            )

    engine.ring()
    finished = recorded.wait_for(3)
    failure_log.log_failures(finished)
    told = flower_events.encode_events(finished, "here")
    page = admin_client.get(reverse("admin:tasks_api_task_changelist"))

    assert only_run_of(sound).state == RunState.SUCCEEDED
    assert only_run_of(strange).reason.startswith("The credentials in the URL")
    assert page.status_code == 200
    assert len(json.loads(told)) == 3
    for text in (told, caplog.text, page.content.decode()):
        assert "hunter2" not in text


def test_a_listener_that_fails_changes_nothing_of_what_is_recorded(
    user: User,
    receiver: Receiver,
    settings: LazySettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = threading.Event()

    def fail(finished: Sequence[AttemptResult]) -> None:
        told.set()
        raise ValueError("http://user:hunter2@host/")

    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    deaf = Engine(on_recorded=fail, on_beat=lambda _: None)
    deaf.start()
    task = store_due_task(user, receiver.url + "/hook")

    deaf.ring()
    assert told.wait(20)
    deaf.stop(grace=5)

    assert only_run_of(task).state == RunState.SUCCEEDED
    assert only_run_of(task).attempts.count() == 1
    assert "hunter2" not in caplog.text


def test_a_presence_callback_that_fails_keeps_no_lease_from_being_prolonged(
    user: User, receiver: Receiver, settings: LazySettings, recorded: ResultLog
) -> None:
    settings.SCHEDULER_LEASE = 1.0
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    receiver.answer("/slow", delay=2.5)

    def fail(presence: int) -> None:
        raise KeyError(presence)

    mute = Engine(on_recorded=recorded, on_beat=fail)
    mute.start()
    task = store_due_task(user, receiver.url + "/slow")

    mute.ring()
    recorded.wait_for(1)
    mute.stop(grace=5)

    assert (only_run_of(task).state, only_run_of(task).lost_count) == (
        RunState.SUCCEEDED,
        0,
    )


def test_stopping_is_bounded_though_nothing_can_be_written_down(
    user: User, receiver: Receiver, engine: Engine
) -> None:
    store_due_task(user, receiver.url + "/hook")

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE tasks_api_attempt IN SHARE MODE")
        engine.ring()
        receiver.wait_for(1)
        began = time.monotonic()
        engine.stop(grace=0.5)

        assert time.monotonic() - began < 9

    assert take_waiting() == []


def test_a_full_worker_takes_nothing_and_nothing_more_once_it_stops(
    user: User, receiver: Receiver, settings: LazySettings, recorded: ResultLog
) -> None:
    settings.SCHEDULER_MAX_IN_FLIGHT = 1
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    receiver.answer("/slow", delay=1)
    for _ in range(2):
        store_due_task(user, receiver.url + "/slow")
    full = Engine(on_recorded=recorded, on_beat=lambda _: None)
    full.start()
    receiver.wait_for(1)

    full.ring()
    full.stop_taking()
    full.stop(grace=5)

    assert Run.objects.get().state == RunState.SUCCEEDED
    assert len(receiver.requests) == 1
    assert len(take_due()) == 1
