"""Tasks whose runs fail one after the other pause themselves, and their tenants are told."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.test import APIClient
from standardwebhooks import Webhook

from accounts import services as accounts
from accounts.models import AuditEntry, User
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import GiveUp, Succeed
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import Backoff, Surface, TaskSpec
from tasks_api.models import Run, Task
from tasks_api.services import pausing, tasks
from tasks_api.worker import failure_streaks
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import AttemptResult
from tests.acceptance.harness import eventually
from tests.conftest import ClientFor
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import take_due
from tests.integration.support.threads import is_a_lock_awaited
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


SECOND = timedelta(seconds=1)


HOUR = timedelta(hours=1)


def make_task_with(owner: User, **rules: Any) -> Task:
    now = timezone.now()
    spec = TaskSpec(
        Surface.TASKS,
        rules.pop("url", "http://127.0.0.1:9/"),
        Interval(now - SECOND, HOUR),
        "{}",
        **rules,
    )
    return tasks.create_task(owner, spec, now=now)


def fire_task(task: Task, *, fails: bool) -> None:
    """Let a fire time of the task come, and its run end."""
    Task.objects.filter(pk=task.pk, next_fire_at__isnull=False).update(
        next_fire_at=timezone.now()
    )
    [taken] = [run for run in take_due() if run.task_id == task.pk]
    end_runs([taken], fails=fails)


def end_runs(taken: Sequence[ClaimedRun], *, fails: bool) -> None:
    """Let runs that a worker has taken be sent, and end."""
    verdict = GiveUp("HTTP 500") if fails else Succeed()
    outcome = HttpResult(500 if fails else 200, "", 1)
    failure_streaks.record_and_count(
        [AttemptResult(run, outcome, verdict, timezone.now()) for run in taken]
    )


def streak_state(task: Task) -> tuple[bool, int, str]:
    stored = Task.objects.select_related("periodic_task").get(pk=task.pk)
    is_paused = not stored.periodic_task.enabled
    return is_paused, stored.failure_streak, stored.pause_reason


def notices() -> list[Task]:
    return list(Task.objects.filter(surface=Surface.NOTICES).order_by("pk"))


def test_a_streak_of_failures_pauses_the_task_and_says_why(
    user: User, api: APIClient
) -> None:
    task = make_task_with(user, pause_after_failures=3)
    for fails in (True, True, False, True, True):
        fire_task(task, fails=fails)
    assert streak_state(task) == (False, 2, "")

    fire_task(task, fails=True)

    reason = "3 runs in a row failed; the last one: HTTP 500"
    assert streak_state(task) == (True, 3, reason)
    shown = api.get(f"/tasks/{task.pk}").json()
    assert shown["pause_reason"] == reason
    assert shown["next_run_datetime"] is None
    entry = AuditEntry.objects.get(action="task.pause")
    assert (entry.actor, entry.object_id) == ("the service", str(task.pk))
    # Nobody is to be told.
    assert notices() == []


def test_counting_a_failure_locks_no_run_while_it_waits_for_the_task(
    user: User,
) -> None:
    """A worker that takes holds tasks and waits for runs; the other way round nobody
    would go on."""
    task = make_task_with(user, pause_after_failures=3)
    [taken] = take_due()

    def end() -> None:
        try:
            end_runs([taken], fails=True)
        finally:
            connection.close()

    counting = threading.Thread(target=end)
    with transaction.atomic():
        Task.objects.select_for_update(no_key=True).get(pk=task.pk)
        counting.start()
        eventually(is_a_lock_awaited)
        assert Run.objects.select_for_update(nowait=True).get(pk=taken.run_id)
    counting.join()

    assert streak_state(task) == (False, 1, "")


def test_to_resume_begins_the_streak_anew(user: User, api: APIClient) -> None:
    task = make_task_with(user, pause_after_failures=1)
    fire_task(task, fails=True)
    assert streak_state(task)[0]

    assert api.post(f"/tasks/{task.pk}/resume/").status_code == 200

    assert streak_state(task) == (False, 0, "")
    assert "pause_reason" not in api.get(f"/tasks/{task.pk}").json()


def test_a_task_that_does_not_ask_for_it_goes_on(user: User) -> None:
    task = make_task_with(user)
    for _ in range(5):
        fire_task(task, fails=True)

    assert streak_state(task) == (False, 0, "")


def test_a_task_that_was_paused_by_hand_keeps_that(user: User) -> None:
    task = make_task_with(user, pause_after_failures=1)
    taken = take_due()
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())

    end_runs(taken, fails=True)

    assert streak_state(task) == (True, 1, "")


@hypothesis_settings(max_examples=200, deadline=None)
@given(ends=st.lists(st.lists(st.booleans(), min_size=1, max_size=4), max_size=6))
def test_runs_count_in_their_order_however_they_come_in_batches(
    ends: Sequence[Sequence[bool]],
) -> None:
    tally = failure_streaks._StreakChange()
    streak = 0
    for batch in ends:
        tally = failure_streaks._StreakChange()
        for fails in batch:
            end = failure_streaks.RunEnd(TASK_ID, "HTTP 500" if fails else None)
            tally = tally.after(end)
        streak = tally.failures + (0 if tally.begins_anew else streak)

    flat = [fails for batch in ends for fails in batch]
    trailing = len(flat) - (
        max((i for i, f in enumerate(flat) if not f), default=-1) + 1
    )
    assert streak == trailing


TASK_ID = Run().pk


def test_the_tenant_is_notified_by_a_signed_request(
    user: User, engine: Engine, recorded: ResultLog, receiver: Receiver
) -> None:
    assert user.tenant_id is not None
    accounts.configure_tenant("Alpha", notification_url=f"{receiver.url}/told")
    [secret] = accounts.load_signing_secrets(user.tenant_id, timezone.now())
    receiver.answer("/hook", status=500)
    task = make_task_with(
        user, url=f"{receiver.url}/hook", name="job", pause_after_failures=1
    )

    engine.ring()
    recorded.wait_for(1)
    _, told = receiver.wait_for(2)

    event = Webhook(secret).verify(told.body, dict(told.headers))
    assert event == json.loads(told.body)
    assert event["type"] == "task.paused"
    assert event["data"] == {
        "task_id": str(task.pk),
        "task_name": "job",
        "reason": "A run failed; the last one: HTTP 500",
        "last_error": "HTTP 500",
    }
    recorded.wait_for(2)
    assert [notice.end_reason for notice in notices()] == ["completed"]


def test_the_tenant_is_notified_of_a_task_whose_target_is_gone(
    user: User, engine: Engine, recorded: ResultLog, receiver: Receiver
) -> None:
    accounts.configure_tenant("Alpha", notification_url=f"{receiver.url}/told")
    receiver.answer("/hook", status=410)
    task = make_task_with(user, url=f"{receiver.url}/hook", retry=Backoff())

    engine.ring()
    recorded.wait_for(1)
    _, told = receiver.wait_for(2)

    event = json.loads(told.body)
    assert (event["type"], event["data"]["task_id"]) == ("task.ended", str(task.pk))
    entry = AuditEntry.objects.get(action="task.end")
    assert (entry.actor, entry.object_id) == ("the service", str(task.pk))


def test_a_notification_that_failed_causes_no_other(
    user: User, engine: Engine, recorded: ResultLog, receiver: Receiver
) -> None:
    accounts.configure_tenant("Alpha", notification_url=f"{receiver.url}/told")
    receiver.answer("/hook", status=500)
    receiver.answer("/told", status=410)
    make_task_with(user, url=f"{receiver.url}/hook", pause_after_failures=1)

    engine.ring()
    recorded.wait_for(1)
    recorded.wait_for(2)

    assert len(notices()) == 1
    assert take_due() == []


def test_a_notice_is_no_task_of_its_owner(user: User, api: APIClient) -> None:
    accounts.configure_tenant("Alpha", notification_url="https://e.org/told")
    task = make_task_with(user, pause_after_failures=1)
    fire_task(task, fails=True)
    [notice] = notices()

    assert api.get("/tasks/").json()["count"] == 1
    assert api.get(f"/tasks/{notice.pk}").status_code == 404
    assert api.delete(f"/tasks/id/{notice.pk}").status_code == 404


@pytest.mark.parametrize("is_admin", [False, True])
@pytest.mark.parametrize("few", [0, 500])
def test_the_runs_of_notices_are_told_apart(
    user: User,
    api: APIClient,
    monkeypatch: pytest.MonkeyPatch,
    is_admin: bool,
    few: int,
) -> None:
    monkeypatch.setattr("tasks_api.services.runs.MAX_TASKS_LOOKED_UP", few)
    User.objects.filter(pk=user.pk).update(role="admin" if is_admin else "member")
    accounts.configure_tenant("Alpha", notification_url="https://e.org/told")
    task = make_task_with(user, pause_after_failures=1)
    fire_task(task, fails=True)
    [notice] = notices()
    fire_task(notice, fails=True)

    def found(path: str) -> list[tuple[str, bool]]:
        return [(r["task_id"], r["notice"]) for r in api.get(path).json()["runs"]]

    of_task, of_notice = [(str(task.pk), False)], [(str(notice.pk), True)]
    for query in ("", "?state=failed", "?notice=false", f"?task={task.pk}"):
        assert found(f"/runs/{query}") == of_task
    for query in ("?notice=true", "?notice=true&state=failed", f"?task={notice.pk}"):
        assert found(f"/runs/{query}") == of_notice
    [run] = Run.objects.filter(task=notice)
    assert api.get(f"/runs/{run.pk}").json()["notice"] is True
    again = {"state": ["failed"]}
    redriven = api.post("/runs/redrive/", again, format="json").json()["run_ids"]
    assert [Run.objects.get(pk=each).task_id for each in redriven] == [task.pk]
    assert api.post(f"/runs/{run.pk}/redrive/").status_code == 202


def test_the_notices_of_others_are_not_shown(
    user: User, colleague: User, stranger: User, client_for: ClientFor
) -> None:
    accounts.configure_tenant("Alpha", notification_url="https://e.org/told")
    fire_task(make_task_with(user, pause_after_failures=1), fails=True)
    fire_task(notices()[0], fails=True)

    for other in (colleague, stranger):
        assert client_for(other).get("/runs/?notice=true").json()["runs"] == []


@pytest.mark.parametrize("value", [0, True, "3", 1.5, 1001])
def test_a_streak_is_a_whole_number(api: APIClient, value: Any) -> None:
    task = {"task_type": "periodic", "cron": "0 3 * * *", "url": "https://e.org/"}

    answer = api.post("/tasks/", {**task, "pause_after_failures": value}, format="json")

    assert answer.status_code == 400
    assert "pause_after_failures" in answer.json()["error"]["message"]


def test_a_one_time_task_has_no_streak(api: APIClient) -> None:
    run_at = (timezone.now() + HOUR).isoformat()
    task = {"task_type": "one_time", "run_datetime": run_at, "url": "https://e.org/"}

    answer = api.post("/tasks/", {**task, "pause_after_failures": 3}, format="json")

    assert answer.status_code == 400
    assert "pause_after_failures" in answer.json()["error"]["message"]


def test_the_limit_is_shown_changed_and_taken_away(api: APIClient) -> None:
    task = {"task_type": "periodic", "cron": "0 3 * * *", "url": "https://e.org/"}
    posted = api.post("/tasks/", {**task, "pause_after_failures": 3}, format="json")
    path = f"/tasks/{posted.json()['id']}"

    assert api.get(path).json()["pause_after_failures"] == 3
    changed = api.patch(path, {"pause_after_failures": 5}, format="json")
    assert changed.json()["pause_after_failures"] == 5
    without = api.patch(path, {"pause_after_failures": None}, format="json")
    assert "pause_after_failures" not in without.json()
