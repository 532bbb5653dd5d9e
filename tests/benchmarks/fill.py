"""Store many tasks at once, as creating them one by one would leave them."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import psycopg

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_service.settings")
# So that loading the settings here makes no file; the parts inherit it.
os.environ.setdefault(
    "SECRET_KEY", "only-for-benchmarks-0123456789-0123456789-0123456789"
)

import django

django.setup()

from tasks_api import periodic

_OWNER = "SELECT id, tenant_id FROM accounts_user WHERE tenant_id IS NOT NULL LIMIT 1"
_SCHEDULE = """
    INSERT INTO django_celery_beat_periodictask (name, task, args, kwargs, headers,
        description, enabled, one_off, total_run_count, date_changed, start_time,
        clocked_id, interval_id)
    SELECT 'task ' || gen_random_uuid(), 'tasks_api.tasks.fire', '[]', '{}', '{}', '',
        true, %(one_off)s, 0, now(), first, clocked_id, interval_id FROM wanted
    RETURNING id, clocked_id, start_time
"""
_TASK = """
    INSERT INTO tasks_api_task (id, tenant_id, owner_id, periodic_task_id, surface,
        method, url, body, next_fire_at, planned_from, created_at, overlap, misfire,
        name, queue, expected_status, retry, cron_seconds, cron_years, schedule_text,
        pause_reason, end_reason)
    SELECT uuidv7(), owner.tenant_id, owner.id, schedule.id, 'tasks', 'POST',
        %(url)s, '{"hello": "world"}', coalesce(schedule.start_time, %(at)s), '', now(),
        'allow', 'latest', '', '', '', '', '', '', '', '', ''
    FROM schedule, owner
"""


def one_offs(database: str, count: int, *, at: datetime, url: str) -> None:
    """Tasks that are all due at the same moment."""
    _store(
        database,
        f"""
        WITH owner AS ({_OWNER}), clocked AS (
            INSERT INTO django_celery_beat_clockedschedule (clocked_time)
            SELECT %(at)s FROM generate_series(1, %(count)s) RETURNING id
        ), wanted AS (
            SELECT NULL::timestamptz AS first, id AS clocked_id, NULL::int AS interval_id
            FROM clocked
        ), schedule AS ({_SCHEDULE}) {_TASK}
        """,
        {"at": at, "count": count, "url": url, "one_off": True},
    )


def repeating(
    database: str, count: int, *, every: timedelta, first: datetime, url: str
) -> None:
    """Tasks that fire one after the other, evenly spread over `every`."""
    _store(
        database,
        f"""
        WITH owner AS ({_OWNER}), interval AS (
            INSERT INTO django_celery_beat_intervalschedule (every, period)
            VALUES (%(every)s, 'seconds') RETURNING id
        ), wanted AS (
            SELECT %(at)s + n * make_interval(secs => %(every)s::float / %(count)s)
                AS first, NULL::int AS clocked_id, interval.id AS interval_id
            FROM interval, generate_series(0, %(count)s - 1) n
        ), schedule AS ({_SCHEDULE}) {_TASK}
        """,
        {
            "at": first,
            "count": count,
            "url": url,
            "one_off": False,
            "every": every // timedelta(seconds=1),
        },
    )


def _store(database: str, statement: str, values: dict[str, object]) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement, values)
        connection.execute(
            f"UPDATE tasks_api_task task SET planned_from = {periodic.PLAN} "
            f"FROM {_joined()} AND task.planned_from = ''"
        )
        connection.execute("VACUUM ANALYZE")
        # Writing it all out would otherwise fall into what is measured.
        connection.execute("CHECKPOINT")


def _joined() -> str:
    """The schedule's tables as an UPDATE joins them."""
    rest = periodic.JOINS.strip().removeprefix("JOIN ")
    table, _, rest = rest.partition(" ON ")
    condition, _, joins = rest.partition("\n")
    return f"{table} {joins} WHERE {condition}"
