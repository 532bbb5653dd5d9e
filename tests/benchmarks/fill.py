"""Store many tasks at once: copies of one that the API created."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_service.settings")
# So that loading the settings here makes no file; the parts inherit it.
os.environ.setdefault(
    "SECRET_KEY", "only-for-benchmarks-0123456789-0123456789-0123456789"
)

import django

django.setup()

from accounts import encryption
from tasks_api.storage import beat_tables

Cursor = psycopg.Cursor[tuple[Any, ...]]

LATER = datetime(2099, 1, 1, tzinfo=UTC)
TASK = "tasks_api_task"
TAG = "tasks_api_tasktag"
PERIODIC = "django_celery_beat_periodictask"
CLOCKED = "django_celery_beat_clockedschedule"

# The ids are drawn first, so that each table is filled in one statement.
_WANTED = f"""
    CREATE TEMP TABLE wanted ON COMMIT DROP AS
    SELECT uuidv7() AS task_id, (%(urls)s::text[])[n %% %(hosts)s + 1] AS url,
        nextval('{PERIODIC}_id_seq') AS periodic_task_id,
        nextval('{CLOCKED}_id_seq') AS clocked_id,
        %(first)s + n * %(step)s AS moment, own.request
    FROM generate_series(0, %(count)s - 1) n
    LEFT JOIN unnest(%(requests)s::text[]) WITH ORDINALITY AS own(request, place)
        ON own.place = n + 1
"""
_ORIGINAL = f"""
    SELECT task.id, periodic.id, periodic.clocked_id, task.request FROM {TASK} task
    JOIN {PERIODIC} periodic ON periodic.id = task.periodic_task_id WHERE task.id = %s
"""


_TAGGED = f"""
    INSERT INTO {TAG} (owner_id, task_id, tag)
    SELECT original.owner_id, wanted.task_id, tag
    FROM {TASK} original, unnest(original.tags) AS tag, wanted WHERE original.id = %s
"""
_COUNTED = f"""
    INSERT INTO tasks_api_tasktally AS tally (owner_id, surface, part, tasks)
    SELECT owner_id, surface, 0, %(count)s FROM {TASK} WHERE id = %(task)s
    ON CONFLICT (owner_id, surface, part)
        DO UPDATE SET tasks = tally.tasks + excluded.tasks
"""


def one_off(at: datetime, url: str) -> dict[str, object]:
    """A task as the API takes it, of which to make copies."""
    return {
        "task_type": "one_time",
        "run_datetime": at.isoformat(),
        "url": url,
        "post_data": {"hello": "world"},
    }


def repeating(every: timedelta, url: str) -> dict[str, object]:
    return {
        "task_type": "periodic",
        "frequency": every // timedelta(seconds=1),
        "start_datetime": (LATER - timedelta(days=365)).isoformat(),
        "end_datetime": LATER.isoformat(),
        "url": url,
        "post_data": {"hello": "world"},
    }


def copies(
    database: str,
    original: str,
    count: int,
    *,
    first: datetime,
    urls: Sequence[str],
    spread: timedelta = timedelta(),
    differences: Mapping[str, str] | None = None,
) -> None:
    """Store copies of a task that fire from `first` on, evenly over `spread`.

    They may differ in other columns too, by SQL over the row that is wanted, `task`.
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
            task_id, periodic_id, clocked_id, request = _one(
                cursor, _ORIGINAL, original
            )
            cursor.execute(_WANTED, {**values, "requests": _sealed(request, count)})
            _copy(cursor, CLOCKED, clocked_id, {"id": "clocked_id", **_AT_ONCE})
            when = _REPEATING if clocked_id is None else _ONE_OFF
            _copy(cursor, PERIODIC, periodic_id, _PERIODIC | when)
            changes = _TASK | (differences or {})
            _copy(cursor, TASK, task_id, changes, join=beat_tables.JOINS)
            cursor.execute(_TAGGED, [task_id])
            cursor.execute(_COUNTED, {"task": task_id, "count": count})
        for table in (CLOCKED, PERIODIC, TASK, TAG):
            connection.execute(f"VACUUM ANALYZE {table}")
        # Writing it all out would otherwise fall into what is measured.
        connection.execute("CHECKPOINT")


def settle(database: str) -> None:
    """Do at once what PostgreSQL does some time after many rows have come."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _sealed(request: str, count: int) -> list[str]:
    """The same request, its secrets sealed anew for each task: as clients would do."""
    options = json.loads(request) if request else {}
    if not options.get("sealed_values"):
        return []
    values = encryption.decrypt(options["sealed_values"])
    return [
        json.dumps(options | {"sealed_values": encryption.encrypt(values)})
        for _ in range(count)
    ]


# Where copies differ from their original, as SQL over `wanted`, here called `task`.
_AT_ONCE = {"clocked_time": "task.moment"}
_PERIODIC = {
    "id": "task.periodic_task_id",
    "name": "'task ' || task.task_id",
    "args": """'["' || task.task_id || '"]'""",
}
_ONE_OFF = {"clocked_id": "task.clocked_id"}
_REPEATING = {"start_time": "task.moment"}
_TASK = {
    "id": "task.task_id",
    "periodic_task_id": "task.periodic_task_id",
    "url": "task.url",
    "request": "coalesce(task.request, original.request)",
    "next_fire_at": "task.moment",
    **beat_tables.FOLLOWED,
}


def _copy(
    cursor: Cursor,
    table: str,
    original: object,
    changes: Mapping[str, str],
    *,
    join: str = "",
) -> None:
    """One row for each wanted task, with every other column as in the original."""
    cursor.execute(
        "SELECT column_name FROM information_schema.columns "
        "WHERE table_name = %s AND is_generated = 'NEVER'",
        [table],
    )
    columns = [name for (name,) in cursor.fetchall()]
    values = [changes.get(name, f"original.{name}") for name in columns]
    cursor.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} "
        f"FROM {table} original CROSS JOIN wanted task {join} WHERE original.id = %s",
        [original],
    )


def _one(cursor: Cursor, statement: str, *values: object) -> tuple[Any, ...]:
    row = cursor.execute(statement, values).fetchone()
    assert row is not None
    return row
