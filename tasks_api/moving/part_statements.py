"""The SQL that reads, counts and stores the parts of a tenant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Self

from tasks_api.domain.ids import id_range

PERIODIC = "django_celery_beat_periodictask"
INTERVAL = "django_celery_beat_intervalschedule"
CRONTAB = "django_celery_beat_crontabschedule"
CLOCKED = "django_celery_beat_clockedschedule"
SOLAR = "django_celery_beat_solarschedule"
BEAT_TABLES = (PERIODIC, INTERVAL, CRONTAB, CLOCKED, SOLAR)
STAGED_SCHEDULES = "moving_schedules"

# The columns of the tables that periodic tasks refer to, by the column that does so. Rows
# of intervals, crontabs and events of the sun are shared, and found by these columns.
_SHARED = {
    "interval_id": (INTERVAL, ("every", "period")),
    "crontab_id": (
        CRONTAB,
        ("minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone"),
    ),
    "solar_id": (SOLAR, ("event", "latitude", "longitude")),
}

# The columns of tables, in the order of their names.
LIST_COLUMNS = """
    SELECT attrelid::regclass::text, quote_ident(attname), format_type(atttypid, atttypmod)
    FROM pg_attribute
    WHERE attrelid = ANY(%s::text[]::regclass[]) AND attnum > 0 AND NOT attisdropped
        AND attgenerated = ''
    ORDER BY 1, 2
"""
LIST_MIGRATIONS = """
    SELECT app || '.' || name FROM django_migrations
    WHERE app IN ('accounts', 'tasks_api') ORDER BY 1
"""

# How many rows a SELECT reads, and a sum of what is in them that does not depend on
# their order.
SUM_UP = """
    SELECT count(*), coalesce(sum(hashtextextended(part::text, 0)::numeric), 0)::text
    FROM ({select}) AS part
"""


# Let all statements of a transaction see what its first one does.
READ_FROM_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

# The runs that were over soon after their fire times. Their rows are never changed.
RUNS_OVER = "tasks_api_run_over"
# How many such runs a tenant has in each hour of fire times, and a sum that shows whether
# they are the same ones.
SUM_UP_HOURS = f"""
    SELECT date_trunc('hour', scheduled_for, 'UTC') AS hour, count(*) AS rows,
        sum(hash_record_extended(ROW(id, state, finished_at), 0)::numeric)::text
    FROM {RUNS_OVER}
    WHERE tenant_id = %(tenant)s AND scheduled_for < %(until)s::timestamptz
        AND id < %(until_id)s::uuid
    GROUP BY 1
"""
DELETE_HOUR = f"""
    DELETE FROM {RUNS_OVER}
    WHERE tenant_id = %(tenant)s AND id >= %(first_id)s::uuid AND id < %(until_id)s::uuid
        AND scheduled_for >= %(hour)s::timestamptz
        AND scheduled_for < %(hour)s::timestamptz + '1 hour'::interval
"""
# Delete what was copied ahead of a tenant that is not there yet.
CLEAR_ATTEMPTS = "DELETE FROM tasks_api_attempt WHERE tenant_id = %(tenant)s"
CLEAR_RUNS = f"""
    DELETE FROM {RUNS_OVER} WHERE id = ANY(ARRAY(
        SELECT id FROM {RUNS_OVER} WHERE tenant_id = %(tenant)s LIMIT {{limit}}))
