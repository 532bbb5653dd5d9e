"""Rows of the release before get their tenants, while its processes use them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from tests.acceptance.harness import eventually
from tests.integration.support.old_database import OldDatabase, make_database

# Two tenants with a user, a task and a run each, and a user of the staff. Rows that nothing
# here reads are left out, so no foreign key is checked.
STORE_PARENTS = """
    SET session_replication_role = replica;
    INSERT INTO accounts_user (id, tenant_id, username, name, password, first_name,
        last_name, email, role, is_superuser, is_staff, is_active, date_joined)
    SELECT n, CASE WHEN n < 3 THEN 10 + n END, 'user ' || n, '', '', '', '', '', 'member',
        false, false, true, now()
    FROM generate_series(1, 3) n;
    INSERT INTO tasks_api_task (id, tenant_id, owner_id, periodic_task_id, surface, name,
        method, url, queue, body, expected_status, overlap, misfire, retry, cron_seconds,
        cron_years, schedule_text, pause_reason, end_reason, created_at)
    SELECT md5('task ' || n)::uuid, 10 + n, n, n, 'tasks', '', 'POST', '', '', '', '',
        'allow', 'latest', '', '', '', '', '', '', now()
    FROM generate_series(1, 2) n;
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        wake_at, attempt_count, lost_count, exclusive)
    SELECT md5('run ' || n)::uuid, md5('task ' || n)::uuid, 10 + n, now(), 'retrying', '',
        now(), 2, 0, false
    FROM generate_series(1, 2) n;
"""
# Some thousand rows, so that there are several batches; those of the third parent have none.
STORE_CHILDREN = """
    INSERT INTO tasks_api_tasktag (owner_id, task_id, tag)
    SELECT 1 + n % 2, md5('task ' || 1 + n % 2)::uuid, n FROM generate_series(1, 3000) n;
    INSERT INTO tasks_api_tasktally (owner_id, surface, part, tasks)
    SELECT 1 + n % 2, 'tasks', n, 1 FROM generate_series(1, 32) n;
    INSERT INTO tasks_api_schedulechange (task_id, at, what, cron_seconds, cron_years)
    SELECT md5('task ' || 1 + n % 3)::uuid, now(), 'edited', '', ''
    FROM generate_series(1, 3000) n;
    INSERT INTO tasks_api_failingtask (task_id, streak, ended_streak)
    SELECT md5('task ' || n)::uuid, 1, 0 FROM generate_series(1, 3) n;
    INSERT INTO tasks_api_idempotencykey
        (user_id, key, fingerprint, status, headers, body, created_at)
    SELECT 1 + n % 2, n, '', 200, '{}', '', now() FROM generate_series(1, 3000) n;
    INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, error, answer)
    SELECT md5('run ' || 1 + n % 3)::uuid, n, now(), 1, '', ''
    FROM generate_series(1, 4500) n;
    INSERT INTO accounts_token (user_id, name, digest, prefix, scope)
    SELECT 1 + n % 3, '', n, '', 'read' FROM generate_series(1, 3000) n;
    RESET session_replication_role;
"""
# Of each table the parents of its rows, and what identifies those in `STORE_PARENTS`.
CHILDREN = {
    "tasks_api_tasktag": ("owner_id", "accounts_user", 3000),
    "tasks_api_tasktally": ("owner_id", "accounts_user", 32),
    "tasks_api_schedulechange": ("task_id", "tasks_api_task", 2000),
    "tasks_api_failingtask": ("task_id", "tasks_api_task", 2),
    "tasks_api_idempotencykey": ("user_id", "accounts_user", 3000),
    "tasks_api_attempt": ("run_id", "tasks_api_run", 3000),
    "accounts_token": ("user_id", "accounts_user", 3000),
}
COUNT_FILLED = """
    SELECT count(*), count(*) FILTER (WHERE child.tenant_id = parent.tenant_id)
    FROM {table} child LEFT JOIN {parent} parent ON parent.id = child.{column}
"""

HAS_COLUMN = """
    SELECT count(*) FROM pg_attribute
    WHERE attname = 'tenant_id' AND attrelid = 'tasks_api_tasktally'::regclass
"""
COUNT_EMPTY = "SELECT count(*) FROM tasks_api_tasktally WHERE tenant_id IS NULL"


@pytest.fixture
def old_database() -> Iterator[OldDatabase]:
    with make_database("release_before") as url, closing(OldDatabase(url)) as found:
        found.migrate("accounts", "0002")
        found.migrate("tasks_api", "0009")
        found.session.execute(STORE_PARENTS)
        found.session.execute(STORE_CHILDREN)
        yield found


def rows_by_table(database: OldDatabase) -> dict[str, tuple[object, ...]]:
    """The rows of each table, and those of them that have the tenant of their parent."""
    return {
        table: database.read(COUNT_FILLED, table=table, column=column, parent=parent)[0]
        for table, (column, parent, _) in CHILDREN.items()
    }


def test_each_stored_row_gets_the_tenant_of_its_parent_and_nobody_is_waited_for(
    old_database: OldDatabase,
) -> None:
    # The last table that gets the column is in use until the first one has it.
    report = begin(old_database, "LOCK TABLE tasks_api_attempt IN ROW EXCLUSIVE MODE")
    migrating = threading.Thread(target=old_database.migrate)
    migrating.start()
    try:
        eventually(lambda: old_database.read(HAS_COLUMN) == [(1,)])
        worker = begin(
            old_database, "UPDATE tasks_api_tasktally SET tasks = 2 WHERE part = 5"
        )
        report.close()
        eventually(lambda: old_database.read(COUNT_EMPTY) == [(1,)])
        worker.commit()
        worker.close()
    finally:
        report.close()
        migrating.join()

    expected = {table: (size, size) for table, (*_, size) in CHILDREN.items()}
    # Staff have tokens and no tenant.
    expected["accounts_token"] = (3000, 2000)
    assert rows_by_table(old_database) == expected


def begin(database: OldDatabase, statement: str) -> psycopg.Connection:
    """A transaction of its own that has executed a statement."""
    session = psycopg.connect(database.url)
    session.execute(statement.encode())
    return session
