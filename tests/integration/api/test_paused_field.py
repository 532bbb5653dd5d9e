"""`paused` says whether a task is, and makes it so, wherever a task is said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import AuditEntry
from tasks_api.domain.schedules import Once
from tasks_api.models import Run, Task
from tests.acceptance.harness import eventually
from tests.conftest import MakeTask
from tests.integration.support.stored_tasks import take_due
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC, created

Say = Callable[[APIClient, dict[str, Any]], Any]


def post_task(api: APIClient, path: str, body: Any) -> Any:
    return api.post(path, body, format="json")


def put_by_name(api: APIClient, more: dict[str, Any]) -> Any:
    return api.put("/tasks/by-name/n", {**PERIODIC, **more}, format="json")


def apply_task(api: APIClient, more: dict[str, Any]) -> Any:
    tasks = [{**PERIODIC, "name": "n", **more}]
    return post_task(api, "/tasks/apply/", {"tag": "t", "tasks": tasks})


MAKES: dict[str, Say] = {
    "create": lambda api, more: post_task(api, "/tasks/", {**PERIODIC, **more}),
    "one-off": lambda api, more: post_task(api, "/tasks/", {**ONE_TIME, **more}),
    "bulk": lambda api, more: post_task(api, "/tasks/bulk/", [{**PERIODIC, **more}]),
    "put": put_by_name,
    "apply": apply_task,
}
CHANGES: dict[str, Say] = {
    "patch": lambda api, more: api.patch(
        f"/tasks/id/{Task.objects.get().pk}", more, format="json"
    ),
    "put": put_by_name,
    "apply": apply_task,
}


def show_task(api: APIClient) -> dict[str, Any]:
    [task] = api.get("/tasks/").json()["tasks"]
    assert task == api.get(f"/tasks/{task['id']}").json()
    return dict(task)


def actions() -> list[str]:
    entries = AuditEntry.objects.filter(action__startswith="task.").order_by("id")
    return list(entries.values_list("action", flat=True))


def test_a_paused_task_says_so_and_an_active_one_does_not(api: APIClient) -> None:
    task = created(api, PERIODIC)
    assert "paused" not in task

    api.post(f"/tasks/{task['id']}/pause/")
    assert show_task(api)["paused"] is True

    api.post(f"/tasks/{task['id']}/resume/")
    assert show_task(api) == task


@pytest.mark.parametrize("how", sorted(MAKES))
def test_a_task_can_be_made_paused(api: APIClient, how: str) -> None:
    answer = MAKES[how](api, {"paused": True})

    assert answer.status_code in (200, 201), answer.json()
    task = show_task(api)
    assert (task["paused"], task["next_run_datetime"]) == (True, None)
    assert actions() == ["task.create", "task.pause"]
    assert AuditEntry.objects.get(action="task.pause").object_id == task["id"]
    [listed] = api.get("/tasks/?state=paused").json()["tasks"]
    assert listed == task


@pytest.mark.parametrize("value", [False, None])
def test_a_task_that_is_not_made_paused_fires(api: APIClient, value: object) -> None:
    post_task(api, "/tasks/", {**PERIODIC, "paused": value})

    assert show_task(api)["next_run_datetime"] == PERIODIC["start_datetime"]
    assert actions() == ["task.create"]


def test_of_many_those_are_paused_that_say_so(api: APIClient) -> None:
    tasks = [{**PERIODIC, "paused": place % 2 == 0} for place in range(4)]

    ids = post_task(api, "/tasks/bulk/", tasks).json()["ids"]

    paused = api.get("/tasks/?state=paused").json()["tasks"]
    assert {task["id"] for task in paused} == {ids[0], ids[2]}
    assert actions() == ["task.create", "task.pause"]


@pytest.mark.parametrize("how", sorted(CHANGES))
def test_a_task_is_paused_and_resumed_by_saying_so(api: APIClient, how: str) -> None:
    put_by_name(api, {"tags": ["t"]})
    before = show_task(api)

    for said, action in ((True, "pause"), (False, "resume")):
        for _ in range(2):
            answer = CHANGES[how](api, {"paused": said, "tags": ["t"]})
            assert answer.status_code == 200, answer.json()
        assert show_task(api).get("paused", False) is said
        assert actions()[-1] == f"task.{action}"

    assert show_task(api) == before
    assert actions() == ["task.create", "task.pause", "task.resume"]


@pytest.mark.parametrize("how", sorted(CHANGES))
def test_a_task_keeps_its_state_where_the_field_is_left_out(
    api: APIClient, how: str
) -> None:
    put_by_name(api, {"paused": True, "tags": ["t"]})

    answer = CHANGES[how](api, {"tags": ["t", "u"]})

    assert answer.status_code == 200, answer.json()
    assert show_task(api)["paused"] is True


def test_the_etag_is_that_of_the_task_as_it_was_made(api: APIClient) -> None:
    made = post_task(api, "/tasks/", {**PERIODIC, "paused": True})
    read = api.get(made["Location"])
    assert made["ETag"] == read["ETag"]

    resumed = api.patch(
        f"/tasks/id/{made.json()['id']}",
        {"paused": False},
        format="json",
        HTTP_IF_MATCH=read["ETag"],
    )
    assert resumed.status_code == 200
    assert resumed["ETag"] != read["ETag"]


@pytest.mark.parametrize("value", [1, 0, "true", "", [], {}])
@pytest.mark.parametrize("how", sorted(MAKES))
def test_anything_but_true_and_false_is_refused(
    api: APIClient, how: str, value: object
) -> None:
    answer = MAKES[how](api, {"paused": value})

    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "Invalid value of paused. Value should be true or false" in message
    assert not Task.objects.exists()


def test_a_change_and_a_pause_come_together_or_not_at_all(api: APIClient) -> None:
    put_by_name(api, {})

    both = {"paused": True, "frequency": 7200}
    task = CHANGES["patch"](api, both).json()
    assert (task["paused"], task["frequency"]) == (True, 7200)
    assert actions() == ["task.create", "task.change", "task.pause"]

    bad = CHANGES["patch"](api, {"paused": False, "url": "no"})
    assert bad.status_code == 400
    assert show_task(api) == task


def test_a_schedule_that_changes_with_a_resume_is_the_one_that_goes_on(
    api: APIClient,
) -> None:
    put_by_name(api, {"paused": True})
    start = "2090-12-06 08:00:00"

    task = CHANGES["patch"](api, {"paused": False, "start_datetime": start}).json()

    assert task["next_run_datetime"] == start


@pytest.mark.django_db(transaction=True)
def test_a_one_off_that_is_resumed_by_a_change_runs_once(
    api: APIClient, make_task: MakeTask
) -> None:
    task = make_task(schedule=Once(timezone.now() + timedelta(hours=1)))
    api.patch(f"/tasks/id/{task.pk}", {"paused": True}, format="json")
    past = timezone.now() - timedelta(seconds=1)
    task.refresh_from_db()
    api.patch(
        f"/tasks/id/{task.pk}",
        {"run_datetime": (past + timedelta(seconds=1.5)).isoformat()},
        format="json",
    )
    assert take_due() == []

    api.patch(f"/tasks/id/{task.pk}", {"paused": False}, format="json")
    assert len(eventually(take_due)) == 1
    assert take_due() == []

    assert Run.objects.filter(task=task).count() == 1


def test_a_plan_says_what_is_paused(api: APIClient) -> None:
    apply_task(api, {})

    [step] = apply_task(api, {"paused": True}).json()["tasks"]

    assert step["action"] == "pause"
    assert step["changes"] == {"paused": {"from": False, "to": True}}
