"""The SQL that lists, makes and drops the partitions of history."""

from __future__ import annotations

from datetime import datetime

from tasks_api.domain.ids import first_id_at

# List the partitions of a table, each with the ids from which and to which it reaches.
LIST_PARTITIONS = r"""
    SELECT child.relname::text AS table_name,
        substring(bounds FROM 'FROM \(''([0-9a-f-]+)''\)')::uuid AS first,
        substring(bounds FROM 'TO \(''([0-9a-f-]+)''\)')::uuid AS until
    FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid,
        pg_get_expr(child.relpartbound, child.oid) AS bounds
    WHERE inhparent = %s::regclass ORDER BY first NULLS FIRST
"""

# Give up soon on a lock that a report holds: statements of workers wait behind us.
LIMIT_LOCK_WAIT = "SET LOCAL lock_timeout = '100ms'"

# Make the partition of a day. It is attached afterwards, because to make it as a
# partition at once would take a lock that no reader of history allows.
_CREATE_DAY = """
    CREATE TABLE {parent}_{day} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    ALTER TABLE {parent} ATTACH PARTITION {parent}_{day}
        FOR VALUES FROM ('{first}') TO ('{until}');
"""
CREATE_DAY_OF_RUNS = _CREATE_DAY.replace(
    "{parent}_{day}", "tasks_api_run_{day}"
).replace("{parent}", "tasks_api_run_over")
# A replica tells attempts apart by run and number.
CREATE_DAY_OF_ATTEMPTS = (
    _CREATE_DAY
    + """
    ALTER TABLE {parent}_{day}
        REPLICA IDENTITY USING INDEX {parent}_{day}_run_id_number_key;
"""
).replace("{parent}", "tasks_api_attempt")


def of_day(statement: str, day: datetime, until: datetime) -> str:
    """Return a statement about the partition of a day."""
    return (
        statement.replace("{day}", f"{day:%Y%m%d}")
        .replace("{first}", str(first_id_at(day)))
        .replace("{until}", str(first_id_at(until)))
    )


def of_table(statement: str, table: str) -> str:
    """Return a statement about a table, whose name PostgreSQL's catalog gave us."""
    return statement.replace("{table}", f'"{table}"')


DROP_TABLE = "DROP TABLE IF EXISTS {table}"

IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM {table})"

# Estimate the rows of a table; count them if it was never analyzed.
COUNT_ROWS = """
    SELECT CASE WHEN reltuples >= 0 THEN reltuples::bigint
        ELSE (SELECT count(*) FROM {table}) END
    FROM pg_class WHERE oid = '{table}'::regclass
"""

# Whether a run of some days is left, live or in history.
HAS_RUNS = """
    SELECT EXISTS (
        SELECT FROM tasks_api_run WHERE id >= %s::uuid AND id < %s::uuid)
"""