"""


def are_runs_between(since: datetime | None, until: datetime | None) -> str:
    """The condition of runs by their fire times, for the partitions of these days alone."""
    first_id, until_id = id_range(since, until)
    conditions: list[str] = []
    if since is not None:
        conditions += [f"id >= '{first_id}'", f"scheduled_for >= '{since.isoformat()}'"]
    if until is not None:
        conditions += [f"id < '{until_id}'", f"scheduled_for < '{until.isoformat()}'"]
    return " AND ".join(conditions)


def is_closed_attempt(until: datetime) -> str:
    """The condition of further attempts of the runs that were over soon, before a moment."""
    return f"""
        run_id < '{id_range(None, until)[1]}' AND EXISTS (
            SELECT FROM {RUNS_OVER} run
            WHERE run.id = run_id AND {are_runs_between(None, until)})
    """


def is_plan_of(tenant_id: int) -> str:
    return f"id = (SELECT plan_id FROM accounts_tenant WHERE id = {tenant_id:d})"


def is_of_user_of(tenant_id: int) -> str:
    return f"user_id IN (SELECT id FROM accounts_user WHERE tenant_id = {tenant_id:d})"


def select(values: Iterable[str], table: str, condition: str) -> str:
    return f"SELECT {', '.join(values)} FROM {table} WHERE {condition}"


class BeatColumns(NamedTuple):
    """The columns of periodic tasks and of what they refer to, in one row for each."""

    periodic: Sequence[str]

    @classmethod
    def of(cls, periodic: Sequence[str]) -> Self:
        references = {"id", "clocked_id", *_SHARED}
        return cls([name for name in periodic if name not in references])

    @property
    def names(self) -> list[str]:
        shared = [
            _alias(reference, name)
            for reference, (_, names) in _SHARED.items()
            for name in names
        ]
        return ["task_id", *self.periodic, "clocked_time", *shared]

    def select(self, tenant_id: int) -> str:
        periodic = ", ".join(f"periodic.{name}" for name in self.periodic)
        shared = ", ".join(
            f"{reference}.{name} AS {_alias(reference, name)}"
            for reference, (_, names) in _SHARED.items()
            for name in names
        )
        joins = " ".join(
            f"LEFT JOIN {table} AS {reference} ON {reference}.id = periodic.{reference}"
            for reference, (table, _) in _SHARED.items()
        )
        return f"""
            SELECT task.id AS task_id, {periodic}, clocked.clocked_time, {shared}
            FROM tasks_api_task task
            JOIN {PERIODIC} periodic ON periodic.id = task.periodic_task_id
            LEFT JOIN {CLOCKED} clocked ON clocked.id = periodic.clocked_id {joins}
            WHERE task.tenant_id = {tenant_id:d}
        """

    def stage(self) -> str:
        """Make the table that the rows are copied to; it draws their new ids."""
        return f"""
            CREATE TEMP TABLE {STAGED_SCHEDULES} ON COMMIT DROP AS
                {self.select(0)} WITH NO DATA;
            ALTER TABLE {STAGED_SCHEDULES}
                ADD COLUMN periodic_id bigint DEFAULT nextval('{PERIODIC}_id_seq'),
                ADD COLUMN clocked_id bigint DEFAULT nextval('{CLOCKED}_id_seq');
        """

    def store(self) -> list[str]:
        """Store the copied rows; what other tasks have already is shared with them."""
        return [
            *(_store_shared(reference) for reference in _SHARED),
            f"""
            INSERT INTO {CLOCKED} (id, clocked_time)
            SELECT clocked_id, clocked_time FROM {STAGED_SCHEDULES}
            WHERE clocked_time IS NOT NULL
            """,
            self._store_periodic(),
        ]

    def _store_periodic(self) -> str:
        names = ", ".join(self.periodic)
        values = ", ".join(f"staged.{name}" for name in self.periodic)
        found = ", ".join(f"{reference}.id" for reference in _SHARED)
        joins = " ".join(
            f"LEFT JOIN (SELECT min(id) AS id, {', '.join(shared)} FROM {table}"
            f" GROUP BY {', '.join(shared)}) AS {reference} ON "
            + " AND ".join(
                f"{reference}.{name} = staged.{_alias(reference, name)}"
                for name in shared
            )
            for reference, (table, shared) in _SHARED.items()
        )
        return f"""
            INSERT INTO {PERIODIC} (id, {names}, {", ".join(_SHARED)}, clocked_id)
            SELECT staged.periodic_id, {values}, {found},
                CASE WHEN staged.clocked_time IS NOT NULL THEN staged.clocked_id END
            FROM {STAGED_SCHEDULES} staged {joins}
        """


def _alias(reference: str, name: str) -> str:
    return f"{reference}_{name}"


def _store_shared(reference: str) -> str:
    table, names = _SHARED[reference]
    aliases = [_alias(reference, name) for name in names]
    known = " AND ".join(
        f"known.{name} = staged.{alias}"
        for name, alias in zip(names, aliases, strict=True)
    )
    return f"""
        INSERT INTO {table} ({", ".join(names)})
        SELECT DISTINCT {", ".join(aliases)} FROM {STAGED_SCHEDULES} staged
        WHERE {aliases[0]} IS NOT NULL
            AND NOT EXISTS (SELECT FROM {table} known WHERE {known})
    """


# Make the tables that rows are copied to before they are stored.
STAGE_ROWS = """
    CREATE TEMP TABLE moving_tenant (LIKE accounts_tenant) ON COMMIT DROP;
    CREATE TEMP TABLE moving_plan (LIKE accounts_plan) ON COMMIT DROP;
    CREATE TEMP TABLE moving_task (LIKE tasks_api_task) ON COMMIT DROP;
