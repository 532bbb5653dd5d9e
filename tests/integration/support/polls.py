"""What a poll reads while a long transaction keeps dead rows in place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.services import tasks
from tests.integration.support.stored_tasks import HOUR, TARGET


@contextmanager
def long_transaction() -> Iterator[None]:
    """One that has taken a snapshot, so that nothing that it may see is swept."""
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    with psycopg.connect(**parameters) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM tasks_api_task")
        yield


def count_pages(statement: str, values: Mapping[str, Any]) -> int:
    """The pages that a statement reads."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
        [[found]] = cursor.fetchall()
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def analyze_tables() -> None:
    """Have statements planned for the rows that are there, and not for an empty table."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_api_task, tasks_api_run_live")


def store_past_tasks(owner: User, count: int) -> None:
    past = timezone.now() - HOUR
    spec = TaskSpec(Surface.TASKS, TARGET, Once(past), "{}")
    tasks.create_tasks(owner, [spec] * count, now=past)


def truncate_tables() -> None:
    """Leave no dead rows of other tests, which a poll would read."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE tasks_api_task, tasks_api_run, tasks_api_schedulechange,"
            " django_celery_beat_periodictask, django_celery_beat_periodictasks CASCADE"
        )
