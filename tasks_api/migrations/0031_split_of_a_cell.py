"""While a cell is split, tasks of tenants that live in the other cell cannot fire here."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

# It is disabled, so that it costs nothing; `split_cell` enables it for as long as tasks of
# frozen tenants wait to be put aside. A statement that fires one of them fails then. The
# code is one of ours, so that workers pass over the task.
ADD_FENCE = """
    -- Writers wait behind us; `migrate` tries again.
    SET LOCAL lock_timeout = '2s';
    CREATE OR REPLACE FUNCTION tasks_api_refuse_to_fire() RETURNS trigger
    LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM accounts_tenant
            WHERE id = NEW.tenant_id AND frozen_at IS NOT NULL)
        THEN
            RAISE EXCEPTION 'The tenant of task % lives in another cell.', NEW.id
                USING ERRCODE = 'SC001',
                HINT = 'Say `manage.py split_cell` again.';
        END IF;
        RETURN NEW;
    END
    $$;
    DROP TRIGGER IF EXISTS refuse_to_fire_if_frozen ON tasks_api_task;
    CREATE TRIGGER refuse_to_fire_if_frozen
        BEFORE UPDATE OF next_fire_at ON tasks_api_task
        FOR EACH ROW WHEN (NEW.next_fire_at IS DISTINCT FROM OLD.next_fire_at
            AND NOT OLD.is_parked AND NOT NEW.is_parked)
        EXECUTE FUNCTION tasks_api_refuse_to_fire();
    ALTER TABLE tasks_api_task DISABLE TRIGGER refuse_to_fire_if_frozen;
"""
DROP_FENCE = """
    DROP TRIGGER refuse_to_fire_if_frozen ON tasks_api_task;
    DROP FUNCTION tasks_api_refuse_to_fire;
"""


class Migration(migrations.Migration):
    # The index is made without a lock on the table.
    atomic = False

    dependencies = [
        ("tasks_api", "0029_parked_tasks_and_runs"),
        ("accounts", "0011_own_cell"),
    ]

    operations = [
        migrations.RunSQL(ADD_FENCE, DROP_FENCE),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=Q(is_parked=True), fields=["tenant"], name="task_parked"
            ),
        ),
    ]
