"""Removing, pausing and resuming, one or many."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from tests.conftest import MakeTask
from tests.integration.support.tasks_surface import (
    error,
)

FORBIDDEN = "Forbidden: Task does not belong to this user"
NO_IDS = "Bad request, No data in ids"


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("delete", "/tasks/id/{id}", "Task has been removed successfully"),
        ("delete", "/tasks/{id}", "Task has been removed successfully"),
        ("post", "/tasks/{id}/pause", "Task paused successfully"),
        ("post", "/tasks/{id}/resume", "Task resumed successfully"),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_change_says_what_it_did(
    api: APIClient,
    make_task: MakeTask,
    method: str,
    path: str,
    slash: str,
    message: str,
) -> None:
    task = make_task()

    answer = getattr(api, method)(path.format(id=task.pk) + slash)

    assert (answer.status_code, answer.json()) == (200, {"message": message})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/tasks/pause", "Tasks have been successfully paused"),
        ("/tasks/resume", "Tasks have been resumed successfully"),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_change_of_many_says_what_it_did(
    api: APIClient, make_task: MakeTask, path: str, slash: str, message: str
) -> None:
    ids = [str(make_task().pk) for _ in range(3)]

    answer = api.post(path + slash, {"ids": ids}, format="json")

    assert (answer.status_code, answer.json()) == (200, {"message": message})


def test_many_are_paused_and_resumed_together(
    api: APIClient, make_task: MakeTask
) -> None:
    ids = [str(make_task().pk) for _ in range(3)]
    before = api.get("/tasks/").json()

    # Twice the same one, written in two ways: duplicates are one.
    body = {"ids": [*ids, ids[0], ids[1].upper()]}
    api.post("/tasks/pause/", body, format="json")
    paused = api.get("/tasks/").json()
    api.post("/tasks/resume/", body, format="json")

    assert [task["next_run_datetime"] for task in paused["tasks"]] == [None] * 3
    assert api.get("/tasks/").json() == before


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_change_that_is_already_made_is_no_error(
    api: APIClient, make_task: MakeTask, verb: str
) -> None:
    path = f"/tasks/{make_task().pk}/{verb}/"
    api.post(path)

    assert api.post(path).status_code == 200


@pytest.mark.parametrize("verb", ["pause", "resume"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": []},
        {"ids": None},
        {"ids": {}},
        {"ids": True},
        {"ids": "0192"},
        {"ids": [1]},
        {"ids": [None]},
        {"ids": ["0192", 7]},
        {"ids": [["0192"]]},
        {"id": ["0192"]},
        [],
        ["0192"],
        "0192",
        7,
        None,
    ],
)
def test_no_ids_are_a_bad_request(api: APIClient, verb: str, body: object) -> None:
    answer = api.post(
        f"/tasks/{verb}/", json.dumps(body), content_type="application/json"
    )

    assert (answer.status_code, answer.json()) == (400, error(NO_IDS))


@pytest.mark.parametrize("verb", ["pause", "resume"])
@pytest.mark.parametrize(
    ("others", "status", "message"),
    [
        (["foreign"], 403, FORBIDDEN),
        (["colleague's"], 403, FORBIDDEN),
        (["unknown"], 404, "Task not found"),
        (["malformed"], 404, "Task not found"),
        (["removed"], 404, "Task not found"),
        # What does not exist wins, wherever it stands.
        (["foreign", "unknown"], 404, "Task not found"),
        (["malformed", "foreign"], 404, "Task not found"),
    ],
)
def test_many_are_changed_or_none(
    api: APIClient,
    make_task: MakeTask,
    colleague: User,
    stranger: User,
    verb: str,
    others: list[str],
    status: int,
    message: str,
) -> None:
    removed = make_task()
    api.delete(f"/tasks/{removed.pk}")
    ids = {
        "foreign": make_task(stranger).pk,
        "colleague's": make_task(colleague).pk,
        "unknown": uuid.uuid4(),
        "malformed": "fasdff12n22m2jnr5n6skf",
        "removed": removed.pk,
    }
    own = [make_task(), make_task()]
    api.post(f"/tasks/{own[1].pk}/pause/")
    before = api.get("/tasks/").json()

    wanted = [own[0].pk, *(ids[other] for other in others), own[1].pk]
    answer = api.post(f"/tasks/{verb}/", {"ids": wanted}, format="json")

    assert (answer.status_code, answer.json()) == (status, error(message))
    assert api.get("/tasks/").json() == before


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_many_cost_as_many_statements_as_few(
    api: APIClient,
    make_task: MakeTask,
    django_assert_max_num_queries: Callable[..., Any],
    verb: str,
) -> None:
    ids = [str(make_task().pk) for _ in range(30)]
    other = {"pause": "resume", "resume": "pause"}[verb]
    api.post(f"/tasks/{other}/", {"ids": ids}, format="json")
    statements = []

    for size in (2, 30):
        with django_assert_max_num_queries(20) as captured:
            api.post(f"/tasks/{verb}/", {"ids": ids[:size]}, format="json")
        statements.append(len(captured))
        api.post(f"/tasks/{other}/", {"ids": ids}, format="json")

    assert statements[0] == statements[1]


def test_thousands_of_ids_are_taken(api: APIClient, make_task: MakeTask) -> None:
    ids = [str(make_task().pk), *(str(uuid.uuid4()) for _ in range(20_000))]

    answer = api.post("/tasks/pause/", {"ids": ids}, format="json")

    assert (answer.status_code, answer.json()) == (404, error("Task not found"))
