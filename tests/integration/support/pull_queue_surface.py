"""Calls of the pull queue surface, and what they are answered."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework.test import APIClient

from tasks_api.models import Message

JSON = "application/json"


JOB: dict[str, Any] = {"id": "1", "queue": "my-queue", "timeout": 30}


NAMED = "queue=my-queue&job_id=1"


# Every endpoint with a token, and what it answers once a job is in flight.
ENDPOINTS: list[tuple[str, str, object, int]] = [
    ("POST", "/enqueue", {**JOB, "id": "2"}, 202),
    ("POST", "/enqueue/batch", [{**JOB, "id": "2"}], 202),
    ("GET", "/next?queue=my-queue", None, 204),
    ("PATCH", f"/heartbeat?{NAMED}", None, 202),
    ("POST", "/reschedule", JOB, 202),
    ("DELETE", f"/complete?{NAMED}", None, 200),
]


def send_call(api: APIClient, method: str, path: str, body: object = None) -> Any:
    text = "" if body is None else json.dumps(body)
    return api.generic(method, path, text, content_type=JSON)


def enqueue_job(api: APIClient, **changes: Any) -> Any:
    return send_call(api, "POST", "/enqueue", {**JOB, **changes})


def fetch_jobs(api: APIClient, count: int = 1, queue: str = "my-queue") -> Any:
    query: dict[str, str | int] = {"queue": queue, "num_jobs": count}
    answer = api.get("/next", query)
    return answer.json() if answer.status_code == 200 else []


def put_in_flight(api: APIClient, **changes: Any) -> None:
    assert enqueue_job(api, **changes).status_code == 202
    assert len(fetch_jobs(api)) == 1


def expire_leases() -> None:
    # Long ago, because a test's transaction has the database's clock stand still.
    past = timezone.now() - timedelta(hours=1)
    Message.objects.filter(leased_until__isnull=False).update(leased_until=past)


def assert_refused(answer: Any, status: int, sentence: str) -> None:
    assert (answer.status_code, answer.content.decode()) == (status, sentence)
    assert answer["Content-Type"] == "text/plain; charset=utf-8"


TOO_LONG = "x" * 256


NAME_RULE = "Value should be a string of 1 to 255 characters"
