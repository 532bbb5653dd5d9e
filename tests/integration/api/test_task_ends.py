"""The fields by which a recurring task ends, in requests and answers."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from tasks_api.models import Task
from tests.integration.support.policy_tasks import make_due
from tests.integration.support.stored_tasks import take_due

pytestmark = pytest.mark.django_db(transaction=True)

PERIODIC = {"task_type": "periodic", "url": "http://example.com/", "frequency": 3600}
HUGE = 1_000_000_001


def create(api: APIClient, **given: Any) -> str:
    answer = api.post("/tasks/", {**PERIODIC, **given}, format="json")
    assert answer.status_code == 201, answer.json()
    return str(answer.json()["id"])


def test_an_answer_shows_the_fields_only_if_they_were_given(api: APIClient) -> None:
    plain = api.get(f"/tasks/{create(api, end_datetime=None)}").json()
    limited = api.get(f"/tasks/{create(api, max_runs=3, stop_on_success=True)}").json()

    assert {"max_runs", "runs_left", "stop_on_success"}.isdisjoint(plain)
    assert (limited["max_runs"], limited["runs_left"]) == (3, 3)
    assert limited["stop_on_success"] is True


def test_what_was_read_can_be_sent_back(api: APIClient) -> None:
    task_id = create(api, max_runs=3, stop_on_success=True)
    shown = api.get(f"/tasks/{task_id}").json()

    answer = api.patch(f"/tasks/id/{task_id}", shown, format="json")

    assert (answer.status_code, answer.json()) == (200, shown)


def test_runs_that_are_left_count_down_and_bound_the_preview(api: APIClient) -> None:
    task_id = create(api, max_runs=3)
    task = Task.objects.get(pk=task_id)
    make_due(task)
    assert len(take_due()) == 1

    assert api.get(f"/tasks/{task_id}").json()["runs_left"] == 2
    coming = api.get(f"/tasks/{task_id}/next/", {"n": 10}).json()
    assert len(coming["fire_times"]) == 2


def test_a_preview_shows_no_more_than_all_runs(api: APIClient) -> None:
    shown = api.post("/tasks/preview/", {**PERIODIC, "max_runs": 3}, format="json")

    assert len(shown.json()["fire_times"]) == 3


def test_an_edit_counts_from_the_beginning(api: APIClient) -> None:
    task_id = create(api, max_runs=3)
    for _ in range(2):
        make_due(Task.objects.get(pk=task_id))
        take_due()

    path = f"/tasks/id/{task_id}"
    assert api.patch(path, {"max_runs": 10}, format="json").json()["runs_left"] == 8
    refused = api.patch(path, {"max_runs": 2}, format="json")
    assert refused.status_code == 400
    assert "max_runs should be greater than 2" in refused.json()["error"]["message"]
    shown = api.patch(path, {"max_runs": None}, format="json").json()
    assert {"max_runs", "runs_left"}.isdisjoint(shown)
    assert api.patch(path, {"max_runs": 1}, format="json").json()["runs_left"] == 1


WRONG: dict[str, list[object]] = {
    "max_runs": [0, -1, True, 1.5, "x", [3], {}, HUGE, 1e300],
    "stop_on_success": [1, "true", [], {}, 0],
}


@pytest.mark.parametrize(
    ("field", "value"), [(name, value) for name in WRONG for value in WRONG[name]]
)
def test_a_wrong_value_is_refused_by_name(
    api: APIClient, field: str, value: object
) -> None:
    answer = api.post("/tasks/", {**PERIODIC, field: value}, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


def test_a_one_time_task_has_neither(api: APIClient) -> None:
    body = {
        "task_type": "one_time",
        "run_datetime": "2035-01-01T00:00:00Z",
        "url": "http://x.com/",
    }

    for field in ({"max_runs": 3}, {"stop_on_success": True}):
        answer = api.post("/tasks/", body | field, format="json")
        assert answer.status_code == 400
    answer = api.post("/tasks/", body | {"stop_on_success": False}, format="json")
    assert answer.status_code == 201, answer.json()


def test_a_plan_shows_the_change_and_not_the_count(api: APIClient) -> None:
    task = {**PERIODIC, "name": "poll", "max_runs": 3}
    body = {"tag": "t", "tasks": [task]}
    assert api.post("/tasks/apply/", body, format="json").status_code == 200
    assert api.post("/tasks/apply/", body, format="json").json()["counts"]["keep"] == 1

    task["max_runs"] = 4
    plan = api.post("/tasks/apply/", {**body, "dry_run": True}, format="json").json()

    [step] = plan["tasks"]
    assert step["changes"] == {"max_runs": {"from": 3, "to": 4}}
