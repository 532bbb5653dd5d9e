"""Whoever may not touch a row of others does not hold it up either."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.db import transaction
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.domain.exceptions import TaskNotFound
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import read_cron
from tasks_api.domain.specs import Surface
from tasks_api.models import Run, Task
from tasks_api.services import pausing
from tests.conftest import NOON, ClientFor, MakeTask
from tests.integration.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

CRON_JOB = {"id": "a", "endpoint": "http://a.example/", "cron": "@daily", "payload": 1}
ONE_TIME = {
    "task_type": "one_time",
    "run_datetime": "2090-01-01T00:00Z",
    "url": "http://a.example/",
}


@pytest.fixture
def task(make_task: MakeTask) -> Task:
    """A task of ann, with a run; and a cron job of hers."""
    task = make_task(name="mine")
    Run.objects.create(
        id=id_for(NOON, task.tenant_id),
        task=task,
        tenant_id=task.tenant_id,
        scheduled_for=NOON,
        wake_at=NOON,
    )
    make_task(
        name="a", surface=Surface.CRON_JOBS, schedule=read_cron("@daily", now=NOON)
    )
    return task


@pytest.mark.parametrize("who", ["stranger", "colleague"])
def test_what_others_have_is_refused_without_waiting_for_it(
    task: Task, who: str, client_for: ClientFor, request: pytest.FixtureRequest
) -> None:
    user: User = request.getfixturevalue(who)
    api = client_for(user)
    run = Run.objects.get()
    is_colleague = who == "colleague"
    in_path = f"/tasks/id/{task.pk}"

    def ask() -> list[int]:
        answers = [
            api.delete(in_path),
            api.patch(in_path, {"name": "b"}, format="json"),
            api.post(f"/tasks/{task.pk}/pause/"),
            api.post(f"/tasks/{task.pk}/resume/"),
            api.post(f"/tasks/{task.pk}/run/"),
            api.post("/tasks/pause/", {"ids": [str(task.pk)]}, format="json"),
            api.post(f"/runs/{run.pk}/heartbeat/"),
            APIClient().post(f"/runs/{run.pk}/fail/", HTTP_X_SCHEDULER_RUN_TOKEN="x"),
        ]
        if is_colleague:
            answers += [
                api.put("/tasks/by-name/mine", ONE_TIME, format="json"),
                api.delete("/tasks/by-name/mine"),
                api.post("/", CRON_JOB, format="json"),
                api.delete("/?job_id=a"),
            ]
        return [answer.status_code for answer in answers]

    with transaction.atomic():
        assert list(Task.objects.select_for_update())
        assert list(Run.objects.select_for_update())
        [statuses] = run_in_threads(1, ask)

    assert statuses == [403] * 6 + [404, 403] + [403] * 4 * is_colleague


def test_an_unknown_task_is_not_found_before_a_foreign_one_is_forbidden(
    task: Task, stranger: User
) -> None:
    unknown = str(UUID(int=7))

    with pytest.raises(TaskNotFound):
        pausing.pause_tasks(stranger, [str(task.pk), unknown], now=NOON)
