"""What the tasks surface does not find, does not allow, or does not understand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.utils import timezone
from django_celery_beat.models import (
    PeriodicTask,
)
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from tasks_api.models import Task
from tasks_api.services import admin_edits
from tasks_api.storage import task_counts
from tests.conftest import MakeTask
from tests.integration.support.tasks_surface import (
    error,
)

FORBIDDEN = "Forbidden: Task does not belong to this user"
NOT_ALLOWED = "Given HTTP method is not allowed on this endpoint"
UNSEEN = "APIError: task does not exist with given id"


ODD_IDS = [
    "5das76nbv950nghg8j8-33ddd3kfdw2",
    "00000000-0000-0000-0000-000000000000",
    "1",
    "-1",
    "null",
    "%00",
    "%0A",
    "%F0%9F%98%80",
    # Not UTF-8.
    "%FF",
    "' OR 1=1 --",
    "x" * 5000,
    "0" * 32,
]


@pytest.mark.parametrize("task_id", ODD_IDS, ids=lambda task_id: task_id[:36])
@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("get", "/tasks/id/{id}", UNSEEN),
        ("get", "/tasks/{id}/", UNSEEN),
        ("delete", "/tasks/id/{id}/", "Task not found"),
        ("delete", "/tasks/{id}", "Task not found"),
        ("post", "/tasks/{id}/pause/", "Task not found"),
        ("post", "/tasks/{id}/resume/", "Task not found"),
    ],
)
def test_an_unknown_id_is_not_found(
    api: APIClient, task_id: str, method: str, path: str, message: str
) -> None:
    answer = getattr(api, method)(path.format(id=task_id))

    assert (answer.status_code, answer.json()) == (404, error(message))


def remove_task(api: APIClient, task: Task) -> None:
    api.delete(f"/tasks/{task.pk}")


def expire_task(api: APIClient, task: Task) -> None:
    second_ago = timezone.now() - timedelta(seconds=1)
    PeriodicTask.objects.filter(http_task=task).update(expires=second_ago)
    # As a beat does when the admin edited a schedule.
    admin_edits.sync_admin_edits([task.pk])


def pause_and_expire(api: APIClient, task: Task) -> None:
    api.post(f"/tasks/{task.pk}/pause/")
    expire_task(api, task)


def finish_task(api: APIClient, task: Task) -> None:
    task_counts.end_expired_tasks([task.pk], now=timezone.now())


@pytest.mark.parametrize(
    "end", [remove_task, expire_task, pause_and_expire, finish_task]
)
@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("get", "/tasks/id/{id}", UNSEEN),
        ("delete", "/tasks/id/{id}", "Task not found"),
        ("post", "/tasks/{id}/pause/", "Task not found"),
        ("post", "/tasks/{id}/resume/", "Task not found"),
    ],
)
def test_a_task_that_has_ended_is_gone(
    api: APIClient,
    make_task: MakeTask,
    end: Callable[[APIClient, Task], None],
    method: str,
    path: str,
    message: str,
) -> None:
    task = make_task()
    end(api, task)

    answer = getattr(api, method)(path.format(id=task.pk))

    assert (answer.status_code, answer.json()) == (404, error(message))
    assert api.get("/tasks/").json() == {"count": 0, "tasks": []}


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        # Whose it is stays unsaid when it is asked for.
        ("get", "/tasks/id/{id}", 404, UNSEEN),
        ("get", "/tasks/{id}", 404, UNSEEN),
        ("delete", "/tasks/id/{id}", 403, FORBIDDEN),
        ("delete", "/tasks/{id}", 403, FORBIDDEN),
        ("post", "/tasks/{id}/pause/", 403, FORBIDDEN),
        ("post", "/tasks/{id}/resume/", 403, FORBIDDEN),
    ],
)
@pytest.mark.parametrize("whose", ["colleague", "stranger"])
def test_a_task_of_another_user_is_out_of_reach(
    api: APIClient,
    make_task: MakeTask,
    request: pytest.FixtureRequest,
    whose: str,
    method: str,
    path: str,
    status: int,
    message: str,
) -> None:
    task = make_task(request.getfixturevalue(whose))

    answer = getattr(api, method)(path.format(id=task.pk))

    assert (answer.status_code, answer.json()) == (status, error(message))


ENDPOINTS = [
    ("GET", "/tasks/"),
    ("POST", "/tasks/"),
    ("GET", "/tasks/id/1"),
    ("DELETE", "/tasks/id/1"),
    ("GET", "/tasks/1"),
    ("DELETE", "/tasks/1"),
    ("POST", "/tasks/1/pause/"),
    ("POST", "/tasks/1/resume/"),
    ("POST", "/tasks/pause/"),
    ("POST", "/tasks/resume/"),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer sch_wrong", "Basic !!", "Token x", "Bearer \udcff"]
)
@pytest.mark.django_db
def test_nobody_comes_in_without_a_token(
    method: str, path: str, slash: str, header: str
) -> None:
    api = APIClient()
    if header:
        api.credentials(HTTP_AUTHORIZATION=header)

    # Not even a body that is no JSON is looked at.
    answer = api.generic(method, path.rstrip("/") + slash, "{")

    is_create = (method, path) == ("POST", "/tasks/")
    message = "User Not authorized" if is_create else "User not authorized"
    assert (answer.status_code, answer.json()) == (401, error(message))
    assert answer["WWW-Authenticate"] == "Bearer"


def test_a_token_in_the_query_opens_nothing(user: User, api: APIClient) -> None:
    token = accounts.issue_token(user)

    answer = APIClient().get("/tasks/", {"token": token, "access_token": token})

    assert answer.status_code == 401


ALLOWED = {
    "/tasks": "GET, POST, HEAD, OPTIONS",
    "/tasks/id/1": "GET, PATCH, DELETE, HEAD, OPTIONS",
    "/tasks/1": "GET, PATCH, DELETE, HEAD, OPTIONS",
    "/tasks/by-name/a": "GET, PUT, DELETE, HEAD, OPTIONS",
    "/tasks/1/pause": "POST, OPTIONS",
    "/tasks/1/resume": "POST, OPTIONS",
    "/tasks/1/run": "POST, OPTIONS",
    # These are no ids.
    "/tasks/pause": "POST, OPTIONS",
    "/tasks/resume": "POST, OPTIONS",
    "/tasks/bulk": "POST, OPTIONS",
}
REFUSED = [
    (method, path)
    for path, allowed in ALLOWED.items()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW")
    if method not in allowed
]


@pytest.mark.parametrize(("method", "path"), REFUSED)
@pytest.mark.parametrize("slash", ["", "/"])
def test_any_other_method_is_refused(
    api: APIClient, method: str, path: str, slash: str
) -> None:
    answer = api.generic(method, path + slash)

    assert (answer.status_code, answer.json()) == (405, error(NOT_ALLOWED))
    assert sorted(answer["Allow"].split(", ")) == sorted(ALLOWED[path].split(", "))


@pytest.mark.parametrize("path", sorted({path for _, path in ENDPOINTS} | {"/nope"}))
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_are_answered(api: APIClient, path: str, method: str) -> None:
    known, unknown = api.generic(method, path), APIClient().generic(method, path)

    assert known.status_code in {200, 404, 405}
    assert unknown.status_code in {401, 404}


@pytest.mark.parametrize(
    "path",
    ["/nope", "/tasks//", "/tasks/1/stop/", "/tasks/id/1/pause/x", "/Tasks/", "/tasks/%0A/", "/tasks%0A", "/tasks/id/1%2F2/"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_not_found(api: APIClient, path: str, method: str) -> None:
    answer = api.generic(method, path)

    assert answer.status_code in {404, 405}
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml", "*/*;q=0", "", "\x7f"]
)
def test_every_request_gets_json(api: APIClient, accept: str) -> None:
    answer = api.get("/tasks/", HTTP_ACCEPT=accept)

    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"


def test_a_host_that_is_not_ours_is_refused(
    api: APIClient, settings: LazySettings
) -> None:
    settings.ALLOWED_HOSTS = ["scheduler.example"]

    answer = api.get("/tasks/", HTTP_HOST="evil.example")

    assert (answer.status_code, answer.json()) == (400, error("Bad request"))


def test_a_query_of_a_thousand_parameters_is_refused(api: APIClient) -> None:
    answer = api.get(f"/tasks/?{'x=1&' * 1001}")

    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
