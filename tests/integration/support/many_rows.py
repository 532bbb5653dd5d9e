"""Very many tasks and runs, stored by a few statements."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone
from psycopg.conninfo import make_conninfo

from tasks_api.models import Task
from tasks_api.services import rollups
from tasks_api.storage.id_statements import ID_FOR
from tests.benchmarks import seed_data

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
URLS = [f"https://host-{number}.example.com/hook" for number in range(50)]
# A twentieth of the runs has failed, for one of a few reasons, and some were missed.
_INSERT_RUNS = """
    WITH task AS (
        SELECT id, tenant_id, row_number() OVER (ORDER BY id) - 1 AS place
        FROM tasks_api_task WHERE tenant_id = %(tenant)s
    ), fire AS (
        SELECT n, n %% (SELECT count(*) FROM task) AS place, %(first)s::timestamptz + n * %(step)s::interval AS moment,
            CASE WHEN n %% 20 = 0 THEN 'failed' WHEN n %% 101 = 0 THEN 'missed'
                ELSE 'succeeded' END AS state
        FROM generate_series(0, %(count)s - 1) n
    )
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        attempt_count, lost_count, exclusive, started_at, finished_at, stage,
        first_started_at, first_duration_ms, first_status_code, first_answer)
    SELECT {id}, task.id, task.tenant_id, moment, state,
        CASE state WHEN 'failed' THEN 'HTTP ' || 500 + n %% 7
            WHEN 'missed' THEN 'No worker was there in time' ELSE '' END,
        1, 0, false, moment, moment + fire.n %% 50 * interval '2 ms', 'over',
        moment, fire.n %% 900, CASE state WHEN 'failed' THEN 500 + n %% 7 ELSE 200 END,
        '{"ok": true}'
    FROM fire JOIN task USING (place)
    ORDER BY moment
    ON CONFLICT DO NOTHING
""".replace("{id}", ID_FOR.format(moment="moment", tenant_id="task.tenant_id"))


def store_copies(
    original: Task,
    count: int,
    *,
    first: datetime | None = None,
    spread: timedelta = DAY,
    columns: Mapping[str, str] | None = None,
) -> None:
    """Store copies of a one-time task, which fire evenly over some time: the coming day."""
    connection.ensure_connection()
    own = connection.connection.info
    seed_data.store_copies(
        make_conninfo(own.dsn, password=own.password),
        str(original.pk),
        count,
        first=first or timezone.now() + HOUR,
        spread=spread,
        urls=URLS,
        columns={"name": "'job ' || task.task_id", **(columns or {})},
    )


def store_runs(tenant_id: int, count: int, *, since: datetime) -> None:
    """Store runs of the tenant's tasks in turn, evenly until now, and close their hours."""
    now = timezone.now()
    values: dict[str, Any] = {
        "tenant": tenant_id,
        "count": count,
        "first": since,
        "step": (now - since) / count,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_RUNS, values)
        cursor.execute("ANALYZE")
    rollups.keep_rollups(now=now, pause=lambda _: None)