"""


def store_plan(columns: Sequence[str]) -> str:
    """Store the plan of the tenant, unless the target has one of that name."""
    names = ", ".join(name for name in columns if name != "id")
    return f"""
        INSERT INTO accounts_plan ({names}) SELECT {names} FROM moving_plan
        ON CONFLICT (name) DO NOTHING
    """


def store_tenant(columns: Sequence[str]) -> str:
    names = ", ".join(columns)
    values = ", ".join(
        "(SELECT id FROM accounts_plan WHERE name = (SELECT name FROM moving_plan))"
        if name == "plan_id"
        else name
        for name in columns
    )
    return f"INSERT INTO accounts_tenant ({names}) SELECT {values} FROM moving_tenant"


def store_tasks(columns: Sequence[str]) -> str:
    names = ", ".join(columns)
    values = ", ".join(
        "schedule.periodic_id" if name == "periodic_task_id" else f"task.{name}"
        for name in columns
    )
    return f"""
        INSERT INTO tasks_api_task ({names}) SELECT {values}
        FROM moving_task task JOIN {STAGED_SCHEDULES} schedule ON schedule.task_id = task.id
    """


# The number of the cell that numbers its rows from number << 40 on; see numbering.py.
RANGE_BITS = 40

# The tables with ids from a sequence, and these sequences.
LIST_SEQUENCES = """
    SELECT name, sequence FROM unnest(%s::text[]) AS name
    CROSS JOIN LATERAL (SELECT CASE WHEN EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = name::regclass AND attname = 'id' AND NOT attisdropped)
        THEN pg_get_serial_sequence(name, 'id') END AS sequence) AS found
    WHERE sequence IS NOT NULL
"""
# Let a sequence begin after the rows that arrived, if they were numbered from its range.
ADVANCE = f"""
    SELECT setval('{{sequence}}', arrived.id)
    FROM (SELECT last_value, is_called FROM {{sequence}}) AS sequence, (
        SELECT max(id) AS id FROM {{table}}
        WHERE {{condition}} AND id >> {RANGE_BITS} = (
            SELECT last_value >> {RANGE_BITS} FROM {{sequence}})
    ) AS arrived
    WHERE arrived.id >= sequence.last_value
"""
START_RANGE = """
    SELECT setval('{sequence}', greatest(last_value, %(first)s::bigint)) FROM {sequence}
"""

FIND_TENANT = """
    SELECT id, name, move_id, frozen_at, moves_to FROM accounts_tenant
    WHERE id = %(tenant)s OR name = %(name)s
"""
# Find the fire time of a tenant's oldest run.
OLDEST_RUN = """
    SELECT min(scheduled_for) FROM tasks_api_run WHERE tenant_id = %(tenant)s
"""
