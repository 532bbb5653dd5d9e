"""Tables are emptied row by row after a test that commits.

Django truncates every table and then makes the permissions anew. That takes 100 ms of CPU
for a test that wrote ten rows, and more than a thousand tests commit.
"""

from __future__ import annotations

import psycopg
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper

from tasks_api.storage import run_key

# What the tables that are left out hold follows from the models alone. The lock waits for
# whoever still writes. Rows go in any order, and those of the audit log go too, because
# triggers are switched off. A table is truncated all the same if its rows were counted, or
# if it or an index of it is large by now: the planner would go by the size, and a statement
# would step over the dead entries.
DELETE_ALL_ROWS = """
    DO $$
    DECLARE
        tables text[] := ARRAY(
            SELECT quote_ident(relname) FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
            AND relname NOT IN
                ('django_migrations', 'django_content_type', 'auth_permission')
            ORDER BY relname
        );
        name text;
    BEGIN
        PERFORM set_config('session_replication_role', 'replica', true);
        EXECUTE 'LOCK TABLE ' || array_to_string(tables, ', ');
        FOREACH name IN ARRAY tables LOOP
            IF (
                SELECT reltuples >= 0 OR pg_relation_size(oid) > 65536
                    OR EXISTS (
                        SELECT FROM pg_index
                        WHERE indrelid = pg_class.oid
                            AND pg_relation_size(indexrelid) > 32768
                    )
                FROM pg_class WHERE oid = name::regclass
            ) THEN
                EXECUTE 'TRUNCATE ' || name || ' CASCADE';
            ELSE
                EXECUTE 'DELETE FROM ' || name;
            END IF;
        END LOOP;
    END
    $$
"""


# A page that a browser still reads locks tables in another order.
MAX_DEADLOCKS = 5


def _execute_alone(cursor: CursorWrapper) -> None:
    for attempt in range(MAX_DEADLOCKS):
        try:
            cursor.execute(DELETE_ALL_ROWS)
        except OperationalError as error:
            is_deadlock = isinstance(error.__cause__, psycopg.errors.DeadlockDetected)
            if not is_deadlock or attempt == MAX_DEADLOCKS - 1:
                raise
        else:
            return


def delete_all_rows() -> None:
    """Leave the tables as the migrations made them."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW is_superuser")
        if cursor.fetchone() != ("on",):
            call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
            return
        _execute_alone(cursor)
    run_key.create_run_key(using="default")
