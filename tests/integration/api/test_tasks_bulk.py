"""Many tasks in one request: all of them, or none and an error for each bad one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

from tasks_api.models import Task
from tests.conftest import MakeTask
from tests.integration.support.tasks_surface import (
    ABSENT,
    ONE_TIME,
    PERIODIC,
    changed,
    created,
    error,
)

DONE = "Tasks have been scheduled successfully"


def post_bulk(api: APIClient, body: object) -> Any:
    return api.post("/tasks/bulk/", body, format="json")


@pytest.mark.parametrize("wrap", [lambda tasks: tasks, lambda tasks: {"tasks": tasks}])
def test_tasks_are_made_in_the_order_of_the_request(
    api: APIClient, wrap: Callable[[list[Any]], object]
) -> None:
    alike = created(api, PERIODIC)
    tasks = [{**PERIODIC, "name": "a"}, ONE_TIME, {**ONE_TIME, "tags": ["x", "y"]}]

    answer = post_bulk(api, wrap(tasks))

    ids = answer.json()["ids"]
    assert (answer.status_code, answer.json()["message"]) == (201, DONE)
    first, second, third = [api.get(f"/tasks/{task_id}").json() for task_id in ids]
    assert first == {**alike, "id": ids[0], "name": "a"}
    assert second["task_type"] == "one_time"
    assert third["tags"] == ["x", "y"]
    assert api.get("/tasks/").json()["count"] == 4


def test_every_bad_task_is_named_and_none_is_made(api: APIClient) -> None:
    tasks = [
        ONE_TIME,
        changed(ONE_TIME, {"url": ABSENT}),
        7,
        {**ONE_TIME, "name": "a"},
        {**ONE_TIME, "name": "a"},
    ]

    answer = post_bulk(api, {"tasks": tasks})

    assert answer.status_code == 400
    assert answer.json()["error"]["tasks"] == [
        {"index": 1, "field": "url", "message": "Missing key: url"},
        {
            "index": 2,
            "field": "body",
            "message": "The request body should be a JSON object",
        },
        {"index": 4, "field": "name", "message": "tasks[3] has this name"},
    ]
    assert "tasks[1]: Missing key: url" in answer.json()["error"]["message"]
    assert not Task.objects.exists()


def test_a_name_that_is_taken_is_a_conflict(
    api: APIClient, make_task: MakeTask
) -> None:
    make_task(name="taken")

    answer = post_bulk(api, [ONE_TIME, {**ONE_TIME, "name": "taken"}])

    [bad] = answer.json()["error"]["tasks"]
    assert (answer.status_code, bad["index"], bad["field"]) == (409, 1, "name")
    assert Task.objects.count() == 1


@pytest.mark.parametrize("body", [{}, [], {"tasks": {}}, {"tasks": None}, 7, "x"])
def test_a_body_that_is_no_list_of_tasks_is_refused(
    api: APIClient, body: object
) -> None:
    answer = post_bulk(api, body)

    assert answer.status_code == 400


def test_a_request_has_ten_thousand_tasks_at_most(api: APIClient) -> None:
    answer = post_bulk(api, [7] * 10_001)

    message = "Invalid value of tasks. Value should be a list of 1 to 10000 tasks"
    assert (answer.status_code, answer.json()) == (400, error(message))


def test_the_body_may_be_larger_than_others(
    api: APIClient, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_BODY_BYTES = 100

    large = post_bulk(api, [ONE_TIME])
    settings.SCHEDULER_MAX_BULK_BYTES = 100
    too_large = post_bulk(api, [ONE_TIME])

    assert (large.status_code, too_large.status_code) == (201, 413)
    assert "larger than 100 bytes" in too_large.json()["error"]["message"]


def test_many_cost_as_many_statements_as_few(
    api: APIClient, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    few = [{**PERIODIC, "name": f"few {n}", "tags": ["t"]} for n in range(2)]
    many = [{**PERIODIC, "name": f"many {n}", "tags": ["t"]} for n in range(1500)]
    post_bulk(api, few)

    with django_assert_max_num_queries(16) as used:
        answer = post_bulk(api, many)

    assert answer.status_code == 201
    assert len(used) <= 16
    assert api.get("/tasks/?limit=1").json()["count"] == 1502
