"""Each row that belongs to a task, a run or a user has the tenant in a column of its own.

The column is added in a moment and filled in batches, while the release before goes on. A
trigger fills it in rows that the release before writes.
"""

from __future__ import annotations

import time
from typing import NamedTuple
from uuid import UUID

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import CursorWrapper
from django.db.migrations.state import StateApps

# Where the release before inserts a task and its tags, the statement sees no task yet; so
# the tenant of a tag is that of its owner. STABLE shows a run as it was before the
# statement that moves it into history. A row whose parent is deleted belongs to nobody.
CREATE_FILL_TENANT = """
    CREATE OR REPLACE FUNCTION tasks_api_fill_tenant() RETURNS trigger
    LANGUAGE plpgsql STABLE AS $$
    BEGIN
        IF TG_ARGV[0] = 'task' THEN
            SELECT tenant_id INTO NEW.tenant_id FROM tasks_api_task
            WHERE id = NEW.task_id;
        ELSIF TG_ARGV[0] = 'run' THEN
            SELECT tenant_id INTO NEW.tenant_id FROM tasks_api_run
            WHERE id = NEW.run_id;
        ELSIF TG_ARGV[0] = 'owner' THEN
            SELECT tenant_id INTO NEW.tenant_id FROM accounts_user
            WHERE id = NEW.owner_id;
        ELSE
            SELECT tenant_id INTO NEW.tenant_id FROM accounts_user
            WHERE id = NEW.user_id;
        END IF;
        IF NEW.tenant_id IS NULL THEN
            RETURN NULL;
        END IF;
        RETURN NEW;
    END $$
"""
# The constraint holds for new rows at once, and for all others when it is validated. It
# spares the next release a look at each row for NOT NULL. A step that is done is skipped
# when `migrate` tries again.
ADD_COLUMN = """
    SET LOCAL lock_timeout = '2s';
    DO $$ BEGIN
        IF NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = '{table}'::regclass AND attname = 'tenant_id'
        ) THEN
            ALTER TABLE {table} ADD COLUMN tenant_id bigint;
            ALTER TABLE {table} ADD CONSTRAINT {table}_has_tenant
                CHECK (tenant_id IS NOT NULL) NOT VALID;
            CREATE TRIGGER fill_tenant BEFORE INSERT OR UPDATE ON {table}
                FOR EACH ROW WHEN (NEW.tenant_id IS NULL)
                EXECUTE FUNCTION tasks_api_fill_tenant('{parent}');
        END IF;
    END $$;
"""
# Rows that another process has locked come with the next pass, so this waits for nobody. Rows
# without a parent are deleted.
FILL_BATCH = """
    WITH batch AS MATERIALIZED (
        SELECT {keys}, (
            SELECT tenant_id FROM {parent_table} parent WHERE parent.id = child.{parent}_id
        ) AS found_id
        FROM {table} child
        WHERE child.tenant_id IS NULL AND ({keys}) > ({after})
        ORDER BY {keys} LIMIT 1000 FOR UPDATE OF child SKIP LOCKED
    ), filled AS (
        UPDATE {table} child SET tenant_id = batch.found_id FROM batch
        WHERE batch.found_id IS NOT NULL AND {is_same}
    ), gone AS (
        DELETE FROM {table} child USING batch
        WHERE batch.found_id IS NULL AND {is_same}
    )
    SELECT {keys} FROM batch ORDER BY {keys_down} LIMIT 1
"""
IS_LEFT = "SELECT EXISTS (SELECT FROM {table} WHERE tenant_id IS NULL)"
VALIDATE = "ALTER TABLE {table} VALIDATE CONSTRAINT {table}_has_tenant"
# The rest after each batch as a share of the time that it took. Meanwhile workers have the
# database to themselves.
REST_RATIO = 1.0
# Seconds until the next look at rows that were locked.
PASS_INTERVAL = 0.2
PARENT_TABLES = {
    "task": "tasks_api_task",
    "run": "tasks_api_run",
    "owner": "accounts_user",
    "user": "accounts_user",
}


class Child(NamedTuple):
    """A table, what its rows belong to, and its key with a value before all others."""

    table: str
    parent: str
    key: dict[str, object]

    def compose(self, statement: str) -> str:
        parts = {
            "table": self.table,
            "parent": self.parent,
            "parent_table": PARENT_TABLES[self.parent],
            "keys": ", ".join(self.key),
            "keys_down": ", ".join(f"{column} DESC" for column in self.key),
            "after": ", ".join("%s" for _ in self.key),
            "is_same": " AND ".join(
                f"child.{name} = batch.{name}" for name in self.key
            ),
        }
        for name, part in parts.items():
            statement = statement.replace(f"{{{name}}}", part)
        return statement


CHILDREN = (
    Child("tasks_api_tasktally", "owner", {"id": 0}),
    Child("tasks_api_tasktag", "owner", {"id": 0}),
    Child("tasks_api_schedulechange", "task", {"id": 0}),
    Child("tasks_api_failingtask", "task", {"task_id": UUID(int=0)}),
    Child("tasks_api_idempotencykey", "user", {"id": 0}),
    Child("tasks_api_attempt", "run", {"run_id": UUID(int=0), "number": 0}),
)


def fill_tenants(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    with editor.connection.cursor() as cursor:
        for child in CHILDREN:
            while _is_left(cursor, child):
                _fill_pass(cursor, child)
                time.sleep(PASS_INTERVAL)


def _is_left(cursor: CursorWrapper, child: Child) -> bool:
    cursor.execute(child.compose(IS_LEFT))
    [is_left] = cursor.fetchone()
    return bool(is_left)


def _fill_pass(cursor: CursorWrapper, child: Child) -> None:
    statement = child.compose(FILL_BATCH)
    last: tuple[object, ...] | None = tuple(child.key.values())
    while last is not None:
        began = time.monotonic()
        cursor.execute(statement, last)
        last = cursor.fetchone()
        time.sleep((time.monotonic() - began) * REST_RATIO)


class RunTransaction(migrations.RunSQL):
    """SQL in a transaction of its own, which is not undone and may be run again."""

    atomic = True


def run(statement: str) -> RunTransaction:
    return RunTransaction(statement, migrations.RunSQL.noop)


def add_tenant(model: str) -> migrations.AddField:
    return migrations.AddField(
        model,
        "tenant",
        models.ForeignKey(
            db_constraint=False,
            db_index=False,
            editable=False,
            on_delete=django.db.models.deletion.DO_NOTHING,
            related_name="+",
            to="accounts.tenant",
        ),
    )


class Migration(migrations.Migration):
    # One table is locked at a time, and each batch is a transaction.
    atomic = False

    dependencies = [
        ("accounts", "0001_initial"),
        ("tasks_api", "0009_rollup_indexes"),
    ]

    operations = [
        run(CREATE_FILL_TENANT),
        *(run(child.compose(ADD_COLUMN)) for child in CHILDREN),
        migrations.RunPython(fill_tenants, migrations.RunPython.noop),
        *(run(child.compose(VALIDATE)) for child in CHILDREN),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                add_tenant("tasktally"),
                add_tenant("tasktag"),
                add_tenant("schedulechange"),
                add_tenant("failingtask"),
                add_tenant("idempotencykey"),
                add_tenant("furtherattempt"),
            ]
        ),
    ]
