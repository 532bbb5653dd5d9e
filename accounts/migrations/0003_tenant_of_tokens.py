"""Each token has the tenant of its user in a column of its own.

The column is added in a moment and filled in batches, while the release before goes on. A
trigger fills it in tokens that the release before issues.
"""

from __future__ import annotations

import time

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

# A step that is done is skipped when `migrate` tries again.
ADD_COLUMN = """
    SET LOCAL lock_timeout = '2s';
    CREATE OR REPLACE FUNCTION accounts_fill_tenant() RETURNS trigger
    LANGUAGE plpgsql STABLE AS $$
    BEGIN
        SELECT tenant_id INTO NEW.tenant_id FROM accounts_user WHERE id = NEW.user_id;
        RETURN NEW;
    END $$;
    DO $$ BEGIN
        IF NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = 'accounts_token'::regclass AND attname = 'tenant_id'
        ) THEN
            ALTER TABLE accounts_token ADD COLUMN tenant_id bigint;
            CREATE TRIGGER fill_tenant BEFORE INSERT OR UPDATE ON accounts_token
                FOR EACH ROW WHEN (NEW.tenant_id IS NULL)
                EXECUTE FUNCTION accounts_fill_tenant();
        END IF;
    END $$;
"""
# A token that another process has locked is filled by the trigger, if it changes, or with
# the next pass. Tokens of staff who belong to no tenant keep none.
FILL_BATCH = """
    WITH batch AS MATERIALIZED (
        SELECT token.id, owner.tenant_id
        FROM accounts_token token JOIN accounts_user owner ON owner.id = token.user_id
        WHERE token.tenant_id IS NULL AND owner.tenant_id IS NOT NULL AND token.id > %s
        ORDER BY token.id LIMIT 1000 FOR UPDATE OF token SKIP LOCKED
    ), filled AS (
        UPDATE accounts_token token SET tenant_id = batch.tenant_id
        FROM batch WHERE token.id = batch.id
    )
    SELECT id FROM batch ORDER BY id DESC LIMIT 1
"""
IS_LEFT = """
    SELECT EXISTS (
        SELECT FROM accounts_token token JOIN accounts_user owner ON owner.id = token.user_id
        WHERE token.tenant_id IS NULL AND owner.tenant_id IS NOT NULL)
"""
# Seconds until the next look at tokens that were locked.
PASS_INTERVAL = 0.2


def fill_tenants(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    with editor.connection.cursor() as cursor:
        cursor.execute(IS_LEFT)
        while cursor.fetchone() == (True,):
            last: tuple[int] | None = (0,)
            while last is not None:
                cursor.execute(FILL_BATCH, last)
                last = cursor.fetchone()
            time.sleep(PASS_INTERVAL)
            cursor.execute(IS_LEFT)


class RunTransaction(migrations.RunSQL):
    """SQL in a transaction of its own, which is not undone and may be run again."""

    atomic = True


class Migration(migrations.Migration):
    # Each batch is a transaction.
    atomic = False

    dependencies = [("accounts", "0002_invitations")]

    operations = [
        RunTransaction(ADD_COLUMN, migrations.RunSQL.noop),
        migrations.RunPython(fill_tenants, migrations.RunPython.noop),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField(
                    "token",
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.tenant",
                    ),
                )
            ]
        ),
    ]
