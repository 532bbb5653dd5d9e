"""Stores many tasks at once, as copies of one that the API created."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

import tests.benchmarks.django_setup  # noqa: F401 (the imports below need it)
from accounts import encryption
from tasks_api.storage import schedule_statements

Cursor = psycopg.Cursor[tuple[Any, ...]]

FAR_FUTURE = datetime(2099, 1, 1, tzinfo=UTC)
TASK = "tasks_api_task"
TAG = "tasks_api_tasktag"
PERIODIC = "django_celery_beat_periodictask"
CLOCKED = "django_celery_beat_clockedschedule"

_FIND_ORIGINAL = """
    SELECT task.id, periodic.id, periodic.clocked_id, task.request
    FROM tasks_api_task task JOIN django_celery_beat_periodictask periodic
        ON periodic.id = task.periodic_task_id
    WHERE task.id = %s
"""
# The ids are drawn first, so that each table is filled in one statement.
_DRAW_COPIES = """
    CREATE TEMP TABLE copies ON COMMIT DROP AS
    SELECT uuidv7() AS task_id, (%(urls)s::text[])[n %% %(hosts)s + 1] AS url,
        nextval('django_celery_beat_periodictask_id_seq') AS periodic_task_id,
        nextval('django_celery_beat_clockedschedule_id_seq') AS clocked_id,
        %(first)s + n * %(step)s AS moment, own.request
    FROM generate_series(0, %(count)s - 1) n
    LEFT JOIN unnest(%(requests)s::text[]) WITH ORDINALITY AS own(request, place)
        ON own.place = n + 1
"""
_COLUMNS_OF = """
    SELECT column_name FROM information_schema.columns
    WHERE table_name = %s AND is_generated = 'NEVER'
"""
_COPY_ROWS = """
    INSERT INTO {table} ({columns}) SELECT {values}
    FROM {table} original CROSS JOIN copies task {join} WHERE original.id = %s
"""
_COPY_TAGS = """
    INSERT INTO tasks_api_tasktag (tenant_id, owner_id, task_id, tag)
    SELECT original.tenant_id, original.owner_id, copies.task_id, tag
    FROM tasks_api_task original, unnest(original.tags) AS tag, copies
    WHERE original.id = %s
"""
_COUNT_COPIES = """
    INSERT INTO tasks_api_tasktally AS tally (tenant_id, owner_id, surface, part, tasks)
    SELECT tenant_id, owner_id, surface, 0, %(count)s FROM tasks_api_task WHERE id = %(task)s
    ON CONFLICT (owner_id, surface, part)
        DO UPDATE SET tasks = tally.tasks + excluded.tasks
"""

# The columns in which copies differ from their original, as SQL over `copies`, here
# called `task`.
_CLOCKED_COLUMNS = {"id": "task.clocked_id", "clocked_time": "task.moment"}
_PERIODIC_COLUMNS = {
    "id": "task.periodic_task_id",
    "name": "'task ' || task.task_id",
    "args": """'["' || task.task_id || '"]'""",
}
_ONE_OFF_COLUMNS = {"clocked_id": "task.clocked_id"}
_RECURRING_COLUMNS = {"start_time": "task.moment"}
_TASK_COLUMNS = {
    "id": "task.task_id",
    "periodic_task_id": "task.periodic_task_id",
    "url": "task.url",
    "request": "coalesce(task.request, original.request)",
    "next_fire_at": "task.moment",
    **schedule_statements.COPIED_COLUMNS,
}


def one_time_task(at: datetime, url: str) -> dict[str, object]:
    """The body of a task as the API takes it."""
    return {
        "task_type": "one_time",
        "run_datetime": at.isoformat(),
        "url": url,
        "post_data": {"hello": "world"},
    }


def periodic_task(every: timedelta, url: str) -> dict[str, object]:
    return {
        "task_type": "periodic",
        "frequency": every // timedelta(seconds=1),
        "start_datetime": (FAR_FUTURE - timedelta(days=365)).isoformat(),
        "end_datetime": FAR_FUTURE.isoformat(),
        "url": url,
        "post_data": {"hello": "world"},
    }


def cron_task(cron: str, url: str) -> dict[str, object]:
    return {
        "task_type": "periodic",
        "cron": cron,
        "url": url,
        "post_data": {"hello": "world"},
    }


def store_copies(
    database: str,
    original: str,
    count: int,
    *,
    first: datetime,
    urls: Sequence[str],
    spread: timedelta = timedelta(),
    columns: Mapping[str, str] | None = None,
) -> None:
    """Store copies of a task that fire from `first` on, evenly over `spread`.

    They may differ from it in other columns too: SQL over the copy, which is `task`.
    """
    values = {
        "first": first,
        "step": spread / count,
        "count": count,
        "urls": list(urls),
        "hosts": len(urls),
    }
    with psycopg.connect(database, autocommit=True) as connection:
        # No checks of foreign keys, which take as long as everything else.
        connection.execute("SET session_replication_role = replica")
        with connection.transaction(), connection.cursor() as cursor:
            _store(cursor, original, count, values, columns or {})
        for table in (CLOCKED, PERIODIC, TASK, TAG):
            vacuum = sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table))
            connection.execute(vacuum)
        # Otherwise it would be written out while something is measured.
        connection.execute("CHECKPOINT")


def _store(
    cursor: Cursor,
    original: str,
    count: int,
    values: Mapping[str, object],
    columns: Mapping[str, str],
) -> None:
    found = cursor.execute(_FIND_ORIGINAL, [original]).fetchone()
    assert found is not None
    task_id, periodic_id, clocked_id, request = found
    requests = _seal_again(request, count)
    cursor.execute(_DRAW_COPIES, {**values, "requests": requests})
    _copy_rows(cursor, CLOCKED, clocked_id, _CLOCKED_COLUMNS)
    schedule = _RECURRING_COLUMNS if clocked_id is None else _ONE_OFF_COLUMNS
    _copy_rows(cursor, PERIODIC, periodic_id, _PERIODIC_COLUMNS | schedule)
    changes = {**_TASK_COLUMNS, **columns}
    _copy_rows(cursor, TASK, task_id, changes, join=schedule_statements.JOINS)
    cursor.execute(_COPY_TAGS, [task_id])
    cursor.execute(_COUNT_COPIES, {"task": task_id, "count": count})


def vacuum_and_checkpoint(database: str) -> None:
    """Do at once what PostgreSQL does some time after many rows were stored."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _seal_again(request: str, count: int) -> list[str]:
    """The same request for each copy, with its secrets sealed anew, as clients do."""
    options = json.loads(request) if request else {}
    if not options.get("sealed_values"):
        return []
    values = encryption.decrypt(options["sealed_values"])
    return [
        json.dumps(options | {"sealed_values": encryption.encrypt(values)})
        for _ in range(count)
    ]


def _copy_rows(
    cursor: Cursor,
    table: str,
    original: object,
    changes: Mapping[str, str],
    *,
    join: str = "",
) -> None:
    """Insert a row for each copy, with every other column as in the original."""
    columns = [name for (name,) in cursor.execute(_COLUMNS_OF, [table]).fetchall()]
    values = (changes.get(name, f"original.{name}") for name in columns)
    statement = _COPY_ROWS.format(
        table=table, columns=", ".join(columns), values=", ".join(values), join=join
    )
    cursor.execute(statement, [original])
