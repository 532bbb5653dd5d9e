"""One task as its page shows it: without secrets, and with how its runs went."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.exceptions import TaskNotFound
from tasks_api.domain.specs import Surface
from tasks_api.domain.states import RunState
from tasks_api.models import FurtherAttempt, Task
from tasks_api.services import removal
from tasks_api.services.masked_requests import MASKED
from tasks_api.services.task_details import find_task, measure_latency, recent_runs
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db
MS = timedelta(milliseconds=1)


def test_an_ended_task_is_found_and_that_of_another_user_is_not(
    user: User, colleague: User, make_task: MakeTask
) -> None:
    task, foreign = make_task(), make_task(colleague)
    notice = make_task(surface=Surface.NOTICES)
    removal.remove_task(user, str(task.pk), now=timezone.now())

    assert find_task(user, task.pk).task == task
    for other in (foreign, notice):
        with pytest.raises(TaskNotFound):
            find_task(user, other.pk)


def test_a_request_shows_no_secret(user: User, client_for: ClientFor) -> None:
    client_for(user).post(
        "/tasks/",
        {
            "task_type": "one_time",
            "run_datetime": "2099-01-01T00:00:00Z",
            "url": "https://ann:hunter2@example.com/hook",
            "method": "PUT",
            "headers": {"X-Key": "hunter3"},
            "timeout_seconds": 5,
            "post_data": {"a": 1},
        },
        format="json",
    )

    request = find_task(user, Task.objects.get().pk).request

    assert (request.method, request.url) == ("PUT", "https://***@example.com/hook")
    assert request.headers == [("Content-Type", "application/json"), ("X-Key", MASKED)]
    assert json.loads(request.body) == {"a": 1}
    assert "hunter" not in str(request)


def test_a_request_without_a_body_has_no_type(user: User, make_task: MakeTask) -> None:
    task = make_task()
    Task.objects.update(method="GET")

    request = find_task(user, task.pk).request

    assert (request.body, request.headers) == ("", [])


def test_the_latency_is_that_of_runs_that_were_sent(user: User) -> None:
    task = hourly_task(user)
    now = timezone.now()
    for number, late in enumerate((100, 300, 500)):
        at = now - timedelta(hours=number + 1)
        run = store_run(task, at=at)
        run.first_started_at, run.first_duration_ms = at + late * MS, late
        run.save()
    store_run(task, ago=1, state=RunState.SKIPPED)

    latency = measure_latency(task.tenant_id, task.pk)

    assert (latency.runs, latency.late_p50, latency.answer_p50) == (
        3,
        300 * MS,
        300 * MS,
    )
    assert latency.late_p99 is not None
    assert 490 * MS < latency.late_p99 <= 500 * MS


def test_recent_runs_show_their_last_attempts(user: User) -> None:
    task = hourly_task(user)
    twice = store_run(task, ago=2)
    once = store_run(task, ago=1, state=RunState.SUCCEEDED)
    store_run(hourly_task(user), ago=1)
    FurtherAttempt.objects.create(
        run_id=twice.pk,
        number=2,
        started_at=twice.scheduled_for,
        duration_ms=30_000,
        error="timeout",
    )

    found = recent_runs(task.tenant_id, task.pk, limit=5)

    assert [(run.id, run.status_code, run.error, run.duration) for run in found] == [
        (once.pk, 200, "", 7 * MS),
        (twice.pk, None, "timeout", 30_000 * MS),
    ]
    assert len(recent_runs(task.tenant_id, task.pk, limit=1)) == 1


def test_a_task_without_runs_has_no_latency(user: User) -> None:
    task = hourly_task(user)

    assert measure_latency(task.tenant_id, task.pk) == (0, None, None, None, None)
