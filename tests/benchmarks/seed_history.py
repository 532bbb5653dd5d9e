"""Stores a day of runs that are over, by the million: in partitions without indexes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg

from tasks_api.storage.id_statements import ID_FOR
from tasks_api.storage.partition_statements import CREATE_DAY_OF_RUNS, of_day

DAY = timedelta(days=1)

# Number the tasks that fire again and again, in any order.
_NUMBER_TASKS = """
    CREATE TEMP TABLE numbered AS
    SELECT task.id, task.tenant_id, row_number() OVER () - 1 AS n
    FROM tasks_api_task task JOIN accounts_tenant tenant ON tenant.id = task.tenant_id
    WHERE tenant.name = %s AND NOT is_one_off;
"""
# A twentieth of the runs has failed. They belong to the tasks in turn.
_FILL = """
    WITH fire AS (
        SELECT n, %(first)s::timestamptz + n * %(step)s::interval AS moment,
            n %% (SELECT count(*) FROM numbered) AS task
        FROM generate_series(%(from)s::bigint, %(until)s::bigint - 1) n
    )
    INSERT INTO {table} (id, task_id, tenant_id, scheduled_for, state, reason,
        attempt_count, lost_count, exclusive, started_at, finished_at, stage,
        first_started_at, first_duration_ms, first_status_code, first_error, first_answer)
    SELECT {id}, task.id, task.tenant_id, fire.moment,
        CASE WHEN fire.n %% 20 = 0 THEN 'failed' ELSE 'succeeded' END,
        CASE WHEN fire.n %% 20 = 0 THEN 'HTTP 503' ELSE '' END, 1, 0, false,
        fire.moment + fire.n %% 50 * interval '1 ms',
        fire.moment + fire.n %% 50 * interval '2 ms', 'over',
        fire.moment + fire.n %% 50 * interval '1 ms', fire.n %% 50,
        CASE WHEN fire.n %% 20 = 0 THEN 503 ELSE 200 END, '', ''
    FROM fire JOIN numbered task ON task.n = fire.task
""".replace("{id}", ID_FOR.format(moment="fire.moment", tenant_id="task.tenant_id"))


def store_runs(
    database: str, tenant: str, count: int, *, first: datetime, until: datetime
) -> None:
    """Store runs of a tenant's recurring tasks, evenly from one moment to another.

    The days' partitions must hold no runs yet.
    """
    step = (until - first) / count
    with psycopg.connect(database, autocommit=True) as connection:
        # No checks of foreign keys, and no waiting for the disk.
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET work_mem = '256MB'")
        connection.execute("SET maintenance_work_mem = '512MB'")
        connection.execute(_NUMBER_TASKS, [tenant])
        connection.execute("ANALYZE numbered")
        for day in _days(first, until):
            begin, end = max(day, first), min(day + DAY, until)
            values = {
                "first": first,
                "step": step,
                "from": math.ceil((begin - first) / step),
                "until": math.ceil((end - first) / step),
            }
            _store_day(connection, day, values)


def _days(first: datetime, until: datetime) -> Iterator[datetime]:
    day = first.replace(hour=0, minute=0, second=0, microsecond=0)
    while day < until:
        yield day
        day += DAY


def _store_day(
    connection: psycopg.Connection[tuple[object, ...]],
    day: datetime,
    values: dict[str, object],
) -> None:
    """Fill the table of a day before it is a partition: that is when it gets its indexes."""
    create, attach = of_day(CREATE_DAY_OF_RUNS, day, day + DAY).split(";")[:2]
    table = f"tasks_api_run_{day:%Y%m%d}"
    # Housekeeping has made it ahead of its time.
    connection.execute(f"DROP TABLE IF EXISTS {table}")
    connection.execute(create)
    connection.execute(_FILL.replace("{table}", table), values)
    connection.execute(attach)
