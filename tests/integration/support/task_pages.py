"""What the tests of the pages of tasks ask a browser for."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks_api.models import Task

TASKS = "/app/tasks/"
HTMX = {"HX-Request": "true"}


def text_of(browser: Client, path: str = TASKS, **options: Any) -> str:
    answer = browser.get(path, **options)
    assert answer.status_code == 200
    return answer.content.decode()


def statements(browser: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as found:
        page = browser.get(path)
    assert page.status_code == 200
    assert len(page.content) < 300 * 1024
    # The clock is read at most once a second, by a prepared statement without a text.
    texts = [query["sql"] for query in found]
    return sum(text is not None and "clock_timestamp" not in text for text in texts)


def change(browser: Client, action: str, *tasks: Task, **more: str) -> str:
    values = {"task": [str(task.pk) for task in tasks], **more}
    answer = browser.post(f"{TASKS}{action}/?q=x", values, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()
