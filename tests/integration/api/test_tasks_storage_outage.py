"""What the tasks surface says when our own storage fails."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any

import pytest
from django.db import connection
from django_celery_beat.models import (
    ClockedSchedule,
    PeriodicTask,
)
from rest_framework.test import APIClient

from tests.integration.support.database_outage import database_outage
from tests.integration.support.tasks_surface import (
    ONE_TIME,
    error,
)

FAILURES = [
    ("GET", "/tasks/", "APIError: Internal Server error while retrieving records"),
    ("POST", "/tasks/", "APIError: Internal Server error occurred!"),
    ("GET", "/tasks/id/{id}", "APIError: Unable to serialize task data"),
    ("GET", "/tasks/{id}", "APIError: Unable to serialize task data"),
    ("DELETE", "/tasks/id/{id}", "APIError: Internal Server error occurred!"),
    ("POST", "/tasks/{id}/pause/", "APIError: Internal Server error occurred!"),
    ("POST", "/tasks/{id}/resume/", "APIError: Internal Server error occurred!"),
    ("POST", "/tasks/pause/", "APIError: Internal Server error occurred!"),
    ("POST", "/tasks/resume/", "APIError: Internal Server error occurred!"),
]


def ask(api: APIClient, method: str, path: str) -> Any:
    task_id = str(uuid.uuid4())
    of_one = {} if "{id}" in path else {"ids": [task_id]}
    body = ONE_TIME if path == "/tasks/" else of_one
    text = json.dumps(body)
    return api.generic(method, path.format(id=task_id), text, "application/json")


def errors_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(("method", "path", "message"), FAILURES)
def test_a_failure_is_answered_in_the_documented_words_and_logged_once(
    api: APIClient,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    message: str,
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tasks_api_task RENAME TO somewhere_else")

    answer = ask(api, method, path)

    assert (answer.status_code, answer.json()) == (500, error(message))
    [record] = errors_in(caplog)
    assert record.exc_info


@pytest.mark.django_db(transaction=True)
def test_a_task_that_cannot_be_stored_leaves_nothing_behind(api: APIClient) -> None:
    before = PeriodicTask.objects.count()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tasks_api_task ADD CONSTRAINT none CHECK (false)")

    answer = ask(api, "POST", "/tasks/")

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE tasks_api_task DROP CONSTRAINT none")
    assert answer.status_code == 500
    assert PeriodicTask.objects.count() == before
    assert not ClockedSchedule.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "path", "message"), FAILURES)
def test_an_outage_is_a_failure_once(
    api: APIClient,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    message: str,
) -> None:
    with database_outage():
        answer = ask(api, method, path)

    assert (answer.status_code, answer.json()) == (500, error(message))
    assert len(errors_in(caplog)) == 1
    assert api.get("/tasks/").status_code == 200
