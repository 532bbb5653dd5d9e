"""What one task is, for its page: its request without secrets, and how its runs went."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from accounts import url_credentials
from accounts.models import User
from scheduler_service.db.statements import fetch_all, with_limit
from tasks_api.domain.exceptions import TaskNotFound
from tasks_api.domain.request_options import (
    JSON_TYPE,
    METHODS_WITHOUT_BODY,
    parse_options,
)
from tasks_api.domain.specs import RequestOptions, Surface
from tasks_api.models import Task
from tasks_api.services.run_statements import MEASURE_RUNS

# The newest runs from which the latency is computed.
MEASURED_RUNS = 200


class TaskRequest(NamedTuple):
    """The request that a task sends; the values of its headers are not told."""

    method: str
    # Empty if the target is the tenant's callback URL or a queue.
    url: str
    queue: str
    header_names: tuple[str, ...]
    # Empty without a body.
    content_type: str
    body: str
    timeout_seconds: int | None
    # Seconds that long work may take.
    deadline: int | None


class Latency(NamedTuple):
    """How late the requests of recent runs began, and how long their answers took."""

    runs: int
    late_p50: timedelta | None
    late_p99: timedelta | None
    answer_p50: timedelta | None
    answer_p99: timedelta | None


def find_task(user: User, task_id: UUID) -> Task:
    """Return a task that the user reaches, living or ended, with schedule and owner."""
    own = Task.objects.visible_to(user).exclude(surface=Surface.NOTICES)
    rows = own.with_schedule().select_related("owner")
    task = rows.filter(pk=task_id).first()
    if task is None:
        raise TaskNotFound("Task not found")
    return task


def read_request(task: Task) -> TaskRequest:
    options = parse_options(task.request) if task.request else RequestOptions()
    body = "" if task.method in METHODS_WITHOUT_BODY else task.body
    return TaskRequest(
        task.method,
        url_credentials.mask(task.url),
        task.queue,
        options.header_names,
        (options.content_type or JSON_TYPE) if body else "",
        body,
        options.timeout_seconds,
        options.deadline,
    )


def measure_latency(task: Task) -> Latency:
    """Measure the newest runs of a task that were sent."""
    values = {"task": task.pk, "tenant": task.tenant_id}
    with connection.cursor() as cursor:
        cursor.execute(with_limit(MEASURE_RUNS, MEASURED_RUNS), values)
        [found] = fetch_all(cursor, Latency)
    return found
