"""A task that stops on success ends with the first run of its schedule that succeeds."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from accounts import services as accounts
from accounts.models import AuditEntry, User
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import GiveUp, RetryAfter, Succeed, Verdict
from tasks_api.domain.specs import Overlap, Surface
from tasks_api.domain.states import EndReason
from tasks_api.models import Run, Task
from tasks_api.services import manual_runs, reconciliation
from tasks_api.services.account import FireTimeOutcome
from tasks_api.storage import schedule_changes
from tasks_api.worker import run_events
from tasks_api.worker.engine import Engine
from tasks_api.worker.record import AttemptResult
from tests.integration.conftest import ResultLog
from tests.integration.support.long_work import (
    begin_run,
    call_back,
    latest_run_of,
    make_long_work,
)
from tests.integration.support.policy_tasks import due_every, make_due, make_task_with
from tests.integration.support.reconciliation_model import let_pass
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    give_back,
    run_states,
    take_due,
    take_waiting,
)
from tests.integration.support.threads import run_in_threads
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def polling_task(user: User, **rules: Any) -> Task:
    rules = {"overlap": Overlap.ALLOW, "stop_on_success": True, **rules}
    return make_task_with(user, due_every(HOUR, since=SECOND), **rules)


def take_next(task: Task) -> ClaimedRun:
    make_due(task)
    [run] = take_due()
    return run


def end_run(run: ClaimedRun, verdict: Verdict) -> None:
    result = HttpResult(200 if isinstance(verdict, Succeed) else 500, "", 1)
    run_events.record([AttemptResult(run, result, verdict, timezone.now())])


def test_the_first_success_ends_the_task(user: User) -> None:
    task = polling_task(user)
    end_run(take_next(task), GiveUp("HTTP 500"))
    task.refresh_from_db()
    assert task.ended_at is None
    under_way, run = take_next(task), take_next(task)

    end_run(run, Succeed())

    task.refresh_from_db()
    assert (task.end_reason, task.next_fire_at) == (EndReason.SUCCEEDED, None)
    entry = AuditEntry.objects.get(action="task.end")
    assert (entry.actor, entry.object_id) == ("the service", str(task.pk))
    # What was under way finishes, and one more success changes nothing.
    ended_at = task.ended_at
    end_run(under_way, Succeed())
    task.refresh_from_db()
    assert task.ended_at == ended_at
    assert run_states(task) == ["failed", "succeeded", "succeeded"]


def test_the_account_plans_nothing_after_the_end(user: User) -> None:
    since = due_every(10 * SECOND, since=SECOND)
    task = make_task_with(user, since, overlap=Overlap.ALLOW, stop_on_success=True)
    [run] = take_due()
    let_pass(task, 35 * SECOND)

    end_run(run, Succeed())
    while schedule_changes.settle_open_changes():
        pass
    let_pass(task, 60 * SECOND)

    found = reconciliation.reconcile(user, task.pk, since=None, until=None)
    assert (found.balance, found.differences) == (0, [])
    assert (
        found.outcomes[FireTimeOutcome.DELIVERED],
        found.outcomes[FireTimeOutcome.MISSED],
    ) == (1, 3)


def test_runs_that_wait_are_cancelled_but_not_manual_ones(user: User) -> None:
    task = polling_task(user)
    retried, waiting, run = take_next(task), take_next(task), take_next(task)
    end_run(retried, RetryAfter("HTTP 500", 3600.0))
    give_back([waiting])
    manual_id = manual_runs.fire_task(task.pk, now=timezone.now())

    end_run(run, Succeed())

    states = {each.pk: each.state for each in Run.objects.filter(task=task)}
    assert states == {
        retried.run_id: "cancelled",
        waiting.run_id: "cancelled",
        run.run_id: "succeeded",
        manual_id: "pending",
    }
    assert [each.run_id for each in take_waiting()] == [manual_id]


def test_a_retry_after_the_end_is_not_sent(user: User) -> None:
    task = polling_task(user)
    late, run = take_next(task), take_next(task)
    end_run(run, Succeed())

    end_run(late, RetryAfter("HTTP 503", 1.0))

    reason = Run.objects.get(pk=late.run_id).reason
    assert reason == "HTTP 503; not tried again, the task was done."


def test_a_manual_run_does_not_end_the_task(user: User) -> None:
    task = polling_task(user)
    manual_runs.fire_task(task.pk, now=timezone.now())
    [run] = take_waiting()

    end_run(run, Succeed())

    task.refresh_from_db()
    assert task.ended_at is None


def test_successes_at_the_same_time_end_it_once(user: User) -> None:
    task = polling_task(user, pause_after_failures=3)
    runs = [take_next(task) for _ in range(8)]

    run_in_threads(8, lambda: end_run(runs.pop(), Succeed()))

    assert AuditEntry.objects.filter(action="task.end").count() == 1
    assert run_states(task) == ["succeeded"] * 8


def test_a_worker_ends_it_and_its_tenant_is_told(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    accounts.configure_tenant("Alpha", notification_url=f"{receiver.url}/told")
    task = polling_task(user, url=f"{receiver.url}/poll")

    engine.ring()
    recorded.wait_for(1)

    [notice] = Task.objects.filter(surface=Surface.NOTICES)
    assert '"reason": "A run of the task has succeeded."' in notice.body
    task.refresh_from_db()
    assert task.end_reason == EndReason.SUCCEEDED


def test_long_work_that_is_done_ends_it(user: User) -> None:
    task = make_long_work(user, stop_on_success=True)
    token = begin_run(task)

    answer = call_back(latest_run_of(task), "complete", token)

    assert answer.status_code == 200
    task.refresh_from_db()
    assert task.end_reason == EndReason.SUCCEEDED
